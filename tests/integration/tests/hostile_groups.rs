//! Members of groups that break the rules: names without end, members without number, answers asked for many times over.
//! None costs the broker its life, its memory or its other clients.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use millrace_integration_tests::raw::{Connection, flat, name};
use millrace_protocol::frame::encode_request;
use millrace_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use millrace_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use millrace_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, JoinGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest,
};
use millrace_protocol::{ErrorCode, StrBytes};
use millrace_test_harness::{Broker, eventually};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn broker() -> Broker {
    Broker::builder()
        .setting("log", "wal_bytes = \"32MiB\"")
        .setting("log", "tail_bytes = \"32MiB\"")
        .setting("groups", "initial_rebalance_delay = \"0ms\"")
        .start()
        .unwrap()
}

/// A connection to a broker that coordinates groups.
fn open(broker: &Broker) -> Connection {
    let mut connection = Connection::open(broker.address()).unwrap();
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    eventually("a coordinator", std::time::Duration::from_secs(60), || {
        (connection.ask(4, &request).coordinators[0].error_code == 0).then_some(())
    });
    connection
}

fn expect_healthy(broker: &mut Broker) {
    assert!(broker.is_running().unwrap(), "the broker has ended");
    assert!(!broker.log().contains("panicked"), "a task of the broker has panicked:\n{}", broker.log());
}

fn join(group: &str, member: &str, metadata: Bytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(metadata);
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(1_800_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn commit(group: &str, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(1)
        .with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

#[test]
fn names_that_no_record_can_hold_end_the_connection() {
    let mut broker = broker();
    open(&broker).create_topic("t", &[]);
    let long = "n".repeat(40_000);
    let frames = [
        encode_request(7, Some("test"), 8, &commit(&long, "")),
        encode_request(7, Some("test"), 8, &commit("g", &long)),
        encode_request(7, Some("test"), 9, &join(&long, "", Bytes::new())),
        encode_request(7, Some("test"), 9, &join("g", &long, Bytes::new())),
        encode_request(
            7,
            Some("test"),
            9,
            &join("g", "", Bytes::new()).with_group_instance_id(Some(text(&long))),
        ),
    ];
    for (index, frame) in frames.into_iter().enumerate() {
        let mut connection = open(&broker);
        connection.send(&flat(frame.unwrap()));
        assert!(connection.is_closed_by_broker(), "after request {index}");
    }
    expect_healthy(&mut broker);
}

#[test]
fn the_longest_names_are_written_down() {
    let mut broker = broker();
    let mut connection = open(&broker);
    connection.create_topic("t", &[]);
    let longest = "n".repeat(i16::MAX as usize);
    let committed = connection.ask(8, &commit(&longest, ""));
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    let request = join(&longest, "", Bytes::new()).with_group_instance_id(Some(text(&longest)));
    let joined = connection.ask(9, &request);
    assert_eq!((joined.error_code, joined.member_id.len()), (0, i16::MAX as usize));
    let request = millrace_protocol::messages::SyncGroupRequest::default()
        .with_group_id(GroupId(text(&longest)))
        .with_generation_id(1)
        .with_member_id(joined.member_id)
        .with_group_instance_id(Some(text(&longest)));
    assert_eq!(connection.ask(4, &request).error_code, 0);
    expect_healthy(&mut broker);
    broker.kill().unwrap();
    broker.restart().unwrap();
    let groups = vec![GroupId(text(&longest))];
    let described = open(&broker).ask(5, &DescribeGroupsRequest::default().with_groups(groups));
    assert_eq!((&*described.groups[0].group_state, described.groups[0].members.len()), ("Stable", 1));
}

/// Each of them would be waited for half an hour.
#[test]
fn members_that_only_ask_for_ids_are_bounded() {
    let mut broker = broker();
    let mut connection = open(&broker);
    let client = "c".repeat(30_000);
    let frame = flat(encode_request(7, Some(&client), 9, &join("g", "", Bytes::new())).unwrap());
    let before = broker.resident_bytes().unwrap();
    let mut refused = 0;
    for _ in 0..4_000 {
        connection.send(&frame);
        let answer = connection.receive().unwrap().unwrap();
        refused += usize::from(answer[9..11] == ErrorCode::GroupMaxSizeReached.code().to_be_bytes());
    }
    let grown = broker.resident_bytes().unwrap().saturating_sub(before);
    assert!(refused > 2_000, "{refused} were refused");
    assert!(grown < 400 << 20, "the broker has grown by {} MiB", grown >> 20);
    expect_healthy(&mut broker);
}

#[test]
fn what_is_asked_many_times_over_is_answered_once() {
    let mut broker = broker();
    let mut connection = open(&broker);
    connection.create_topic("t", &[]);
    let committed = connection.ask(8, &commit("g", &"m".repeat(4_096)));
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    let joined = connection.ask(3, &join("described", "", Bytes::from(vec![0; 1 << 20])));
    assert_eq!(joined.error_code, 0);

    let groups = vec![GroupId(text("described")); 20_000];
    let described = connection.ask(5, &DescribeGroupsRequest::default().with_groups(groups));
    assert_eq!(described.groups.len(), 1);
    let all = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![all.clone(); 5_000]);
    assert_eq!(connection.ask(8, &request).groups.len(), 1);
    let topic =
        OffsetFetchRequestTopics::default().with_name(name("t")).with_partition_indexes(vec![0; 500_000]);
    let request = OffsetFetchRequest::default().with_groups(vec![all.with_topics(Some(vec![topic]))]);
    let fetched = connection.ask(8, &request);
    assert_eq!(fetched.groups[0].topics[0].partitions.len(), 1);
    expect_healthy(&mut broker);
}
