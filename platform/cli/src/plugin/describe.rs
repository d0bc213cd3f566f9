//! Deployments in words.

use indicatif::HumanCount;
use millrace_protocol::plugins::{
    Definition, DeploymentState, Description, GrantDefinitions, Kind, LimitOverrides, PartitionProgress,
    PartitionState, Summary,
};
use serde::Serialize;
use serde_json::Value;

use super::policy::{failure_text, start_text};
use super::text::{duration, indented, timestamp};
use crate::output::table;

/// As many hexadecimal digits of a digest as tell modules apart.
const DIGEST_DIGITS: usize = 12;

/// The list, a deployment a line.
pub fn list_text(summaries: &[Summary]) -> String {
    let rows: Vec<_> = summaries
        .iter()
        .map(|summary| {
            [
                summary.name.clone(),
                summary.kind.to_string(),
                state_text(summary.state).to_owned(),
                summary.version.to_string(),
                summary.topic.clone(),
                or_dash(summary.outputs.join(",")),
                summary.lag.to_string(),
                short(&summary.module),
            ]
        })
        .collect();
    table(["NAME", "KIND", "STATE", "VERSION", "TOPIC", "OUTPUTS", "LAG", "MODULE"], &rows)
}

/// Everything that is known of a deployment.
pub fn description_text(description: &Description) -> String {
    let definition = &description.definition;
    let mut text = format!(
        "{} '{}', {}, version {} of {}\n",
        definition.kind,
        description.name,
        state_text(description.state),
        description.version,
        timestamp(description.created_ms)
    );
    for (name, value) in facts(definition, &description.group) {
        text.push_str(&format!("{name:<11} {value}\n"));
    }
    if !description.partitions.is_empty() {
        text.push('\n');
        text.push_str(&progress_text(&description.partitions));
    }
    if let Some(replay) = &description.replay {
        let state = if description.replay_partitions.is_empty() { "done" } else { "under way" };
        text.push_str(&format!("\nreplay {} of '{}', {state}\n", replay.number, replay.topic));
        if !description.replay_partitions.is_empty() {
            text.push_str(&progress_text(&description.replay_partitions));
        }
    }
    text.push('\n');
    text.push_str(&versions_text(description));
    text
}

/// Name and value of each part of the definition that says something.
fn facts(definition: &Definition, group: &str) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("module", definition.module.to_string()),
        ("topic", definition.topic.clone()),
        ("outputs", definition.outputs.join(", ")),
    ];
    // A partitioner answers producers: it reads nothing, and what fails goes back to them.
    if definition.kind != Kind::Partitioner {
        facts.push(("begins at", start_text(definition.start)));
        facts.push(("on failure", failure_text(&definition.failure)));
        facts.push(("group", group.to_owned()));
    }
    facts.extend(definition.config.iter().map(|(key, value)| ("config", format!("{key}={value}"))));
    facts.extend(grants_text(&definition.grants).into_iter().map(|grant| ("grant", grant)));
    facts.push(("limits", limits_text(&definition.limits)));
    facts.push(("log level", plain(&definition.log_level)));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// What is granted, by name; secrets' values are told to nobody.
pub fn grants_text(grants: &GrantDefinitions) -> Vec<String> {
    let http = grants.http.iter().map(|host| format!("http {host}"));
    let secrets = grants.secrets.keys().map(|name| format!("secret {name}"));
    let postgres = grants.postgres.keys().map(|name| format!("postgres {name}"));
    let allowed = grants.allowed.iter().map(|capability| format!("{capability}, nothing by name"));
    http.chain(secrets).chain(postgres).chain(allowed).collect()
}

fn limits_text(limits: &LimitOverrides) -> String {
    let size = |bytes: u64| millrace_config::units::size_text(i64::try_from(bytes).unwrap_or(i64::MAX));
    let number = |number: u64| number.to_string();
    let all = [
        ("busy_ms", limits.busy_ms.map(duration)),
        ("elapsed_ms", limits.elapsed_ms.map(duration)),
        ("memory_bytes", limits.memory_bytes.map(size)),
        ("output_bytes", limits.output_bytes.map(size)),
        ("output_records", limits.output_records.map(number)),
        ("log_lines_per_second", limits.log_lines_per_second.map(u64::from).map(number)),
        ("retries", limits.retries.map(u64::from).map(number)),
    ];
    let set = all.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    set.collect::<Vec<_>>().join(", ")
}

fn progress_text(partitions: &[PartitionProgress]) -> String {
    let rows: Vec<_> = partitions
        .iter()
        .map(|partition| {
            [
                partition.partition.to_string(),
                plain(&partition.state),
                known(partition.offset),
                partition.end_offset.to_string(),
                known(partition.lag()),
            ]
        })
        .collect();
    let mut text = table(["PARTITION", "STATE", "OFFSET", "END", "LAG"], &rows);
    for partition in partitions {
        text.push_str(&problem_text(partition));
    }
    text
}

/// Why a partition does not go on; nothing if it does.
pub fn problem_text(partition: &PartitionProgress) -> String {
    let Some(error) = &partition.error else { return String::new() };
    let does = match partition.state {
        PartitionState::Halted => "stopped",
        PartitionState::Retrying => "tries again",
        PartitionState::Idle | PartitionState::Running | PartitionState::Paused => "failed last",
    };
    let at = partition.offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
    let mut text = format!("partition {} {does}{at}: {error}\n", partition.partition);
    if let Some(backtrace) = &partition.backtrace {
        text.push_str(&indented(backtrace, 4));
    }
    text
}

/// A dash while it is not known.
fn known(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn versions_text(description: &Description) -> String {
    let rows: Vec<_> = description
        .versions
        .iter()
        .map(|version| {
            let runs = if version.version == description.version { " (runs)" } else { "" };
            [format!("{}{runs}", version.version), timestamp(version.created_ms), short(&version.module)]
        })
        .collect();
    table(["VERSION", "CREATED", "MODULE"], &rows)
}

/// What a change made of a deployment, in one line.
pub fn changed_text(done: &str, description: &Description) -> String {
    let lag: i64 = description.partitions.iter().filter_map(PartitionProgress::lag).sum();
    let behind = HumanCount(u64::try_from(lag).unwrap_or_default());
    format!(
        "{done} '{}': {}, version {}, {behind} records behind",
        description.name,
        state_text(description.state),
        description.version
    )
}

const fn state_text(state: DeploymentState) -> &'static str {
    match state {
        DeploymentState::Running => "running",
        DeploymentState::Paused => "paused",
        DeploymentState::Halted => "halted",
    }
}

/// A plain variant's name as JSON has it.
fn plain(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        other => format!("{other:?}"),
    }
}

fn short(digest: &impl ToString) -> String {
    digest.to_string().chars().take(DIGEST_DIGITS).collect()
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use millrace_protocol::plugins::{ModuleDigest, Replay, VersionInfo};
    use serde_json::json;

    use super::*;

    fn description() -> Description {
        let definition = json!({
            "module": ModuleDigest::of(b""), "kind": "sink", "topic": "orders",
            "failure": { "dead-letter": { "topic": "orders.bad" } },
            "config": { "url": "https://example.com" },
            "grants": { "http": ["example.com"], "secrets": { "token": "***" } },
            "limits": { "busy_ms": 250, "memory_bytes": 67_108_864 },
        });
        let progress = |partition, state, offset, error: Option<&str>| PartitionProgress {
            partition,
            state,
            offset: Some(offset),
            end_offset: 10,
            error: error.map(str::to_owned),
            backtrace: error.map(|_| "wasm backtrace:\n  0: deliver".to_owned()),
        };
        Description {
            name: "to-web".into(),
            state: DeploymentState::Halted,
            version: 2,
            created_ms: 1000,
            group: "__plugin.to-web".into(),
            definition: serde_json::from_value(definition).unwrap(),
            versions: vec![VersionInfo { version: 2, module: ModuleDigest::of(b""), created_ms: 1000 }],
            partitions: vec![
                progress(0, PartitionState::Idle, 10, None),
                progress(1, PartitionState::Halted, 4, Some("the plugin trapped: unreachable")),
            ],
            replay: Some(Replay { topic: "orders.bad".into(), number: 3, until: vec![10] }),
            replay_partitions: vec![progress(0, PartitionState::Running, 7, None)],
        }
    }

    #[test]
    fn a_description_tells_everything_and_no_secret() {
        let text = description_text(&description());
        assert_eq!(
            text,
            "sink 'to-web', halted, version 2 of 1970-01-01T00:00:01.000Z\n\
             module      e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
             topic       orders\n\
             begins at   latest\n\
             on failure  dead letter to 'orders.bad'\n\
             group       __plugin.to-web\n\
             config      url=https://example.com\n\
             grant       http example.com\n\
             grant       secret token\n\
             limits      busy_ms=250ms, memory_bytes=64MiB\n\
             log level   info\n\
             \n\
             PARTITION  STATE   OFFSET  END  LAG\n\
             0          idle    10      10   0\n\
             1          halted  4       10   6\n\
             partition 1 stopped at offset 4: the plugin trapped: unreachable\n    \
             wasm backtrace:\n      0: deliver\n\
             \n\
             replay 3 of 'orders.bad', under way\n\
             PARTITION  STATE    OFFSET  END  LAG\n\
             0          running  7       10   3\n\
             \n\
             VERSION   CREATED                   MODULE\n\
             2 (runs)  1970-01-01T00:00:01.000Z  e3b0c44298fc\n"
        );
    }

    #[test]
    fn a_list_has_a_line_for_each() {
        let summary = Summary {
            name: "to-web".into(),
            kind: Kind::Sink,
            state: DeploymentState::Paused,
            version: 1,
            module: ModuleDigest::of(b""),
            topic: "orders".into(),
            outputs: Vec::new(),
            lag: 6,
        };
        assert_eq!(
            list_text(&[summary]),
            "NAME    KIND  STATE   VERSION  TOPIC   OUTPUTS  LAG  MODULE\n\
             to-web  sink  paused  1        orders  -        6    e3b0c44298fc\n"
        );
    }

    #[test]
    fn a_change_is_told_in_a_line() {
        assert_eq!(
            changed_text("resumed", &description()),
            "resumed 'to-web': halted, version 2, 6 records behind"
        );
    }
}
