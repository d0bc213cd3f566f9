//! Offsets of groups: committed, fetched, deleted.

use millrace_compat_tests::control::Pair;
use millrace_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use millrace_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use millrace_protocol::messages::{
    DeleteGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};

use crate::groups::{TOPIC, enter, group, settle};
use crate::support::{text, topic_name};

const HAS_INSTANCE: i16 = 7;
const HAS_EPOCH: i16 = 6;
const MANY_GROUPS: i16 = 8;

pub fn compare(pair: &mut Pair) {
    settle(pair, "committing", "committer");
    commits(pair);
    fetches(pair);
    deletions(pair);
}

/// The offset, the partition's topic and number, and the metadata.
type Committed<'c> = (&'c str, i32, i64, &'c str);

fn commit(
    version: i16,
    name: &str,
    member: &str,
    generation: i32,
    offsets: &[Committed<'_>],
) -> OffsetCommitRequest {
    let topic = |(topic, partition, offset, metadata): &Committed<'_>| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(if version >= HAS_EPOCH { 0 } else { -1 })
            .with_committed_metadata(Some(text(metadata)));
        OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition])
    };
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(offsets.iter().map(topic).collect())
}

fn commits(pair: &mut Pair) {
    let long = "m".repeat(4_097);
    let offsets: [&[Committed<'_>]; 7] = [
        &[],
        &[(TOPIC, 0, 5, "five"), (TOPIC, 1, 6, "")],
        &[(TOPIC, 0, 0, &long[1..]), (TOPIC, 1, 7, &long)],
        &[("no such topic", 0, 1, ""), (TOPIC, 2, 1, ""), (TOPIC, -1, 1, ""), (TOPIC, 0, 8, "")],
        &[(TOPIC, 0, -1, ""), (TOPIC, 1, -2, "")],
        &[("", 0, 1, "")],
        &[(TOPIC, 0, i64::MAX, "far")],
    ];
    for (index, offsets) in offsets.into_iter().enumerate() {
        pair.compare_all(&format!("commit {index}"), |peer, version| {
            commit(version, "committing", &peer.member("committer"), 1, offsets)
        });
        pair.compare_all(&format!("simple commit {index}"), |_, version| {
            commit(version, "simple", "", -1, offsets)
        });
        compare_all_fetches(pair, "committing");
    }
    let one: &[Committed<'_>] = &[(TOPIC, 0, 5, "")];
    for (name, member, generation) in [
        ("committing", "committer", 0),
        ("committing", "committer", -1),
        ("committing", "nobody", 1),
        ("committing", "nobody", -1),
        ("committing", "", 1),
        ("committing", "", -1),
        ("simple", "nobody", -1),
        ("simple", "nobody", 1),
        ("simple", "", 0),
        ("never seen", "nobody", 1),
        ("never seen", "nobody", -1),
        ("", "", -1),
        ("", "", 1),
    ] {
        pair.compare_all(&format!("commit of {member} {generation} in {name}"), |peer, version| {
            commit(version, name, &peer.member(member), generation, one)
        });
    }
    for (name, member) in
        [("committing", "committer"), ("committing", ""), ("simple", ""), ("simple", "nobody")]
    {
        pair.compare(
            &format!("commit of {member} under an instance in {name}"),
            HAS_INSTANCE,
            |peer, version| {
                let request = commit(version, name, &peer.member(member), 1, one);
                request.with_group_instance_id(Some(text("i")))
            },
        );
    }
    // Of a group whose leader has not assigned.
    enter(pair, "unsettled", "unsettled", None);
    pair.compare_all("commit while the leader assigns", |peer, version| {
        commit(version, "unsettled", &peer.member("unsettled"), 1, one)
    });
}

fn fetch(version: i16, name: &str, wanted: Option<&[(&str, &[i32])]>) -> OffsetFetchRequest {
    if version < MANY_GROUPS {
        let topic = |(topic, partitions): &(&str, &[i32])| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions.to_vec())
        };
        let topics = wanted.map(|wanted| wanted.iter().map(topic).collect());
        return OffsetFetchRequest::default().with_group_id(group(name)).with_topics(topics);
    }
    let topic = |(topic, partitions): &(&str, &[i32])| {
        OffsetFetchRequestTopics::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(partitions.to_vec())
    };
    let topics = wanted.map(|wanted| wanted.iter().map(topic).collect());
    let group = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(topics);
    OffsetFetchRequest::default().with_groups(vec![group])
}

fn compare_all_fetches(pair: &mut Pair, name: &str) {
    pair.compare_all(&format!("fetch all of {name}"), |_, version| fetch(version, name, None));
}

fn fetches(pair: &mut Pair) {
    for name in ["committing", "simple", "unknown", ""] {
        compare_all_fetches(pair, name);
        let wanted: [&[(&str, &[i32])]; 4] =
            [&[], &[(TOPIC, &[0, 1, 2, -1])], &[("no such topic", &[0]), (TOPIC, &[1])], &[("", &[0])]];
        for (index, wanted) in wanted.into_iter().enumerate() {
            pair.compare_all(&format!("fetch {index} of {name}"), |_, version| {
                fetch(version, name, Some(wanted))
            });
        }
    }
    pair.compare("fetch of many groups", MANY_GROUPS, |_, version| {
        let groups =
            ["committing", "simple", "unknown"].map(|name| fetch(version, name, None).groups.remove(0));
        OffsetFetchRequest::default().with_groups(groups.to_vec()).with_require_stable(true)
    });
}

fn deletion(name: &str, wanted: &[(&str, &[i32])]) -> OffsetDeleteRequest {
    let topic = |(topic, partitions): &(&str, &[i32])| {
        let partitions = partitions.iter();
        let partitions =
            partitions.map(|index| OffsetDeleteRequestPartition::default().with_partition_index(*index));
        OffsetDeleteRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
    };
    OffsetDeleteRequest::default().with_group_id(group(name)).with_topics(wanted.iter().map(topic).collect())
}

fn deletions(pair: &mut Pair) {
    let wanted: [&[(&str, &[i32])]; 4] =
        [&[], &[(TOPIC, &[0, 2])], &[("no such topic", &[0]), (TOPIC, &[0])], &[(TOPIC, &[0, 1])]];
    for name in ["committing", "simple", "unknown", ""] {
        for (index, wanted) in wanted.into_iter().enumerate() {
            pair.compare(&format!("delete offsets {index} of {name}"), 0, |_, _| deletion(name, wanted));
        }
        compare_all_fetches(pair, name);
    }
    pair.compare("delete a group that has lost its offsets", 2, |_, _| {
        DeleteGroupsRequest::default().with_groups_names(vec![group("simple")])
    });
    pair.compare_all("commit after the deletion", |_, version| {
        commit(version, "simple", "", -1, &[(TOPIC, 0, 9, "")])
    });
}
