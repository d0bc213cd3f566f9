//! `millrace topic describe`.

use anyhow::Context;
use millrace_client::Admin;
use millrace_client::admin::{ConfigEntry, ConfigResource, OffsetSpec, TopicInfo};
use millrace_config::topic_setting;
use serde_json::{Value, json};

use super::count;
use crate::OutputFormat;
use crate::output::{print, table};

/// What the broker calls a value that the topic has of its own.
const OF_TOPIC: &str = "DYNAMIC_TOPIC_CONFIG";

/// What is known of one topic.
struct Description {
    topic: TopicInfo,
    /// First and next offset of each partition, where it could be told.
    offsets: Vec<(Option<i64>, Option<i64>)>,
    configs: Vec<ConfigEntry>,
}

pub async fn run(admin: &Admin, names: Vec<String>, all: bool, output: OutputFormat) -> anyhow::Result<()> {
    let names = if names.is_empty() {
        let topics = admin.list_topics(false).await.context("list topics")?;
        topics.into_iter().map(|topic| topic.name).collect()
    } else {
        names
    };
    let mut descriptions = Vec::new();
    for name in names {
        let description = describe(admin, &name, all).await;
        descriptions.push(description.with_context(|| format!("describe topic '{name}'"))?);
    }
    let json: Vec<Value> = descriptions.iter().map(to_json).collect();
    print(output, &json, || descriptions.iter().map(to_text).collect::<Vec<_>>().join("\n"))
}

async fn describe(admin: &Admin, name: &str, all: bool) -> anyhow::Result<Description> {
    let mut topic = admin.describe_topic(name).await?;
    topic.partitions.sort_by_key(|partition| partition.partition);
    let ids: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
    // A partition without a leader cannot tell its offsets; that is no reason to hide the rest.
    let earliest = admin.list_offsets(name, &ids, OffsetSpec::Earliest).await.unwrap_or_default();
    let latest = admin.list_offsets(name, &ids, OffsetSpec::Latest).await.unwrap_or_default();
    let offset_of = |listed: &[millrace_client::admin::ListedOffset], id: i32| {
        listed.iter().find(|offset| offset.partition == id).and_then(|offset| offset.offset)
    };
    let offsets = ids.iter().map(|id| (offset_of(&earliest, *id), offset_of(&latest, *id))).collect();
    let mut configs = admin.describe_configs(&ConfigResource::Topic(name.to_owned()), &[]).await?;
    configs.retain(|entry| all || !is_as_ever(entry));
    configs.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(Description { topic, offsets, configs })
}

/// Whether nobody has made a setting other than it is everywhere: one that all brokers agree on has a value of theirs
/// even where that is the default.
fn is_as_ever(entry: &ConfigEntry) -> bool {
    let is_default_value =
        || topic_setting(&entry.name).is_some_and(|setting| entry.value.as_deref() == Some(setting.default));
    entry.is_default || (entry.source != OF_TOPIC && is_default_value())
}

fn to_json(description: &Description) -> Value {
    let topic = &description.topic;
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .zip(&description.offsets)
        .map(|(partition, (start, end))| {
            json!({
                "partition": partition.partition,
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "isr": partition.isr,
                "offline": partition.offline,
                "start_offset": start,
                "end_offset": end,
            })
        })
        .collect();
    let configs: serde_json::Map<String, Value> = description
        .configs
        .iter()
        .map(|entry| (entry.name.clone(), json!({ "value": entry.value, "default": entry.is_default })))
        .collect();
    json!({
        "name": topic.name, "id": topic.id, "internal": topic.internal,
        "partitions": partitions, "configs": configs,
    })
}

fn to_text(description: &Description) -> String {
    let topic = &description.topic;
    let ids = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let shown = |offset: &Option<i64>| offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
    let rows: Vec<_> = topic
        .partitions
        .iter()
        .zip(&description.offsets)
        .map(|(partition, (start, end))| {
            [
                partition.partition.to_string(),
                partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
                ids(&partition.replicas),
                ids(&partition.isr),
                shown(start),
                shown(end),
            ]
        })
        .collect();
    let mut text =
        format!("topic '{}', {}, id {}\n", topic.name, count(topic.partitions.len(), "partition"), topic.id);
    text.push_str(&table(["PARTITION", "LEADER", "REPLICAS", "IN SYNC", "START", "END"], &rows));
    for entry in &description.configs {
        let value = entry.value.as_deref().unwrap_or("(hidden)");
        let origin = if entry.is_default { " (default)" } else { "" };
        text.push_str(&format!("{} = {value}{origin}\n", entry.name));
    }
    text
}
