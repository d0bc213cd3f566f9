//! Topics: created, described, grown, deleted.

use millrace_compat_tests::control::{Pair, Peer};
use millrace_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use millrace_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use millrace_protocol::messages::delete_topics_request::DeleteTopicState;
use millrace_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
use millrace_protocol::messages::{
    BrokerId, CreatePartitionsRequest, DeleteTopicsRequest, DescribeTopicPartitionsRequest, MetadataRequest,
};
use uuid::Uuid;

use crate::support::{create, create_in, new_topic, topic_name};

/// Names that are none, one that is too long, and those that only look odd.
const NAMES: [&str; 9] =
    ["", ".", "..", "a b", "ä", "a/b", "under_score", "dotted.name", "__cluster_metadata"];

pub fn compare(pair: &mut Pair) {
    create_topics(pair);
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        create_in(peer, &[("one", 1, &[]), ("three", 3, &[("retention.ms", Some("1000000"))])]);
    }
    metadata(pair);
    create_partitions(pair);
    describe_partitions(pair);
    delete_topics(pair);
}

fn create_topics(pair: &mut Pair) {
    let long = "n".repeat(250);
    for (index, name) in NAMES.into_iter().chain([long.as_str()]).enumerate() {
        pair.compare_all(&format!("create '{name}'"), |_, version| {
            let name = if index > 5 && index < 8 { format!("{name}{version}") } else { name.to_owned() };
            create(vec![new_topic(&name, 1, 1, &[])])
        });
    }
    for (partitions, replicas) in
        [(1, 1), (-1, -1), (0, 1), (-2, 1), (1, 0), (1, 2), (1, -2), (3, -1), (-1, 1), (1, i16::MAX)]
    {
        pair.compare_all(&format!("create {partitions} partitions, {replicas} replicas"), |_, version| {
            create(vec![new_topic(&format!("c{partitions}.{replicas}.{version}"), partitions, replicas, &[])])
        });
    }
    let settings: [&[(&str, Option<&str>)]; 8] = [
        &[("retention.ms", Some("1000"))],
        &[("retention.ms", None)],
        &[("retention.ms", Some("many"))],
        &[("no.such.setting", Some("1"))],
        &[("cleanup.policy", Some("compact,delete"))],
        &[("cleanup.policy", Some("shred"))],
        &[("min.insync.replicas", Some("0"))],
        &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
    ];
    for (index, settings) in settings.into_iter().enumerate() {
        pair.compare_all(&format!("create with {settings:?}"), |_, version| {
            create(vec![new_topic(&format!("s{index}.{version}"), 1, 1, settings)])
        });
        pair.compare_all(&format!("try with {settings:?}"), |_, version| {
            create(vec![new_topic(&format!("v{index}.{version}"), 1, 1, settings)]).with_validate_only(true)
        });
    }
    pair.compare_all("create nothing", |_, _| create(Vec::new()));
    pair.compare_all("create twice in one request", |_, version| {
        let topic = || new_topic(&format!("twice{version}"), 1, 1, &[]);
        create(vec![topic(), topic(), new_topic(&format!("beside{version}"), 1, 1, &[])])
    });
    pair.compare_all("create what exists", |_, version| {
        create(vec![new_topic(&format!("beside{version}"), 1, 1, &[])])
    });
    pair.compare_all("create what collides", |_, _| create(vec![new_topic("dotted_name7", 1, 1, &[])]));
    let by_hand: [&[(i32, &[i32])]; 6] =
        [&[(0, &[1])], &[(0, &[1]), (1, &[1])], &[(1, &[1])], &[(0, &[])], &[(0, &[1, 1])], &[(0, &[9])]];
    for (index, partitions) in by_hand.into_iter().enumerate() {
        for left_open in [true, false] {
            pair.compare_all(&format!("create by hand {partitions:?} {left_open}"), |_, version| {
                let number = if left_open { -1 } else { 1 };
                let topic = new_topic(&format!("h{index}.{version}"), number, number as i16, &[]);
                create(vec![assigned(topic, partitions)])
            });
        }
    }
}

fn assigned(topic: CreatableTopic, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, brokers): &(i32, &[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*index)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    };
    topic.with_assignments(partitions.iter().map(assignment).collect())
}

fn metadata(pair: &mut Pair) {
    let long = "n".repeat(250);
    let mut asked = vec![vec!["one"], vec!["one", "three"], vec!["one", "one"], vec!["missing"], vec!["__x"]];
    asked.extend(NAMES.into_iter().map(|name| vec![name]));
    asked.push(vec![&long]);
    for names in asked {
        // Earlier versions create what is missing, which Kafka answers before and Millrace after it is there.
        let versions = if names[0] == "one" { 0 } else { 4 }..=13;
        for (version, operations) in versions.flat_map(|version| [(version, false), (version, true)]) {
            pair.compare(&format!("metadata of {names:?}, operations {operations}"), version, |_, _| {
                let topics = names.iter().map(|name| {
                    MetadataRequestTopic::default()
                        .with_name(Some(topic_name(name)))
                        .with_topic_id(Uuid::nil())
                });
                let request = MetadataRequest::default().with_topics(Some(topics.collect()));
                let request =
                    if version >= 4 { request.with_allow_auto_topic_creation(false) } else { request };
                if version >= 8 {
                    request.with_include_topic_authorized_operations(operations)
                } else {
                    request
                }
            });
        }
    }
    for (name, version) in [("one", 12), ("one", 13), ("missing", 12), ("no id", 13)] {
        pair.compare(&format!("metadata of the id of {name}"), version, |peer, _| {
            let id = if name == "no id" { Uuid::nil() } else { peer.topic_id(name) };
            let topic = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
        });
    }
    pair.compare("metadata of an id and a name", 12, |peer: &Peer, _| {
        let topic = MetadataRequestTopic::default()
            .with_name(Some(topic_name("one")))
            .with_topic_id(peer.topic_id("one"));
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
    });
}

fn create_partitions(pair: &mut Pair) {
    let cases: [(&str, i32, Option<&[&[i32]]>); 12] = [
        ("one", 1, None),
        ("one", 0, None),
        ("one", -1, None),
        ("missing", 3, None),
        ("", 3, None),
        ("a b", 3, None),
        ("three", 2, None),
        ("three", 4, Some(&[])),
        ("three", 4, Some(&[&[1], &[1]])),
        ("three", 4, Some(&[&[9]])),
        ("three", 4, Some(&[&[]])),
        ("three", 4, Some(&[&[1, 1]])),
    ];
    for (name, count, assignments) in cases {
        for validate_only in [true, false] {
            pair.compare_all(
                &format!("grow '{name}' to {count} by {assignments:?} {validate_only}"),
                |_, _| grow(vec![(name, count, assignments)], validate_only),
            );
        }
    }
    pair.compare_all("grow one twice", |_, _| grow(vec![("one", 5, None), ("one", 6, None)], false));
    pair.compare_all("grow by one", |_, version| grow(vec![("three", 4 + i32::from(version), None)], false));
    pair.compare_all("grow by hand", |_, version| {
        grow(vec![("three", 8 + i32::from(version), Some(&[&[1]]))], false)
    });
    pair.compare_all("grow nothing", |_, _| grow(Vec::new(), false));
}

pub fn grow(topics: Vec<(&str, i32, Option<&[&[i32]]>)>, validate_only: bool) -> CreatePartitionsRequest {
    let topic = |(name, count, assignments): (&str, i32, Option<&[&[i32]]>)| {
        let assignment = |brokers: &&[i32]| {
            CreatePartitionsAssignment::default()
                .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
        };
        CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(count)
            .with_assignments(assignments.map(|all| all.iter().map(assignment).collect()))
    };
    CreatePartitionsRequest::default()
        .with_topics(topics.into_iter().map(topic).collect())
        .with_timeout_ms(10_000)
        .with_validate_only(validate_only)
}

fn describe_partitions(pair: &mut Pair) {
    let cases: [(&[&str], i32, Option<(&str, i32)>); 10] = [
        (&["one"], 2_000, None),
        (&["one", "three"], 2_000, None),
        (&["three", "one", "one"], 2_000, None),
        (&["missing"], 2_000, None),
        (&["", "a b"], 2_000, None),
        (&["three"], 2, None),
        (&["three"], 0, None),
        (&["three"], -1, None),
        (&["one", "three"], 2_000, Some(("three", 1))),
        (&["one", "three"], 2_000, Some(("three", -1))),
    ];
    for (names, limit, cursor) in cases {
        pair.compare_all(&format!("describe {names:?}, {limit} from {cursor:?}"), |_, _| {
            let topic = |name: &&str| TopicRequest::default().with_name(topic_name(name));
            let cursor = cursor.map(|(topic, partition)| {
                Cursor::default().with_topic_name(topic_name(topic)).with_partition_index(partition)
            });
            DescribeTopicPartitionsRequest::default()
                .with_topics(names.iter().map(topic).collect())
                .with_response_partition_limit(limit)
                .with_cursor(cursor)
        });
    }
}

fn delete_topics(pair: &mut Pair) {
    for names in [vec!["missing"], vec![""], vec!["a b"], vec!["missing", "missing"], vec![]] {
        pair.compare_all(&format!("delete {names:?}"), |_, version| delete(version, &names));
    }
    pair.compare_all("delete and delete again", |_, version| delete(version, &[&format!("beside{version}")]));
    pair.compare_all("delete and delete again", |_, version| delete(version, &[&format!("beside{version}")]));
    for id in ["missing", "no id", "s0.7"] {
        pair.kafka.learn_topics();
        pair.millrace.learn_topics();
        pair.compare("delete by id", 6, |peer, _| {
            let id = if id == "no id" { Uuid::nil() } else { peer.topic_id(id) };
            let topic = DeleteTopicState::default().with_name(None).with_topic_id(id);
            DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
        });
    }
    pair.compare("delete by id and name", 6, |peer, _| {
        let topic = DeleteTopicState::default()
            .with_name(Some(topic_name("s0.6")))
            .with_topic_id(peer.topic_id("s0.6"));
        DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
    });
}

pub fn delete(version: i16, names: &[&str]) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
    if version < 6 {
        return request.with_topic_names(names.iter().map(|name| topic_name(name)).collect());
    }
    let topic = |name: &&str| DeleteTopicState::default().with_name(Some(topic_name(name)));
    request.with_topics(names.iter().map(topic).collect())
}
