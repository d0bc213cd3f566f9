//! Records: produced well and badly, fetched, looked up by offset, time and epoch, deleted.

use bytes::Bytes;
use millrace_compat_tests::control::{Pair, Peer};
use millrace_protocol::batch::{BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use millrace_protocol::crc::crc32c;
use millrace_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use millrace_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use millrace_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use millrace_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use millrace_protocol::messages::{
    BrokerId, DeleteRecordsRequest, DescribeLogDirsRequest, FetchRequest, ListOffsetsRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, TransactionalId,
};

use crate::support::{create_in, text, topic_name};

/// Any time that has passed.
pub const TIME: i64 = 1_600_000_000_000;
/// What is in the past by [`TIME`] stays: both brokers delete by time when it suits them.
pub const KEPT: (&str, Option<&str>) = ("retention.ms", Some("-1"));
/// Partitions of the topics that batches with a flaw are sent to.
const FLAWED: i32 = 40;
/// The first, those between which the answer changes, and the first that names topics by their ids.
const PRODUCE_VERSIONS: [i16; 5] = [3, 7, 8, 10, 13];
pub const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

pub fn compare(pair: &mut Pair) {
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        create_in(
            peer,
            &[
                ("log", FLAWED, &[KEPT]),
                ("compacted", FLAWED, &[("cleanup.policy", Some("compact"))]),
                ("small", FLAWED, &[KEPT, ("max.message.bytes", Some("300"))]),
                ("stamped", FLAWED, &[("message.timestamp.type", Some("LogAppendTime"))]),
                ("recent", FLAWED, &[("message.timestamp.before.max.ms", Some("1000"))]),
                ("read", 1, &[KEPT]),
            ],
        );
    }
    produce(pair);
    sequences(pair);
    deleted_sequences(pair);
    look_up(pair);
    fetch(pair);
    delete(pair);
    directories(pair);
}

pub fn batch(codec: Codec, producer: ProducerState, records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for index in 0..records {
        builder.append(TIME + index as i64, Some(b"key"), Some(&[b'v'; 40]), &[]);
    }
    builder.finish(codec, producer).unwrap().to_vec()
}

/// Replaces bytes of a batch and mends its checksum, unless that is what is to be wrong.
pub fn with(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    if at != 17 {
        let checksum = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    }
    batch
}

/// `request` and records for one more partition of its topic.
pub fn and_to(mut request: ProduceRequest, index: i32, records: Vec<u8>) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(index).with_records(Some(records.into()));
    request.topic_data[0].partition_data.push(partition);
    request
}

pub fn produce_to(
    peer: &Peer,
    version: i16,
    topic: &str,
    index: i32,
    records: Option<Vec<u8>>,
) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(index).with_records(records.map(Bytes::from));
    let data = TopicProduceData::default().with_partition_data(vec![partition]);
    let data = if version >= 13 {
        data.with_topic_id(peer.topic_id(topic))
    } else {
        data.with_name(topic_name(topic))
    };
    ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![data])
}

/// What may be wrong with a batch.
fn flaws() -> Vec<(&'static str, Option<Vec<u8>>)> {
    let good = || batch(Codec::None, ProducerState::NONE, 3);
    let zipped = || batch(Codec::Zstd, ProducerState::NONE, 3);
    let int = i32::to_be_bytes;
    let mut flaws = vec![
        ("empty records", Some(Vec::new())),
        ("a checksum of another", Some(with(good(), 17, &[1, 2, 3, 4]))),
        ("magic 1", Some(with(good(), 16, &[1]))),
        ("magic 0", Some(with(good(), 16, &[0]))),
        ("magic 3", Some(with(good(), 16, &[3]))),
        ("more records than there are", Some(with(good(), 57, &int(4)))),
        ("fewer records than there are", Some(with(good(), 57, &int(2)))),
        ("no records counted", Some(with(good(), 57, &int(0)))),
        ("a negative count", Some(with(good(), 57, &int(-1)))),
        ("a last offset too far", Some(with(good(), 23, &int(3)))),
        ("count and last offset too far", Some(with(with(good(), 57, &int(9)), 23, &int(8)))),
        ("zipped, more records than there are", Some(with(zipped(), 57, &int(4)))),
        ("zipped, count and last offset too far", Some(with(with(zipped(), 57, &int(9)), 23, &int(8)))),
        ("zipped, count and last offset short", Some(with(with(zipped(), 57, &int(2)), 23, &int(1)))),
        ("zipped garbage", Some(with(zipped(), 61, &[9; 8]))),
        ("records with gaps", Some(with(good(), 64, &[4]))),
        ("a base offset", Some(with(good(), 0, &77i64.to_be_bytes()))),
        ("a leader epoch", Some(with(good(), 12, &int(5)))),
        ("a later timestamp than its records", Some(with(good(), 35, &(TIME + 500).to_be_bytes()))),
        ("an earlier timestamp than its records", Some(with(good(), 35, &(TIME - 500).to_be_bytes()))),
        ("log append time", Some(with(good(), 21, &[0, 8]))),
        ("a control batch", Some(with(good(), 21, &[0, 0x20]))),
        ("a transactional batch of nobody", Some(with(good(), 21, &[0, 0x10]))),
        ("codec 5", Some(with(good(), 21, &[0, 5]))),
        ("two batches", Some([good(), good()].concat())),
        ("half a batch", Some(good()[..50].to_vec())),
        ("a batch and a half", Some([&good()[..], &good()[..50]].concat())),
        ("a length too short", Some(with(good(), 8, &int(10)))),
        ("a length too long", Some(with(good(), 8, &int(10_000)))),
        (
            "a time to come",
            Some(with(with(good(), 27, &(TIME * 2).to_be_bytes()), 35, &(TIME * 2 + 2).to_be_bytes())),
        ),
        (
            "a time before 1970",
            Some(with(with(good(), 27, &(-50i64).to_be_bytes()), 35, &(-48i64).to_be_bytes())),
        ),
    ];
    for codec in CODECS {
        flaws.push((codec_name(codec), Some(batch(codec, ProducerState::NONE, 3))));
    }
    flaws
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "a good batch",
        Codec::Gzip => "a good batch in gzip",
        Codec::Snappy => "a good batch in snappy",
        Codec::Lz4 => "a good batch in lz4",
        Codec::Zstd => "a good batch in zstd",
    }
}

fn produce(pair: &mut Pair) {
    for topic in ["log", "compacted", "small", "stamped", "recent"] {
        // Each in a partition of its own, which nothing before it has touched.
        for (index, (flaw, records)) in (1..).zip(flaws()) {
            let mut alike = true;
            for version in PRODUCE_VERSIONS {
                let what = format!("produce to {topic}: {flaw}");
                let compared = pair.compare(&what, version, |peer, version| {
                    produce_to(peer, version, topic, index, records.clone())
                });
                alike &= compared.alike;
            }
            end_alike(pair, topic, index, alike, &format!("end of {topic} after {flaw}"));
        }
        let mut builder = BatchBuilder::default();
        builder.append(TIME, None, Some(b"no key"), &[]);
        let keyless = builder.finish(Codec::Lz4, ProducerState::NONE).unwrap().to_vec();
        pair.compare_all(&format!("produce to {topic}: no key"), |peer, version| {
            produce_to(peer, version, topic, 0, Some(keyless.clone()))
        });
    }
    let good = batch(Codec::None, ProducerState::NONE, 1);
    for (topic, index) in [("log", FLAWED), ("log", -1), ("missing", 0), ("", 0), ("a b", 0)] {
        pair.compare_all(&format!("produce to '{topic}' {index}"), |peer, version| {
            produce_to(peer, version, topic, index, Some(good.clone()))
        });
    }
    let damaged = with(good.clone(), 16, &[3]);
    pair.compare_all("produce of no batch to no topic", |peer, version| {
        produce_to(peer, version, "missing", 0, Some(damaged.clone()))
    });
    pair.compare_all("produce of no batch with acks 2", |peer, version| {
        produce_to(peer, version, "log", 1, Some(damaged.clone())).with_acks(2)
    });
    for acks in [1, 2, -2] {
        pair.compare_all(&format!("produce with acks {acks}"), |peer, version| {
            produce_to(peer, version, "log", 1, Some(good.clone())).with_acks(acks)
        });
    }
    pair.compare_all("produce with a transaction's id only", |peer, version| {
        produce_to(peer, version, "log", 1, Some(good.clone()))
            .with_transactional_id(Some(TransactionalId(text("transaction"))))
    });
}

/// What idempotent producers may and may not send.
fn sequences(pair: &mut Pair) {
    let steps: [(&str, i16, i32, usize); 20] = [
        ("has an epoch before the first", -2, 0, 1),
        ("begins without an epoch", -1, 0, 1),
        ("goes on without an epoch", -1, 1, 1),
        ("repeats itself without an epoch", -1, 0, 1),
        ("begins without a number", 0, -1, 1),
        ("begins", 0, 0, 1),
        ("goes on", 0, 1, 2),
        ("leaves a gap", 0, 9, 1),
        ("repeats the last", 0, 1, 2),
        ("repeats the first", 0, 0, 1),
        ("repeats half a batch", 0, 1, 1),
        ("goes on by five", 0, 3, 5),
        ("goes on by one", 0, 8, 1),
        ("goes on by one again", 0, 9, 1),
        ("goes on once more", 0, 10, 1),
        ("repeats what is long ago", 0, 0, 1),
        ("begins a new epoch late", 1, 3, 1),
        ("begins a new epoch", 1, 0, 1),
        ("leaves its epoch out", -1, 0, 1),
        ("has an older epoch", 0, 11, 1),
    ];
    for version in [3, 7, 12, 13] {
        let producer_id = 900_000 + i64::from(version);
        for (what, producer_epoch, base_sequence, records) in steps {
            let producer = ProducerState { producer_id, producer_epoch, base_sequence, transactional: false };
            let records = batch(Codec::None, producer, records);
            pair.compare(&format!("a producer {what}"), version, |peer, version| {
                produce_to(peer, version, "log", 0, Some(records.clone()))
            });
        }
    }
    end_alike(pair, "log", 0, true, "end after sequences");
    // Each in a partition of its own, which the brokers then have unlike.
    for (index, what, producer_epoch) in
        [(FLAWED - 1, "begins late", 0), (FLAWED - 2, "begins late without an epoch", -1)]
    {
        for producer_id in [800_001, 800_002] {
            let producer =
                ProducerState { producer_id, producer_epoch, base_sequence: 5, transactional: false };
            let records = batch(Codec::None, producer, 1);
            pair.compare(&format!("a producer {what}"), 12, |peer, version| {
                produce_to(peer, version, "log", index, Some(records.clone()))
            });
        }
    }
}

/// Producers whose records are deleted are still known.
fn deleted_sequences(pair: &mut Pair) {
    for (what, base_sequence, offset) in [("begins", 0, 1), ("goes on", 1, -1), ("repeats itself", 1, -1)] {
        let producer =
            ProducerState { producer_id: 800_003, producer_epoch: 0, base_sequence, transactional: false };
        let records = batch(Codec::None, producer, 1);
        pair.compare(&format!("a producer whose records are deleted {what}"), 12, |peer, version| {
            produce_to(peer, version, "log", FLAWED - 3, Some(records.clone()))
        });
        pair.compare("deletion of producers' records", 2, |_, _| deletion("log", FLAWED - 3, offset));
    }
    let gap =
        ProducerState { producer_id: 800_003, producer_epoch: 0, base_sequence: 7, transactional: false };
    let records = batch(Codec::None, gap, 1);
    pair.compare("a producer whose records are deleted leaves a gap", 12, |peer, version| {
        produce_to(peer, version, "log", FLAWED - 3, Some(records.clone()))
    });
}

/// Compares where a partition ends, unless one broker took what the other refused, which the comparison of their
/// answers to that, not `alike` then, has judged: false, since what follows would differ, too.
pub fn end_alike(pair: &mut Pair, topic: &str, index: i32, alike: bool, what: &str) -> bool {
    let asked = || offsets(&[(topic, index, -1, -1)], 5);
    let end = |peer: &mut Peer| peer.ask(5, &asked()).map(|response| response.topics[0].partitions[0].offset);
    if !alike && end(&mut pair.kafka) != end(&mut pair.millrace) {
        return false;
    }
    pair.compare(what, 5, |_, _| asked());
    true
}

/// Asks for offsets by topic, partition, time and epoch; neighbours of one topic share its entry.
pub fn offsets(asked: &[(&str, i32, i64, i32)], version: i16) -> ListOffsetsRequest {
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for (name, index, timestamp, epoch) in asked {
        let partition =
            ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(*timestamp);
        let partition = if version >= 4 { partition.with_current_leader_epoch(*epoch) } else { partition };
        match topics.last_mut() {
            Some(topic) if &**topic.name == *name => topic.partitions.push(partition),
            _ => topics.push(
                ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(vec![partition]),
            ),
        }
    }
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics)
}

fn look_up(pair: &mut Pair) {
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        for codec in CODECS {
            let request = produce_to(peer, 12, "read", 0, Some(batch(codec, ProducerState::NONE, 10)));
            let response = peer.ask(12, &request).unwrap();
            assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        }
    }
    for timestamp in [-1, -2, -3, -4, -5, -6, -7, 0, TIME, TIME + 4, TIME + 9, TIME + 10, i64::MAX] {
        for (topic, index, epoch) in [
            ("read", 0, -1),
            ("read", 0, 0),
            ("read", 0, 7),
            ("read", 3, -1),
            ("missing", 0, -1),
            ("", 0, -1),
        ] {
            pair.compare_all(
                &format!("offset of {topic} {index} in epoch {epoch} at {timestamp}"),
                |_, version| offsets(&[(topic, index, timestamp, epoch)], version),
            );
        }
    }
    for replica in [-2, 1, 5, -3] {
        pair.compare_all(&format!("offsets for replica {replica}"), |_, version| {
            offsets(&[("read", 0, -1, -1)], version).with_replica_id(BrokerId(replica))
        });
    }
    pair.compare_all("offsets of one partition twice", |_, version| {
        offsets(&[("read", 0, -1, -1), ("read", 0, -2, -1)], version)
    });
    for (topic, index, current, epoch) in [
        ("read", 0, -1, 0),
        ("read", 0, 0, 0),
        ("read", 0, -1, 1),
        ("read", 0, -1, -1),
        ("read", 0, 3, 0),
        ("read", 3, -1, 0),
        ("missing", 0, -1, 0),
    ] {
        pair.compare_all(
            &format!("end of epoch {epoch} of {topic} {index}, current {current}"),
            |_, version| {
                let partition = OffsetForLeaderPartition::default()
                    .with_partition(index)
                    .with_current_leader_epoch(current)
                    .with_leader_epoch(epoch);
                let topic = OffsetForLeaderTopic::default()
                    .with_topic(topic_name(topic))
                    .with_partitions(vec![partition]);
                let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
                if version >= 3 { request.with_replica_id(BrokerId(-1)) } else { request }
            },
        );
    }
}

/// What one partition is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub topic: &'a str,
    pub index: i32,
    pub offset: i64,
    pub epoch: i32,
    pub max_bytes: i32,
}

pub fn fetch_from(peer: &Peer, version: i16, asked: &[Asked<'_>]) -> FetchRequest {
    let topic = |asked: &Asked<'_>| {
        let partition = FetchPartition::default()
            .with_partition(asked.index)
            .with_fetch_offset(asked.offset)
            .with_partition_max_bytes(asked.max_bytes);
        let partition =
            if version >= 9 { partition.with_current_leader_epoch(asked.epoch) } else { partition };
        let topic = FetchTopic::default().with_partitions(vec![partition]);
        if version >= 13 {
            topic.with_topic_id(peer.topic_id(asked.topic))
        } else {
            topic.with_topic(topic_name(asked.topic))
        }
    };
    let request = FetchRequest::default()
        .with_max_wait_ms(10)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(asked.iter().map(topic).collect());
    let request = if version <= 14 { request.with_replica_id(BrokerId(-1)) } else { request };
    if version >= 7 { request.with_session_epoch(-1) } else { request }
}

fn fetch(pair: &mut Pair) {
    let read = Asked { topic: "read", index: 0, offset: 0, epoch: -1, max_bytes: 1 << 20 };
    let cases = [
        ("from the start", read),
        ("from within a batch", Asked { offset: 14, ..read }),
        ("from the end", Asked { offset: 50, ..read }),
        ("beyond the end", Asked { offset: 51, ..read }),
        ("before the start", Asked { offset: -1, ..read }),
        ("in its epoch", Asked { epoch: 0, ..read }),
        ("in an epoch to come", Asked { epoch: 4, ..read }),
        ("of no partition", Asked { index: 7, ..read }),
        ("of no topic", Asked { topic: "missing", ..read }),
        ("of one byte", Asked { max_bytes: 1, ..read }),
        ("of no byte", Asked { max_bytes: 0, ..read }),
        ("of less than no byte", Asked { max_bytes: -1, ..read }),
        ("of some bytes", Asked { max_bytes: 700, ..read }),
    ];
    for (what, asked) in cases {
        for isolation in [0, 1] {
            pair.compare_all(&format!("fetch {what}, isolation {isolation}"), |peer, version| {
                fetch_from(peer, version, &[asked]).with_isolation_level(isolation)
            });
        }
    }
    pair.compare_all("fetch of two", |peer, version| {
        fetch_from(peer, version, &[read, Asked { topic: "missing", ..read }])
    });
    pair.compare_all("fetch of one twice", |peer, version| {
        fetch_from(peer, version, &[read, Asked { offset: 20, ..read }])
    });
    let one_batch = batch(Codec::None, ProducerState::NONE, 10).len() as i32;
    pair.compare_all("fetch of two, of which one fits", |peer, version| {
        let asked = [Asked { max_bytes: one_batch, ..read }, Asked { topic: "log", ..read }];
        fetch_from(peer, version, &asked).with_isolation_level(1).with_max_bytes(one_batch + 20)
    });
    pair.compare_all("fetch of nothing", |peer, version| fetch_from(peer, version, &[]));
    for (session, epoch) in [(0, 0), (0, 1), (77, 0), (77, 1), (77, -1), (-5, 3)] {
        pair.compare_all(&format!("fetch in session {session}, epoch {epoch}"), |peer, version| {
            fetch_from(peer, version, &[read]).with_session_id(session).with_session_epoch(epoch)
        });
    }
    for max_bytes in [0, 1, 600, -1] {
        pair.compare_all(&format!("fetch of at most {max_bytes}"), |peer, version| {
            fetch_from(peer, version, &[read]).with_max_bytes(max_bytes)
        });
    }
}

pub fn deletion(topic: &str, index: i32, offset: i64) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}

fn delete(pair: &mut Pair) {
    let cases = [
        ("read", 0, 15),
        ("read", 0, 5),
        ("read", 0, 51),
        ("read", 0, -2),
        ("read", 3, 0),
        ("missing", 0, 0),
        ("compacted", 0, 1),
        ("read", 0, -1),
    ];
    for (topic, index, offset) in cases {
        pair.compare_all(&format!("delete records of {topic} {index} below {offset}"), |_, _| {
            deletion(topic, index, offset)
        });
        for timestamp in [-1, -2, -3, TIME + 2] {
            pair.compare(
                &format!("after deletion of {topic} below {offset}: at {timestamp}"),
                7,
                |_, version| offsets(&[(topic, 0, timestamp, -1)], version),
            );
        }
    }
}

fn directories(pair: &mut Pair) {
    for topics in [Some(vec!["read"]), Some(vec!["missing"]), Some(vec![])] {
        pair.compare_all(&format!("directories of {topics:?}"), |_, _| {
            let topic = |name: &&str| {
                DescribableLogDirTopic::default().with_topic(topic_name(name)).with_partitions(vec![0])
            };
            let topics = topics.as_ref().map(|topics| topics.iter().map(topic).collect());
            DescribeLogDirsRequest::default().with_topics(topics)
        });
    }
}
