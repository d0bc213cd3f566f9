//! Batches made of random choices: good ones, and ones of which a few bytes are others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use millrace_integration_tests::Random;
use millrace_protocol::batch::{Batch, BatchBuilder, BatchHeader, Header, ProducerState};
use millrace_protocol::compression::Codec;

use crate::records::{CODECS, TIME, with};

/// Place and length of a header's fields: base offset, length, leader epoch, magic, checksum, attributes, last offset
/// delta, base and maximum timestamp, producer's id, epoch and sequence, count.
const FIELDS: [(usize, usize); 13] = [
    (0, 8),
    (8, 4),
    (12, 4),
    (16, 1),
    (17, 4),
    (21, 2),
    (23, 4),
    (27, 8),
    (35, 8),
    (43, 8),
    (51, 2),
    (53, 4),
    (57, 4),
];
const HEADER_LEN: u64 = 61;
/// What a field may be instead, as far as it has room for it: numbers near limits, times, bits.
const VALUES: [i64; 16] =
    [-2, -1, 0, 1, 2, 3, 4, 7, 8, 16, 32, 64, i32::MAX as i64, i64::MAX, i64::MIN, TIME + 1];
const TIMES: [i64; 8] = [TIME, TIME + 1, TIME + 2, TIME - 1, -1, 0, 1, TIME * 2];

pub fn one_of<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[usize::try_from(random.below(from.len() as u64)).unwrap()]
}

fn chance(random: &mut Random, one_in: u64) -> bool {
    random.below(one_in) == 0
}

/// What producers have sent to one partition.
#[derive(Default)]
pub struct Sent {
    /// For each id epochs and sequences, with the counts of their records.
    batches: BTreeMap<i64, Vec<(i16, i32, usize)>>,
    /// Ids, epochs and sequences of what was sent, and of what is known to be taken.
    tried: BTreeSet<(i64, i16, i32)>,
    taken: BTreeSet<(i64, i16, i32)>,
}

impl Sent {
    pub fn tried(&mut self, batch: &[u8], taken: bool) {
        self.tried.extend(sender(batch));
        if taken {
            self.taken.extend(sender(batch));
        }
    }
}

/// Id, epoch and sequence of a batch that has a producer's.
fn sender(batch: &[u8]) -> Option<(i64, i16, i32)> {
    let mut fields = batch.get(43..57)?;
    let sender = (fields.get_i64(), fields.get_i16(), fields.get_i32());
    (sender.0 >= 0).then_some(sender)
}

/// What some intended differences are about, told of a batch that is to follow what was sent.
pub fn described(batch: &[u8], sent: &Sent) -> String {
    let mut text = String::new();
    if let Some((id, epoch, sequence)) = sender(batch) {
        text = format!("by {id} {epoch} {sequence}");
        if sequence != 0 && !sent.taken.iter().any(|(known, epoch, _)| *known == id && *epoch >= 0) {
            text.push_str(", which begins late");
        }
        if sent.tried.contains(&(id, epoch, sequence)) {
            text.push_str(", which repeats");
        }
    }
    if batch.get(22).is_some_and(|attributes| attributes & 8 != 0) {
        text.push_str(", with log append time");
    }
    if let Ok(header) = BatchHeader::parse(batch) {
        let rest = batch.get(header.total_len()..).unwrap_or_default();
        if !rest.is_empty() && BatchHeader::parse(rest).map_or(true, |next| next.total_len() > rest.len()) {
            text.push_str(", a batch and a half");
        }
    }
    if let Ok(batch) = Batch::parse(Bytes::copy_from_slice(batch)) {
        text.push_str(described_records(&batch));
    }
    text
}

/// The same of its records, as far as they can be read.
fn described_records(batch: &Batch) -> &'static str {
    let Ok(records) = batch.records(1 << 20) else { return "" };
    let base = batch.header.base_offset;
    let read = || records.iter().map_while(Result::ok);
    let deltas = read().map(|record| record.offset.wrapping_sub(base));
    if (0..).zip(deltas).any(|(expected, delta)| expected != delta) {
        return ", with gaps";
    }
    let is_zipped = batch.header.attributes.codec() != Ok(Codec::None);
    match batch.validate_records(1 << 20) {
        Err(_) if is_zipped => ", with zipped records that are none",
        Err(_) if has_length_below_null(&batch.bytes[HEADER_LEN as usize..]).is_some() => {
            ", with a length below -1"
        }
        _ => "",
    }
}

/// Whether a key, a value or a header's value of uncompressed records has a length that is negative and not -1.
fn has_length_below_null(mut bytes: &[u8]) -> Option<()> {
    loop {
        let len = number(&mut bytes)?;
        let (mut record, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
        bytes = rest;
        record = record.get(1..)?;
        // The deltas of time and offset.
        number(&mut record)?;
        number(&mut record)?;
        let mut lengths = 2;
        while lengths > 0 {
            let len = number(&mut record)?;
            if len < -1 {
                return Some(());
            }
            record = record.get(usize::try_from(len.max(0)).ok()?..)?;
            lengths -= 1;
            if lengths == 0 && !record.is_empty() {
                // Of headers; their keys' lengths count as well.
                lengths = 2 * number(&mut record)?;
            }
        }
    }
}

fn number(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= i64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number >> 1 ^ -(number & 1));
        }
    }
    None
}

/// A producer that most often goes on where it was.
pub fn producer(random: &mut Random, sent: &mut Sent, records: usize) -> ProducerState {
    if chance(random, 2) {
        return ProducerState::NONE;
    }
    let producer_id = one_of(random, &[5_000_001, 5_000_001, 5_000_002, 0, -2]);
    let before = sent.batches.entry(producer_id).or_default();
    let (epoch, sequence, count) = before.last().copied().unwrap_or((0, 0, 0));
    let next = (epoch, sequence.wrapping_add(count as i32) & i32::MAX, records);
    let (producer_epoch, base_sequence, _) = match random.below(10) {
        0 if !before.is_empty() => one_of(random, before),
        1 => (one_of(random, &[-2, -1, 0, 1, 2]), one_of(random, &[-1, 0, 1, 5, i32::MAX]), records),
        2 => (epoch.wrapping_add(1), 0, records),
        3 => (epoch, next.1.wrapping_add(1) & i32::MAX, records),
        _ => next,
    };
    let this = (producer_epoch, base_sequence, records);
    before.push(this);
    ProducerState { producer_id, producer_epoch, base_sequence, transactional: false }
}

/// A batch as it should be.
pub fn good(random: &mut Random, producer: ProducerState, records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for _ in 0..records {
        let len = one_of(random, &[0, 1, 40, 300]);
        let (bytes, key) = (random.bytes(len), random.bytes(3));
        let key = (!chance(random, 8)).then_some(&key[..]);
        let value = (!chance(random, 8)).then_some(&bytes[..]);
        let header = Header::new("header", value.filter(|value| value.len() < 40));
        let time = if chance(random, 8) { one_of(random, &TIMES) } else { TIME };
        builder.append(time, key, value, if chance(random, 4) { std::slice::from_ref(&header) } else { &[] });
    }
    builder.finish(one_of(random, &CODECS), producer).unwrap().to_vec()
}

/// A batch with up to two flaws, and what they are.
pub fn flawed(random: &mut Random, mut batch: Vec<u8>) -> (Vec<u8>, String) {
    let mut flaws = String::new();
    for _ in 0..random.below(3) {
        let flaw = match random.below(20) {
            0 => {
                let len = random.below(batch.len() as u64);
                batch.truncate(usize::try_from(len).unwrap());
                format!(", cut at {len}")
            }
            1 => {
                batch.extend_from_slice(&batch.clone());
                ", twice".to_owned()
            }
            2..6 if batch.len() as u64 > HEADER_LEN => {
                let at = HEADER_LEN + random.below(batch.len() as u64 - HEADER_LEN);
                let byte = random.bytes(1);
                batch = with(batch, usize::try_from(at).unwrap(), &byte);
                format!(", {byte:?} at {at}")
            }
            _ if batch.len() as u64 >= HEADER_LEN => {
                let ((at, len), value) = (one_of(random, &FIELDS), one_of(random, &VALUES));
                batch = with(batch, at, &value.to_be_bytes()[8 - len..]);
                format!(", {value} at {at}")
            }
            _ => String::new(),
        };
        flaws.push_str(&flaw);
    }
    (batch, flaws)
}
