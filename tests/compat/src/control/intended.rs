//! Where Millrace answers otherwise than Kafka on purpose, and why.

/// A field in which two answers differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    pub api: String,
    pub version: i16,
    pub what: String,
    pub path: String,
    pub kafka: String,
    pub millrace: String,
}

/// Differences that are meant.
#[derive(Debug)]
pub struct Intended {
    /// An API, or `*` for all.
    pub api: &'static str,
    /// The end of the field's path, elements of lists by `[*]`. With an `error_code` goes what stands beside it.
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
        "fewer APIs are served: no offsets in transactions, access control or quotas yet",
    ),
    intended("ApiVersions", "api_keys[*].api_key", "", ["*", "-"], "as above"),
    intended("ApiVersions", "api_keys[*].min_version", "", ["*", "-"], "as above"),
    intended("ApiVersions", "api_keys[*].max_version", "", ["*", "-"], "as above"),
    intended(
        "ApiVersions",
        "api_keys[*].max_version",
        "",
        ["2", "1"],
        "ListTransactions does not look for ids by a pattern",
    ),
    intended(
        "ApiVersions",
        "_features[*]",
        "",
        ["*", "*"],
        "of Kafka's features metadata.version and transaction.version are there: no shares yet",
    ),
    intended("ApiVersions", ".name", "", ["*", "-"], "as above"),
    intended("ApiVersions", "_version", "", ["*", "-"], "as above"),
    intended("ApiVersions", "_version_level", "", ["*", "-"], "as above"),
    intended(
        "AlterConfigs",
        ".error_code",
        "replace by cleanup.policy Some(\"\")",
        ["0", "40"],
        "an empty cleanup.policy is refused: nothing would ever be removed, and nothing says so",
    ),
    intended(
        "IncrementalAlterConfigs",
        ".error_code",
        "change 0 cleanup.policy Some(\"\")",
        ["0", "40"],
        "as above",
    ),
    intended(
        "IncrementalAlterConfigs",
        ".error_code",
        "change 3 cleanup.policy",
        ["0", "40"],
        "as above, by subtracting the last one",
    ),
    intended(
        "IncrementalAlterConfigs",
        ".error_code",
        "change 2 cleanup.policy Some(\"\")",
        ["40", "0"],
        "nothing appended to a list is no change; Kafka appends an empty item and refuses that",
    ),
    intended(
        "IncrementalAlterConfigs",
        ".error_code",
        "change 4 ",
        ["-1", "42"],
        "an operation that does not exist is the request's fault, and stops no controller",
    ),
    intended(
        "IncrementalAlterConfigs",
        ".error_code",
        "change of broker '1': 1 min.insync.replicas",
        ["40", "0"],
        "to remove what is not set for one broker changes nothing",
    ),
    intended(
        "IncrementalAlterConfigs",
        ".error_code",
        "change of broker '': 1 min.insync.replicas",
        ["40", "0"],
        "to remove what was set for all brokers lets what their files say hold again",
    ),
    intended(
        "IncrementalAlterConfigs",
        ".error_code",
        "no.such.setting",
        ["0", "40"],
        "brokers have no settings but those that are known; Kafka keeps what it does not know, or fails over it",
    ),
    intended("IncrementalAlterConfigs", ".error_code", "2 no.such.setting", ["-1", "40"], "as above"),
    intended(
        "DescribeConfigs",
        "results[*]",
        "describe one twice",
        ["3", "2"],
        "what is named twice is answered once: an answer is a hundred times as long as a name",
    ),
    intended("DescribeConfigs", "results[*]'.error_code", "describe one twice", ["0", "-"], "as above"),
    intended(
        "DescribeTopicPartitions",
        ".error_code",
        "",
        ["-1", "17"],
        "a name that is none is INVALID_TOPIC_EXCEPTION; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    intended(
        "DeleteGroups",
        ".error_code",
        "delete a group that has lost its offsets",
        ["0", "69"],
        "nothing is kept of a group without members and offsets; Kafka forgets it at the next check of its retention",
    ),
    intended(
        "OffsetFetch",
        "error_code",
        "fetch all of",
        ["-", "0"],
        "all offsets may be asked for in version 1, too, at which Kafka hangs up",
    ),
    intended(
        "FindCoordinator",
        "error_code",
        "coordinator of type 2",
        ["*", "35"],
        "shares are not served yet",
    ),
    intended(
        "FindCoordinator",
        "error_code",
        "",
        ["15", "0"],
        "the topic of a coordinator's state is made while its client waits",
    ),
    intended(
        "Fetch",
        ".error_code",
        "",
        ["-1", "0"],
        "fewer than no bytes is none, and the first batch is sent all the same; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    intended(
        "Fetch",
        ".aborted_transactions",
        "",
        ["None", "-"],
        "of no transaction there is an empty list, also where not even a batch fits",
    ),
    intended("Fetch", ".aborted_transactions[*]", "", ["-", "0"], "as above"),
    intended(
        "Metadata",
        "error_code",
        "metadata of the id of no id",
        ["-1", "0"],
        "the id of nothing is an unknown topic's; Kafka answers UNKNOWN_SERVER_ERROR to the whole request",
    ),
    intended(
        "ListOffsets",
        ".offset",
        "after deletion of read below",
        ["9", "19"],
        "the record of the latest time is one that is left; Kafka goes on naming one that was deleted",
    ),
    intended("ListOffsets", ".offset", "after deletion of read below -1: at -3", ["9", "-1"], "as above"),
    intended("ListOffsets", ".timestamp", "after deletion of read below -1: at -3", ["*", "-1"], "as above"),
    intended(
        "ListOffsets",
        ".leader_epoch",
        "after deletion of read below -1: at -3",
        ["0", "-1"],
        "as above",
    ),
    intended(
        "DescribeConfigs",
        ".value",
        "after ",
        ["\"\"", "\"delete\""],
        "an empty cleanup.policy is refused",
    ),
    intended(
        "DescribeConfigs",
        ".value",
        "after ",
        ["\"true\"", "\"TRUE\""],
        "a value is shown as it was set",
    ),
    intended(
        "CreatePartitions",
        ".error_code",
        "grow an internal topic",
        ["0", "17"],
        "an internal topic keeps the shape that its readers rely on; Kafka lets committed offsets be lost",
    ),
    intended("IncrementalAlterConfigs", ".error_code", "of an internal topic's", ["0", "17"], "as above"),
    intended(
        "AlterConfigs",
        ".error_code",
        "of an internal topic's",
        ["0", "17"],
        "as above, and a replacement takes away what is not in it",
    ),
    intended("DeleteTopics", ".error_code", "delete an internal topic", ["0", "17"], "as above"),
    intended("CreatePartitions", ".error_message", "", ["None", "a text"], "an error says why"),
    intended("DescribeConfigs", ".error_message", "", ["\"\"", "a text"], "an error says why"),
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
        "InitProducerId",
        "producer_id",
        "",
        ["positive", "0"],
        "the first identity of a new cluster is 0",
    ),
    intended(
        "Produce",
        ".error_code",
        "begins late",
        ["0", "45"],
        "a producer's numbers begin with 0, also in a partition that has records of others and without an epoch, so \
         that nothing that follows a refused request is ever stored in its place. Kafka takes any number of one that \
         it does not know, for those that it has forgotten; whom a partition here may have forgotten goes on where \
         he was, too, and every producer that is new or has a new epoch begins with 0 by itself",
    ),
    intended(
        "Produce",
        ".error_code",
        "log append time",
        ["*", "32"],
        "a client does not stamp the time of appending, whatever the topic's times are",
    ),
    intended(
        "Produce",
        ".record_errors[*]",
        "log append time",
        ["*", "0"],
        "as above: the batch is to blame, and none of its records",
    ),
    intended("Produce", ".batch_index", "log append time", ["*", "-"], "as above"),
    intended("Produce", ".batch_index_error_message", "log append time", ["*", "-"], "as above"),
    intended(
        "Produce",
        ".error_code",
        "a batch and a half",
        ["*", "87"],
        "what is not all there is refused, not left out without a word",
    ),
    intended("Produce", ".log_start_offset", "a batch and a half", ["*", "-1"], "as above"),
    intended("Produce", "record_errors[*]", "a batch and a half", ["*", "0"], "as above"),
    intended("Produce", ".batch_index", "a batch and a half", ["*", "-"], "as above"),
    intended("Produce", ".batch_index_error_message", "a batch and a half", ["*", "-"], "as above"),
    intended(
        "Produce",
        ".error_code",
        "with gaps",
        ["*", "87"],
        "records are numbered one after the other, in uncompressed batches, too",
    ),
    intended(
        "Produce",
        ".error_code",
        "",
        ["-1", "76"],
        "a codec that does not exist is UNSUPPORTED_COMPRESSION_TYPE; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    intended(
        "Produce",
        ".error_code",
        "",
        ["-1", "87"],
        "what cannot be expanded is INVALID_RECORD; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    intended(
        "Produce",
        ".error_code",
        "",
        ["2", "3"],
        "a topic that there is not is told before what is wrong with its records",
    ),
    intended("Produce", ".error_code", "", ["2", "100"], "as above"),
    intended(
        "Produce",
        "record_errors[*]",
        "with gaps",
        ["*", "0"],
        "as above: the batch is to blame, and none of its records",
    ),
    intended("Produce", ".batch_index", "with gaps", ["*", "-"], "as above"),
    intended("Produce", ".batch_index_error_message", "with gaps", ["*", "-"], "as above"),
    intended(
        "Produce",
        ".error_code",
        " at 8",
        ["-1", "2"],
        "a length that does not cover a header is CORRUPT_MESSAGE; Kafka reads what it can of it",
    ),
    intended("Produce", ".error_code", " at 8", ["-1", "3"], "as above"),
    intended("Produce", ".error_code", " at 8", ["-1", "100"], "as above"),
    intended("Produce", ".error_code", " at 8", ["53", "2"], "as above"),
    intended("Produce", ".error_code", " at 8", ["76", "2"], "as above"),
    intended(
        "Produce",
        ".error_code",
        "with zipped records that are none",
        ["*", "87"],
        "what a zipped record says of its length is compared with what is in it; Kafka's consumers fail over it",
    ),
    intended("Produce", ".batch_index", "with zipped records that are none", ["*", "*"], "as above"),
    intended("Produce", "record_errors[*]", "with zipped records that are none", ["*", "1"], "as above"),
    intended(
        "Produce",
        ".batch_index_error_message",
        "with zipped records that are none",
        ["*", "-"],
        "as above",
    ),
    intended("Produce", ".error_code", " at 8", ["2", "87"], "as above, whatever else is wrong"),
    intended(
        "Produce",
        ".error_code",
        "and to another",
        ["2", "*"],
        "what is wrong with one partition's records is no other's fault; Kafka fails the request",
    ),
    intended("Produce", ".error_code", "and to another", ["-1", "*"], "as above"),
    intended("Produce", ".error_code", "and to another", ["53", "*"], "as above"),
    intended(
        "Produce",
        ".error_code",
        "with a length below -1",
        ["*", "87"],
        "nothing is null whose length is not -1; Kafka takes any that is negative",
    ),
    intended("Produce", ".batch_index", "with a length below -1", ["*", "*"], "as above"),
    intended(
        "Produce",
        "partition_responses[*]",
        "produce to one twice",
        ["1", "2"],
        "a partition that is named twice has both stored, and an answer for each; Kafka drops the first without a word",
    ),
    intended("Produce", "partition_responses[*]'.error_code", "produce to one twice", ["-", "0"], "as above"),
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
    intended("Produce", ".error_code", "", ["53", "3"], "a topic that there is not is told first"),
    intended("Produce", ".error_code", "", ["53", "100"], "as above"),
    intended(
        "Produce",
        ".log_append_time_ms",
        "repeats",
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
        && without_keys(&difference.path).ends_with(rule.path)
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
