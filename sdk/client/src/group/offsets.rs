//! The offsets that a group keeps: committing, fetching and deleting them.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use millrace_protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponsePartitions,
};
use millrace_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName};
use millrace_protocol::{ErrorCode, StrBytes};

use super::types::{CommitOffset, Committed, GroupMetadata, TopicPartition};
use crate::cluster::{Cluster, Coordinated};
use crate::error::{GroupError, RequestError, check};

/// From this version on a request asks for several groups.
const SEVERAL_GROUPS_FROM: i16 = 8;
const STABLE_FROM: i16 = 7;
const INSTANCES_FROM: i16 = 7;

/// Commits as `member` says who asks.
pub(crate) async fn commit(
    cluster: &Cluster,
    member: &GroupMetadata,
    offsets: &[CommitOffset],
) -> Result<(), GroupError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let request = |version| {
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&member.group)))
            .with_generation_id_or_member_epoch(member.generation)
            .with_member_id(text(&member.member_id))
            .with_topics(commit_topics(offsets));
        match &member.instance_id {
            Some(instance) if version >= INSTANCES_FROM => {
                request.with_group_instance_id(Some(text(instance)))
            }
            _ => request,
        }
    };
    let of = Coordinated::Group(Arc::clone(&member.group));
    let done = cluster.ask_coordinator(&of, request, |response| {
        for topic in &response.topics {
            for one in &topic.partitions {
                let what = || format!("{}-{} for group '{}'", *topic.name, one.partition_index, member.group);
                check("OffsetCommit", what, one.error_code, None)?;
            }
        }
        Ok(())
    });
    done.await.map_err(|error| member_error(member, error))
}

/// What a refusal of something that a member asks for says about its membership.
pub(crate) fn member_error(member: &GroupMetadata, error: RequestError) -> GroupError {
    let gone = [
        ErrorCode::UnknownMemberId,
        ErrorCode::IllegalGeneration,
        ErrorCode::FencedMemberEpoch,
        ErrorCode::StaleMemberEpoch,
        ErrorCode::RebalanceInProgress,
    ];
    match ErrorCode::try_from_code(error.code().unwrap_or_default()) {
        Some(code) if gone.contains(&code) && !member.member_id.is_empty() => {
            GroupError::NotMember { group: member.group.to_string() }
        }
        Some(ErrorCode::FencedInstanceId) => GroupError::InstanceFenced {
            group: member.group.to_string(),
            instance: member.instance_id.as_deref().unwrap_or_default().to_owned(),
        },
        _ => error.into(),
    }
}

fn commit_topics(offsets: &[CommitOffset]) -> Vec<OffsetCommitRequestTopic> {
    let mut topics: BTreeMap<Arc<str>, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for offset in offsets {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch)
            .with_committed_metadata(Some(text(&offset.metadata)));
        topics.entry(Arc::clone(&offset.partition.topic)).or_default().push(partition);
    }
    let topic = |(name, partitions): (Arc<str>, _)| {
        OffsetCommitRequestTopic::default().with_name(TopicName(text(&name))).with_partitions(partitions)
    };
    topics.into_iter().map(topic).collect()
}

/// What is committed for `partitions`, or for all that the group has commits of. With `stable` the answer waits for
/// transactions that are about to commit some of them.
pub(crate) async fn fetch(
    cluster: &Cluster,
    group: &Arc<str>,
    partitions: Option<&[TopicPartition]>,
    stable: bool,
) -> Result<Vec<Committed>, GroupError> {
    let asked = partitions.map(by_topic);
    let request = |version| fetch_request(group, asked.as_ref(), stable, version);
    let of = Coordinated::Group(Arc::clone(group));
    let read = |response: OffsetFetchResponse| read_fetch(group, response);
    Ok(cluster.ask_coordinator(&of, request, read).await?)
}

fn fetch_request(
    group: &str,
    asked: Option<&BTreeMap<Arc<str>, Vec<i32>>>,
    stable: bool,
    version: i16,
) -> OffsetFetchRequest {
    let request = OffsetFetchRequest::default();
    let request = if version >= STABLE_FROM { request.with_require_stable(stable) } else { request };
    if version < SEVERAL_GROUPS_FROM {
        let topic = |(name, partitions): (&Arc<str>, &Vec<i32>)| {
            OffsetFetchRequestTopic::default()
                .with_name(TopicName(text(name)))
                .with_partition_indexes(partitions.clone())
        };
        return request
            .with_group_id(GroupId(text(group)))
            .with_topics(asked.map(|asked| asked.iter().map(topic).collect()));
    }
    let topic = |(name, partitions): (&Arc<str>, &Vec<i32>)| {
        OffsetFetchRequestTopics::default()
            .with_name(TopicName(text(name)))
            .with_partition_indexes(partitions.clone())
    };
    let one = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(asked.map(|asked| asked.iter().map(topic).collect()));
    request.with_groups(vec![one])
}

fn read_fetch(group: &str, response: OffsetFetchResponse) -> Result<Vec<Committed>, RequestError> {
    let mut found = Vec::new();
    let mut add = |topic: &TopicName, one: OffsetFetchResponsePartitions| -> Result<(), RequestError> {
        let what = || format!("{}-{} for group '{group}'", **topic, one.partition_index);
        check("OffsetFetch", what, one.error_code, None)?;
        found.push(Committed {
            partition: TopicPartition::new(&***topic, one.partition_index),
            offset: Some(one.committed_offset).filter(|offset| *offset >= 0),
            leader_epoch: one.committed_leader_epoch,
            metadata: one.metadata.map(|note| note.to_string()).unwrap_or_default(),
        });
        Ok(())
    };
    let what = || format!("group '{group}'");
    check("OffsetFetch", what, response.error_code, None)?;
    for topic in response.topics {
        for one in topic.partitions {
            let one = OffsetFetchResponsePartitions::default()
                .with_partition_index(one.partition_index)
                .with_committed_offset(one.committed_offset)
                .with_committed_leader_epoch(one.committed_leader_epoch)
                .with_metadata(one.metadata)
                .with_error_code(one.error_code);
            add(&topic.name, one)?;
        }
    }
    for answered in response.groups {
        check("OffsetFetch", what, answered.error_code, None)?;
        for topic in answered.topics {
            for one in topic.partitions {
                add(&topic.name, one)?;
            }
        }
    }
    Ok(found)
}

fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<Arc<str>, Vec<i32>> {
    let mut topics: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
    for one in partitions {
        topics.entry(Arc::clone(&one.topic)).or_default().push(one.partition);
    }
    topics
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
