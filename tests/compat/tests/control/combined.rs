//! Batches with two flaws, of which the brokers name another: each intended difference that only such batches show,
//! which the generated ones meet by chance.

use millrace_compat_tests::control::Pair;
use millrace_protocol::batch::{BatchBuilder, ProducerState};
use millrace_protocol::compression::{Codec, compress};

use crate::records::{KEPT, and_to, batch, produce_to, with};
use crate::support::create_in;

const TOPIC: &str = "combined";
const COMPACTED: &str = "combined-compacted";
const PARTITIONS: i32 = 40;

fn good(codec: Codec) -> Vec<u8> {
    batch(codec, ProducerState::NONE, 3)
}

fn keyless() -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for time in [1, 2] {
        builder.append(time, None, Some(b"no key"), &[]);
    }
    builder.finish(Codec::None, ProducerState::NONE).unwrap().to_vec()
}

/// The length of its value stands at 69.
fn valueless() -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.append(1, Some(b"key"), None, &[]);
    builder.append(1, None, Some(b"no key"), &[]);
    builder.finish(Codec::None, ProducerState::NONE).unwrap().to_vec()
}

fn transactional(batch: Vec<u8>) -> Vec<u8> {
    with(batch, 21, &[0, 0x10])
}

/// The batch's records, the first of which says that it is longer than it is, zipped.
fn zipped_lie(mut batch: Vec<u8>) -> Vec<u8> {
    let mut records = batch.split_off(61);
    records[0] += 20;
    compress(Codec::Snappy, &records, &mut batch).unwrap();
    let length = batch.len() as i32 - 12;
    with(with(batch, 21, &[0, Codec::Snappy as u8]), 8, &length.to_be_bytes())
}

pub fn compare(pair: &mut Pair) {
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        create_in(
            peer,
            &[(TOPIC, PARTITIONS, &[KEPT]), (COMPACTED, PARTITIONS, &[("cleanup.policy", Some("compact"))])],
        );
    }
    let producer =
        ProducerState { producer_id: 5, producer_epoch: 0, base_sequence: 0, transactional: false };
    let int = i32::to_be_bytes;
    let one = || batch(Codec::None, ProducerState::NONE, 1);
    let half = [&keyless()[..], &keyless()[..50]].concat();
    let cases: Vec<(&str, &str, i16, Vec<u8>)> = vec![
        ("a batch and a half without keys", COMPACTED, 12, half),
        ("no keys, with gaps", COMPACTED, 12, with(keyless(), 64, &[4])),
        ("no keys, log append time", COMPACTED, 12, with(keyless(), 21, &[0, 8])),
        ("zipped, with zipped records that are none", TOPIC, 12, zipped_lie(one())),
        ("no keys, with zipped records that are none", COMPACTED, 12, zipped_lie(keyless())),
        ("with a length below -1", TOPIC, 7, with(valueless(), 69, &[0x7b])),
        ("no key, with a length below -1", COMPACTED, 12, with(valueless(), 69, &[0x7b])),
        ("16 at 8", TOPIC, 7, with(good(Codec::None), 8, &int(16))),
        ("a producer, 16 at 8", TOPIC, 7, with(batch(Codec::None, producer, 3), 8, &int(16))),
        ("3 at 8, 0 at 16", TOPIC, 7, with(with(good(Codec::None), 16, &[0]), 8, &int(3))),
        ("transactional, 16 at 8", TOPIC, 7, with(transactional(good(Codec::None)), 8, &int(16))),
        ("zstd, 16 at 8", TOPIC, 5, with(good(Codec::Zstd), 8, &int(16))),
        ("too long at 8", "missing", 12, with(good(Codec::None), 8, &int(i32::MAX))),
        ("too long at 8", "missing", 13, with(good(Codec::None), 8, &int(i32::MAX))),
        ("transactional", "missing", 12, transactional(good(Codec::None))),
        ("transactional", "missing", 13, transactional(good(Codec::None))),
    ];
    for (index, (what, records)) in (PARTITIONS / 2..).zip([
        ("magic 3", with(good(Codec::None), 16, &[3])),
        ("a producer, 16 at 8", with(batch(Codec::None, producer, 3), 8, &int(16))),
        ("transactional", transactional(good(Codec::None))),
    ]) {
        pair.compare(&format!("produce to {TOPIC}: {what}, and to another"), 7, |peer, version| {
            let request = produce_to(peer, version, TOPIC, index, Some(records.clone()));
            and_to(request, index + 5, one())
        });
    }
    pair.compare("produce to one twice", 7, |peer, version| {
        and_to(produce_to(peer, version, TOPIC, PARTITIONS - 1, Some(one())), PARTITIONS - 1, one())
    });
    for (index, (what, topic, version, records)) in (0..).zip(cases) {
        pair.compare(&format!("produce to {topic}: {what}"), version, |peer, version| {
            produce_to(peer, version, topic, index, Some(records.clone()))
        });
    }
}
