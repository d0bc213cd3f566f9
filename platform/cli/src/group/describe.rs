//! `millrace group describe`: offsets and lag by partition, members, or state.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use clap::Args;
use millrace_client::admin::{GroupInfo, GroupMember, OffsetSpec};
use millrace_client::{Admin, TopicPartition};
use serde_json::{Value, json};

use super::explained;
use crate::OutputFormat;
use crate::connect::ConnectArgs;
use crate::output::{note, print, table};

/// What stands where there is nothing to say.
const NOTHING: &str = "-";

#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// Groups to describe [default: all]
    groups: Vec<String>,
    /// Show the members instead of the offsets
    #[arg(long, group = "view")]
    members: bool,
    /// Show coordinator, assignor and state instead of the offsets
    #[arg(long, group = "view")]
    state: bool,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
}

pub async fn run(admin: &Admin, args: &DescribeArgs, output: OutputFormat) -> anyhow::Result<()> {
    let names = if args.groups.is_empty() {
        let listed = admin.list_groups().await.context("list groups")?;
        listed.into_iter().map(|listing| listing.group).collect()
    } else {
        args.groups.clone()
    };
    let mut groups = Vec::new();
    for name in &names {
        groups.push(admin.describe_group(name).await.map_err(|error| explained(name, error, "described"))?);
    }
    if args.members {
        return print_members(&groups, output);
    }
    if args.state {
        return print_state(&groups, output);
    }
    let mut rows = Vec::new();
    for group in &groups {
        let found = offsets(admin, group).await?;
        if !group.is_active() && !found.is_empty() {
            note(&format!("group '{}' has no active members", group.group));
        }
        rows.extend(found);
    }
    print_offsets(&rows, output)
}

/// How far a group is in one partition, and who reads it.
struct Progress<'a> {
    group: &'a str,
    partition: TopicPartition,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<&'a GroupMember>,
}

impl Progress<'_> {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

/// Everything that the group has committed, or that somebody reads for it.
async fn offsets<'a>(admin: &Admin, group: &'a GroupInfo) -> anyhow::Result<Vec<Progress<'a>>> {
    let context = || format!("read offsets of group '{}'", group.group);
    let committed = admin.group_offsets(&group.group).await.with_context(context)?;
    let committed: BTreeMap<_, _> = committed.into_iter().map(|one| (one.partition, one.offset)).collect();
    let readers: BTreeMap<&TopicPartition, &GroupMember> = group
        .members
        .iter()
        .flat_map(|member| member.assigned.iter().map(move |one| (one, member)))
        .collect();
    let all: BTreeSet<&TopicPartition> = committed.keys().chain(readers.keys().copied()).collect();
    let ends = ends(admin, &all).await?;
    let progress = |partition: &TopicPartition| Progress {
        group: &group.group,
        partition: partition.clone(),
        committed: committed.get(partition).copied().flatten(),
        end: ends.get(partition).copied(),
        member: readers.get(partition).copied(),
    };
    Ok(all.into_iter().map(progress).collect())
}

/// The partitions' ends; nothing for topics that are deleted.
pub async fn ends(
    admin: &Admin,
    partitions: &BTreeSet<&TopicPartition>,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for one in partitions {
        topics.entry(&one.topic).or_default().push(one.partition);
    }
    let mut ends = BTreeMap::new();
    for (topic, indexes) in topics {
        match admin.list_offsets(topic, &indexes, OffsetSpec::Latest).await {
            Ok(listed) => ends.extend(
                listed
                    .into_iter()
                    .filter_map(|one| Some((TopicPartition::new(topic, one.partition), one.offset?))),
            ),
            Err(error) if crate::topic::is_unknown_topic(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("read the ends of topic '{topic}'")),
        }
    }
    Ok(ends)
}

fn print_offsets(rows: &[Progress<'_>], output: OutputFormat) -> anyhow::Result<()> {
    let json: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "group": row.group,
                "topic": &*row.partition.topic,
                "partition": row.partition.partition,
                "current_offset": row.committed,
                "log_end_offset": row.end,
                "lag": row.lag(),
                "consumer_id": row.member.map(|member| &member.member_id),
                "host": row.member.map(|member| &member.host),
                "client_id": row.member.map(|member| &member.client_id),
            })
        })
        .collect();
    print(output, &json, || {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let member = |tell: fn(&GroupMember) -> &String| {
                    row.member.map_or_else(|| NOTHING.to_owned(), |member| tell(member).clone())
                };
                [
                    row.group.to_owned(),
                    row.partition.topic.to_string(),
                    row.partition.partition.to_string(),
                    number(row.committed),
                    number(row.end),
                    number(row.lag()),
                    member(|member| &member.member_id),
                    member(|member| &member.host),
                    member(|member| &member.client_id),
                ]
            })
            .collect();
        let head = [
            "GROUP",
            "TOPIC",
            "PARTITION",
            "CURRENT-OFFSET",
            "LOG-END-OFFSET",
            "LAG",
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID",
        ];
        table(head, &rows)
    })
}

fn number(number: Option<i64>) -> String {
    number.map_or_else(|| NOTHING.to_owned(), |number| number.to_string())
}

fn print_members(groups: &[GroupInfo], output: OutputFormat) -> anyhow::Result<()> {
    let members = || groups.iter().flat_map(|group| group.members.iter().map(move |member| (group, member)));
    let json: Vec<Value> = members()
        .map(|(group, member)| {
            let assigned: Vec<Value> = member
                .assigned
                .iter()
                .map(|one| json!({ "topic": &*one.topic, "partition": one.partition }))
                .collect();
            json!({
                "group": group.group,
                "consumer_id": member.member_id,
                "instance_id": member.instance_id,
                "host": member.host,
                "client_id": member.client_id,
                "epoch": member.epoch,
                "assignment": assigned,
            })
        })
        .collect();
    print(output, &json, || {
        let rows: Vec<_> = members()
            .map(|(group, member)| {
                [
                    group.group.clone(),
                    member.member_id.clone(),
                    member.instance_id.clone().unwrap_or_else(|| NOTHING.to_owned()),
                    member.host.clone(),
                    member.client_id.clone(),
                    member.assigned.len().to_string(),
                    assignment(&member.assigned),
                ]
            })
            .collect();
        let head =
            ["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT"];
        table(head, &rows)
    })
}

/// As `orders(0,1), payments(3)`.
fn assignment(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for one in partitions {
        topics.entry(&one.topic).or_default().insert(one.partition);
    }
    if topics.is_empty() {
        return NOTHING.to_owned();
    }
    let topic = |(name, partitions): (&str, BTreeSet<i32>)| {
        let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{name}({})", partitions.join(","))
    };
    topics.into_iter().map(topic).collect::<Vec<_>>().join(", ")
}

fn print_state(groups: &[GroupInfo], output: OutputFormat) -> anyhow::Result<()> {
    let json: Vec<Value> = groups
        .iter()
        .map(|group| {
            json!({
                "group": group.group,
                "coordinator": { "id": group.coordinator.0, "address": group.coordinator.1 },
                "type": group.kind,
                "assignor": group.assignor,
                "state": group.state,
                "epoch": group.epoch,
                "members": group.members.len(),
            })
        })
        .collect();
    print(output, &json, || {
        let rows: Vec<_> = groups
            .iter()
            .map(|group| {
                let assignor = if group.assignor.is_empty() { NOTHING } else { &group.assignor };
                [
                    group.group.clone(),
                    format!("{} ({})", group.coordinator.1, group.coordinator.0),
                    group.kind.to_owned(),
                    assignor.to_owned(),
                    group.state.clone(),
                    group.members.len().to_string(),
                ]
            })
            .collect();
        table(["GROUP", "COORDINATOR (ID)", "TYPE", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"], &rows)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_shown_by_topic() {
        let partitions =
            [("b", 3), ("a", 10), ("a", 2)].map(|(topic, index)| TopicPartition::new(topic, index));
        assert_eq!(assignment(&partitions), "a(2,10), b(3)");
        assert_eq!(assignment(&[]), "-");
    }

    #[test]
    fn there_is_no_lag_where_nothing_is_committed_or_the_topic_is_gone() {
        let progress = |committed, end| Progress {
            group: "g",
            partition: TopicPartition::new("t", 0),
            committed,
            end,
            member: None,
        };
        assert_eq!(progress(Some(3), Some(10)).lag(), Some(7));
        // Committed by a reader of a topic that was made again since.
        assert_eq!(progress(Some(30), Some(10)).lag(), Some(0));
        assert_eq!(progress(None, Some(10)).lag(), None);
        assert_eq!(progress(Some(3), None).lag(), None);
    }
}
