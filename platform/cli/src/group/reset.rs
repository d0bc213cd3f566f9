//! `millrace group reset-offsets`: where a group without members is to go on.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::Args;
use millrace_client::admin::OffsetSpec;
use millrace_client::{Admin, CommitOffset, GroupError, TopicPartition};
use serde_json::{Value, json};

use super::target::{Range, Target, TargetArgs, TopicArg, parse_topic};
use super::{explained, is_unknown};
use crate::OutputFormat;
use crate::connect::ConnectArgs;
use crate::output::{note, print, table};
use crate::topic::count;

#[derive(Args, Debug)]
pub struct ResetArgs {
    /// The group
    group: String,
    /// A topic, or some of its partitions as TOPIC:0,2; may be repeated
    #[arg(long, short, value_name = "TOPIC[:PARTITIONS]", value_parser = parse_topic,
        required_unless_present = "all_topics")]
    topic: Vec<TopicArg>,
    /// All topics that the group has committed offsets of
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,
    #[command(flatten)]
    target: TargetArgs,
    /// Do it, instead of showing what would be done
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
}

struct Change {
    partition: TopicPartition,
    before: Option<i64>,
    after: i64,
}

pub async fn run(admin: &Admin, args: &ResetArgs, output: OutputFormat) -> anyhow::Result<()> {
    refuse_active(admin, &args.group).await?;
    let context = || format!("read offsets of group '{}'", args.group);
    let committed = admin.group_offsets(&args.group).await.with_context(context)?;
    let committed: BTreeMap<TopicPartition, Option<i64>> =
        committed.into_iter().map(|one| (one.partition, one.offset)).collect();
    let target = args.target.target();
    let mut changes = Vec::new();
    for (topic, partitions) in topics(admin, args, &committed).await? {
        changes.extend(changes_in(admin, &topic, &partitions, target, &committed).await?);
    }
    if changes.is_empty() {
        bail!(
            "nothing to set: group '{}' has no committed offsets {}",
            args.group,
            if args.all_topics {
                "at all; name topics with --topic"
            } else {
                "there to start from; use --to-…"
            }
        );
    }
    if args.execute {
        let offsets: Vec<CommitOffset> =
            changes.iter().map(|change| CommitOffset::new(change.partition.clone(), change.after)).collect();
        admin.set_group_offsets(&args.group, &offsets).await.map_err(|error| refused(&args.group, error))?;
    }
    print_changes(args, &changes, output)?;
    if !args.execute {
        note("nothing was changed: --execute does it");
    }
    Ok(())
}

/// A group that is not there yet is made by its first offsets.
async fn refuse_active(admin: &Admin, group: &str) -> anyhow::Result<()> {
    match admin.describe_group(group).await {
        Ok(info) if info.is_active() => bail!(
            "group '{group}' has {}: offsets can be set only while nobody reads for it, since its consumers would commit \
             over them; stop them first (`millrace group describe {group} --members` shows them)",
            count(info.members.len(), "member")
        ),
        Ok(_) => Ok(()),
        Err(error) if is_unknown(&error) => Ok(()),
        Err(error) => Err(explained(group, error, "changed")),
    }
}

/// A consumer may have joined since the group was looked at.
fn refused(group: &str, error: GroupError) -> anyhow::Error {
    /// Kafka's UNKNOWN_MEMBER_ID: whoever commits from outside of a group that has members is none of them.
    const UNKNOWN_MEMBER_ID: i16 = 25;
    if error.code() == Some(UNKNOWN_MEMBER_ID) {
        return anyhow::anyhow!(
            "group '{group}' has members by now and was not changed: stop its consumers first"
        );
    }
    anyhow::Error::new(error).context(format!("set offsets of group '{group}'"))
}

/// The partitions that are meant, by topic.
async fn topics(
    admin: &Admin,
    args: &ResetArgs,
    committed: &BTreeMap<TopicPartition, Option<i64>>,
) -> anyhow::Result<BTreeMap<String, Vec<i32>>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    if args.all_topics {
        for one in committed.keys() {
            topics.entry(one.topic.to_string()).or_default().push(one.partition);
        }
        return Ok(topics);
    }
    for TopicArg { topic, partitions } in &args.topic {
        let found = admin.describe_topic(topic).await.with_context(|| format!("read topic '{topic}'"))?;
        let number = found.partitions.len();
        let all = 0..i32::try_from(number)?;
        if let Some(missing) = partitions.iter().find(|partition| !all.contains(partition)) {
            bail!("topic '{topic}' has {}, there is no partition {missing}", count(number, "partition"));
        }
        let meant = if partitions.is_empty() { all.collect() } else { partitions.clone() };
        topics.entry(topic.clone()).or_default().extend(meant);
    }
    Ok(topics)
}

async fn changes_in(
    admin: &Admin,
    topic: &str,
    partitions: &[i32],
    target: Target,
    committed: &BTreeMap<TopicPartition, Option<i64>>,
) -> anyhow::Result<Vec<Change>> {
    let look_up = async |spec| {
        let listed = admin.list_offsets(topic, partitions, spec).await;
        listed.with_context(|| format!("look up offsets of topic '{topic}'"))
    };
    let starts = look_up(OffsetSpec::Earliest).await?;
    let ends = look_up(OffsetSpec::Latest).await?;
    let at_time = match target {
        Target::Time(time) => look_up(OffsetSpec::Timestamp(time)).await?,
        _ => Vec::new(),
    };
    let mut changes = Vec::new();
    for (index, (start, end)) in starts.iter().zip(&ends).enumerate() {
        let partition = TopicPartition::new(topic, start.partition);
        let before = committed.get(&partition).copied().flatten();
        let range = Range { start: start.offset.unwrap_or(0), end: end.offset.unwrap_or(0) };
        let at_time = at_time.get(index).and_then(|found| found.offset);
        if let Some(after) = range.offset(target, before, at_time) {
            changes.push(Change { partition, before, after });
        }
    }
    Ok(changes)
}

fn print_changes(args: &ResetArgs, changes: &[Change], output: OutputFormat) -> anyhow::Result<()> {
    let offsets: Vec<Value> = changes
        .iter()
        .map(|change| {
            json!({
                "topic": &*change.partition.topic,
                "partition": change.partition.partition,
                "current_offset": change.before,
                "new_offset": change.after,
            })
        })
        .collect();
    let json = json!({ "group": args.group, "executed": args.execute, "offsets": offsets });
    print(output, &json, || {
        let rows: Vec<_> = changes
            .iter()
            .map(|change| {
                [
                    args.group.clone(),
                    change.partition.topic.to_string(),
                    change.partition.partition.to_string(),
                    change.before.map_or_else(|| "-".to_owned(), |before| before.to_string()),
                    change.after.to_string(),
                ]
            })
            .collect();
        table(["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "NEW-OFFSET"], &rows)
    })
}
