//! OffsetFetch (1 to 9): how far groups are, in the partitions that are asked for or in all.
//!
//! A group, and a partition of it, that is named several times is answered once: what is kept of it may be much longer
//! than its name.

use std::collections::{BTreeMap, HashMap, HashSet};

use millrace_coordinator::{Committed, GroupError};
use millrace_protocol::StrBytes;
use millrace_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use millrace_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse};

use super::{code, text};
use crate::call::Call;
use crate::error_map::ToErrorCode;
use crate::handlers::lookup::wire_name;

/// From this version on one request asks about many groups (KIP-709).
const MANY_GROUPS: i16 = 8;
/// From this version on the answer has an error of its own.
const HAS_ERROR: i16 = 2;

const NO_OFFSET: i64 = -1;
const NO_EPOCH: i32 = -1;

/// What was found, topic by topic.
type Found = Vec<(String, Vec<(i32, Option<Committed>)>)>;

pub(crate) async fn handle(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if call.version < MANY_GROUPS {
        let wanted = request.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
        });
        return old_answer(call, find(call, &request.group_id, wanted.clone()).await, wanted);
    }
    let mut response = OffsetFetchResponse::default();
    let mut seen = HashSet::new();
    for group in request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone())) {
        let wanted = group.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
        });
        // Of a member of a group to which the coordinator assigns (version 9 on), only while it has the epoch.
        let checked = match &group.member_id {
            Some(member) => {
                call.state.groups.check_fetch(&group.group_id, Some(member), group.member_epoch).await
            }
            None => Ok(()),
        };
        let found = match checked {
            Ok(()) => find(call, &group.group_id, wanted).await,
            Err(error) => Err(error),
        };
        // Not the request's buffer.
        let id = GroupId(StrBytes::from_string(group.group_id.to_string()));
        let answer =
            OffsetFetchResponseGroup::default().with_group_id(id).with_error_code(code(call, &found));
        response.groups.push(answer.with_topics(found.unwrap_or_default().into_iter().map(topic).collect()));
    }
    response
}

async fn find(
    call: &Call,
    group: &str,
    wanted: Option<Vec<(String, Vec<i32>)>>,
) -> Result<Found, GroupError> {
    let groups = &call.state.groups;
    let Some(wanted) = wanted.map(once) else {
        let mut topics: BTreeMap<String, Vec<(i32, Option<Committed>)>> = BTreeMap::new();
        for (key, committed) in groups.all_committed(group).await? {
            topics.entry(key.topic).or_default().push((key.partition, Some(committed)));
        }
        return Ok(topics.into_iter().collect());
    };
    let flat = wanted
        .iter()
        .flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (topic.clone(), *partition)));
    let mut committed = groups.committed(group, &flat.collect::<Vec<_>>()).await?.into_iter();
    let found = wanted.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter();
        (topic, partitions.map(|partition| (partition, committed.next().flatten())).collect())
    });
    Ok(found.collect())
}

fn topic((name, partitions): (String, Vec<(i32, Option<Committed>)>)) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(index, committed)| {
        let answer = OffsetFetchResponsePartitions::default().with_partition_index(index);
        match committed {
            Some(committed) => answer
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_metadata(Some(text(committed.metadata))),
            None => answer
                .with_committed_offset(NO_OFFSET)
                .with_committed_leader_epoch(NO_EPOCH)
                .with_metadata(Some(StrBytes::default())),
        }
    });
    OffsetFetchResponseTopics::default().with_name(wire_name(&name)).with_partitions(partitions.collect())
}

/// Each partition where it is named first.
fn once(mut wanted: Vec<(String, Vec<i32>)>) -> Vec<(String, Vec<i32>)> {
    let mut seen: HashMap<&str, HashSet<i32>> = HashMap::new();
    for (topic, partitions) in &mut wanted {
        let seen = seen.entry(topic).or_default();
        partitions.retain(|partition| seen.insert(*partition));
    }
    wanted
}

/// The answer about one group, as it was before there were many.
fn old_answer(
    call: &Call,
    found: Result<Found, GroupError>,
    wanted: Option<Vec<(String, Vec<i32>)>>,
) -> OffsetFetchResponse {
    let failed = code(call, &found);
    let mut response = OffsetFetchResponse::default();
    let (found, partition_error) = match found {
        Ok(found) => (found, 0),
        Err(_) if call.version >= HAS_ERROR => return response.with_error_code(failed),
        Err(error) => {
            let none = |(topic, partitions): (String, Vec<i32>)| {
                (topic, partitions.into_iter().map(|partition| (partition, None)).collect())
            };
            let code = error.to_error_code().code();
            (wanted.unwrap_or_default().into_iter().map(none).collect(), code)
        }
    };
    for found in found.into_iter().map(topic) {
        let partitions = found.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(partition_error)
        });
        response.topics.push(
            OffsetFetchResponseTopic::default().with_name(found.name).with_partitions(partitions.collect()),
        );
    }
    response
}
