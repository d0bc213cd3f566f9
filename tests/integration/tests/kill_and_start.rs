//! What a broker says after it was killed and started again.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_integration_tests::raw::{Connection, batch, name};
use millrace_protocol::compression::Codec;
use millrace_protocol::crc::crc32c;
use millrace_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use millrace_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use millrace_test_harness::Broker;

/// The header of a sealed group of the write-ahead log that is far ahead of all others: all that a client can
/// know of one.
fn forged_group() -> [u8; 64] {
    let mut group = [0; 64];
    group[..4].copy_from_slice(b"MRWG");
    group[4..6].copy_from_slice(&2u16.to_le_bytes());
    group[12..16].copy_from_slice(&64u32.to_le_bytes());
    group[16..24].copy_from_slice(&(1u64 << 62).to_le_bytes());
    group[24..32].copy_from_slice(&(1u64 << 62).to_le_bytes());
    let crc = crc32c(&group[12..]);
    group[8..12].copy_from_slice(&crc.to_le_bytes());
    group
}

#[test]
fn values_that_look_like_the_write_ahead_log_do_not_keep_the_broker_from_starting() {
    let mut broker = Broker::builder().setting("log", "wal_bytes = \"16MiB\"").start().unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    connection.create_topic("forged", &[]);
    let forged = forged_group().repeat(256);
    // Twice and a half around the files. One of 64 shifts puts copies where groups begin.
    let count = 2500;
    for number in 0..count {
        let value = [&[b'.'; 64][..number % 64], &forged].concat();
        assert_eq!(connection.produce("forged", &batch(&value, Codec::None)), (0, number as i64));
    }
    broker.kill().unwrap();
    broker.restart().unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    assert_eq!(connection.end_offset("forged"), count as i64);
}

/// The largest epoch of partition 0 that is at or below `epoch`, and where it ends.
fn epoch_end(connection: &mut Connection, topic: &str, epoch: i32) -> (i32, i64) {
    let partition = OffsetForLeaderPartition::default().with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let response: OffsetForLeaderEpochResponse = connection.ask(4, &request);
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    (partition.leader_epoch, partition.end_offset)
}

/// A consumer at the end names the epoch that it was told there; "unknown" would make it start again.
#[test]
fn an_epoch_in_which_nothing_was_written_still_has_an_end() {
    let mut broker = Broker::start().unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    connection.create_topic("quiet", &[]);
    for offset in 0..5 {
        assert_eq!(connection.produce("quiet", &batch(b"x", Codec::None)), (0, offset));
    }
    assert_eq!(epoch_end(&mut connection, "quiet", 0), (0, 5));
    for epoch in 1..=2 {
        broker.kill().unwrap();
        broker.restart().unwrap();
        connection = Connection::open(broker.address()).unwrap();
        assert_eq!(epoch_end(&mut connection, "quiet", epoch), (epoch, 5), "the epoch that goes on");
    }
    assert_eq!(
        epoch_end(&mut connection, "quiet", 1),
        (0, 5),
        "without records: the one before, and its end"
    );
    assert_eq!(epoch_end(&mut connection, "quiet", 0), (0, 5));
    assert_eq!(epoch_end(&mut connection, "quiet", 3), (-1, -1), "it has not begun");
}
