//! Where Millrace answers otherwise than Kafka, and why: on purpose, or because it is not settled yet, which the reason
//! then says.

use super::compare::Difference;

/// Differences that are meant.
pub struct Intended {
    /// An API, or `*` for all.
    pub api: &'static str,
    /// The end of the field's path, elements of lists by `[*]`; `*` for any.
    pub path: &'static str,
    /// Which requests, by a part of what they are called; empty for all.
    pub what: &'static str,
    /// Which values, or `*` for any.
    pub kafka: &'static str,
    pub millrace: &'static str,
    pub reason: &'static str,
}

pub const INTENDED: &[Intended] = &[
    intended(
        "ApiVersions",
        "api_keys[*]",
        "",
        ["*", "*"],
        "fewer APIs are served: no groups, transactions, access control or quotas yet",
    ),
    intended("ApiVersions", "api_keys[*].api_key", "", ["*", "-"], "as above"),
    intended("ApiVersions", "api_keys[*].min_version", "", ["*", "-"], "as above"),
    intended("ApiVersions", "api_keys[*].max_version", "", ["*", "-"], "as above"),
    intended(
        "ApiVersions",
        "_features[*]",
        "",
        ["*", "*"],
        "of Kafka's features only metadata.version is there: no groups, transactions or shares yet",
    ),
    intended("ApiVersions", ".name", "", ["*", "-"], "as above"),
    intended("ApiVersions", "_version", "", ["*", "-"], "as above"),
    intended("ApiVersions", "_version_level", "", ["*", "-"], "as above"),
    intended(
        "AlterConfigs",
        "*",
        "replace by cleanup.policy Some(\"\")",
        ["*", "*"],
        "an empty cleanup.policy is refused: nothing would ever be removed, and nothing says so",
    ),
    intended("IncrementalAlterConfigs", "*", "change 0 cleanup.policy Some(\"\")", ["*", "*"], "as above"),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change 3 cleanup.policy",
        ["*", "*"],
        "as above, by subtracting the last one",
    ),
    intended(
        "DescribeConfigs",
        ".value",
        "after ",
        ["\"\"", "\"delete\""],
        "as above, which the next answers show",
    ),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change 2 cleanup.policy Some(\"\")",
        ["*", "*"],
        "nothing appended to a list is no change; Kafka appends an empty item and refuses that",
    ),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change 4 ",
        ["*", "*"],
        "an operation that does not exist is the request's fault, and stops no controller",
    ),
    intended(
        "DescribeConfigs",
        ".value",
        "after ",
        ["\"true\"", "\"TRUE\""],
        "a value is shown as it was set",
    ),
    intended("CreatePartitions", ".error_message", "", ["None", "a text"], "an error says why"),
    intended("DescribeConfigs", ".error_message", "", ["\"\"", "a text"], "an error says why"),
    intended(
        "FindCoordinator",
        "*",
        "",
        ["*", "*"],
        "groups and shares are not served yet, and transactions' coordinator is always this broker",
    ),
    intended(
        "CreateTopics",
        ".value",
        "",
        ["\"9223372036854775807\"", "\"1\""],
        "flush.messages: an acknowledged record is on disk by default",
    ),
    intended("DescribeConfigs", ".value", "", ["\"9223372036854775807\"", "\"1\""], "as above"),
    intended(
        "DescribeConfigs",
        ".value",
        "",
        ["None", "\"604800000\""],
        "log.retention.ms: there is no setting in hours besides it",
    ),
    intended(
        "DescribeConfigs",
        "*",
        "describe one twice",
        ["*", "*"],
        "what is named twice is answered once: an answer is a hundred times as long as a name",
    ),
    intended(
        "DescribeTopicPartitions",
        "*",
        "describe [\"\", \"a b\"]",
        ["*", "*"],
        "a name that is none is INVALID_TOPIC_EXCEPTION; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    intended(
        "Fetch",
        "*",
        "fetch of one twice",
        ["*", "*"],
        "a partition that is named twice is read twice, within the limits of the answer; Kafka reads the last",
    ),
    intended(
        "Fetch",
        "*",
        "fetch of at most -1",
        ["*", "*"],
        "fewer than no bytes is none, and the first batch is sent all the same; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    intended(
        "Fetch",
        ".records",
        "fetch of some bytes",
        ["*", "*"],
        "an answer ends with a whole batch, not in the middle of one",
    ),
    intended("Fetch", ".records", "fetch of at most 600", ["*", "*"], "as above"),
    intended(
        "Metadata",
        "*",
        "metadata of the id of no id",
        ["*", "*"],
        "the id of nothing is an unknown topic's; Kafka answers UNKNOWN_SERVER_ERROR to the whole request",
    ),
    intended(
        "DescribeConfigs",
        "synonyms[*]",
        "broker '",
        ["2", "1"],
        "a setting of brokers is there under one name; Kafka has it in hours besides",
    ),
    intended("DescribeConfigs", "synonyms[*].name", "broker '", ["*", "-"], "as above"),
    intended("DescribeConfigs", "synonyms[*].source", "broker '", ["*", "-"], "as above"),
    intended("DescribeConfigs", "synonyms[*].value", "broker '", ["*", "-"], "as above"),
    intended(
        "DescribeTopicPartitions",
        "topics[*].topic_authorized_operations",
        "describe [\"one\", \"three\"], 2000 from Some((\"three\", -1))",
        ["*", "*"],
        "what may be done with a topic is told wherever the answer begins",
    ),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change of broker '1': 1 min.insync.replicas",
        ["*", "*"],
        "to remove what is not set for one broker changes nothing",
    ),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change of broker '': 1 min.insync.replicas",
        ["*", "*"],
        "to remove what was set for all brokers lets what their files say hold again",
    ),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change of broker '1': 2 no.such.setting",
        ["*", "*"],
        "brokers have no settings but those that are known; Kafka keeps what it does not know, or fails over it",
    ),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change of broker '': 2 no.such.setting",
        ["*", "*"],
        "as above",
    ),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change of broker '1': 0 no.such.setting",
        ["*", "*"],
        "as above",
    ),
    intended(
        "IncrementalAlterConfigs",
        "*",
        "change of broker '': 0 no.such.setting",
        ["*", "*"],
        "as above",
    ),
    intended(
        "InitProducerId",
        "producer_id",
        "",
        ["positive", "0"],
        "the first identity of a new cluster is 0",
    ),
    intended(
        "Produce",
        "*",
        ": log append time",
        ["*", "*"],
        "a client does not stamp the time of appending where the topic has the time of creation",
    ),
    intended("ListOffsets", "*", "after log append time", ["*", "*"], "as above"),
    intended(
        "Produce",
        "*",
        ": a batch and a half",
        ["*", "*"],
        "what is not all there is refused, not left out without a word",
    ),
    intended("ListOffsets", "*", "after a batch and a half", ["*", "*"], "as above"),
    intended(
        "Produce",
        "*",
        ": codec 5",
        ["*", "*"],
        "a codec that does not exist is UNSUPPORTED_COMPRESSION_TYPE; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    intended(
        "Produce",
        "*",
        ": zipped garbage",
        ["*", "*"],
        "what cannot be expanded is INVALID_RECORD; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    intended(
        "ListOffsets",
        "*",
        "after deletion of read below",
        ["*", "*"],
        "the record of the latest time is one that is left; Kafka goes on naming one that was deleted",
    ),
    intended(
        "Produce",
        ".log_start_offset",
        "",
        ["*", "-1"],
        "a refusal tells no start of the log, whatever it is for",
    ),
    intended("Produce", ".error_message", "", ["None", "a text"], "an error says why"),
    intended(
        "Produce",
        "record_errors[*]",
        "",
        ["0", "*"],
        "which record is wrong is told wherever it is known",
    ),
    intended("Produce", ".batch_index", "", ["-", "*"], "as above"),
    intended("Produce", ".batch_index_error_message", "", ["-", "*"], "as above"),
    intended(
        "Produce",
        "error_code",
        ": a transactional batch of nobody",
        ["53", "87"],
        "transactions are not served yet, whoever sends one",
    ),
    intended(
        "Produce",
        "error_code",
        ": half a batch",
        ["87", "2"],
        "what is not all there is CORRUPT_MESSAGE",
    ),
    intended(
        "Produce",
        "error_code",
        ": a length too long",
        ["87", "*"],
        "a length is believed before it is missed",
    ),
    intended(
        "Produce",
        ".log_append_time_ms",
        "a producer repeats",
        ["positive", "-1"],
        "a batch that was stored before has no time of appending where the topic has the time of creation",
    ),
];

const fn intended(
    api: &'static str,
    path: &'static str,
    what: &'static str,
    [kafka, millrace]: [&'static str; 2],
    reason: &'static str,
) -> Intended {
    Intended { api, path, what, kafka, millrace, reason }
}

pub(super) fn applies(rule: &Intended, difference: &Difference) -> bool {
    let one = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    one(rule.api, &difference.api)
        && difference.what.contains(rule.what)
        && (rule.path == "*" || without_keys(&difference.path).ends_with(rule.path))
        && one(rule.kafka, &difference.kafka)
        && one(rule.millrace, &difference.millrace)
}

/// The path with `[*]` for each element of a list.
pub(super) fn without_keys(path: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0;
    for character in path.chars() {
        match character {
            '[' => {
                depth += 1;
                plain.push('[');
            }
            ']' => {
                depth -= 1;
                plain.push_str(if plain.ends_with('[') { "*]" } else { "]" });
            }
            _ if depth > 0 => {}
            other => plain.push(other),
        }
    }
    plain
}
