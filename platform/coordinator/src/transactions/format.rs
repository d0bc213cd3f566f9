//! Records of `__transaction_state` in Kafka's format (`TransactionLogKey` 0, `TransactionLogValue` 0 and 1). Big-endian.
//!
//! The key is its version i16, 0, and the transactional id (length i16). A value of version 1, which is what is written,
//! is:
//!
//! | field | what |
//! |---|---|
//! | version | i16: 1 |
//! | producer id, epoch | i64, i16 |
//! | timeout, state | i32 in milliseconds, i8 |
//! | partitions | compact array, null where none is open, of topic (compact string), numbers (compact array of i32), no tags |
//! | last update, start | i64 each, in milliseconds |
//! | tags | 0: previous producer id i64; 1: next producer id i64; 2: the client's transaction version i16 |
//!
//! Version 0 has no tags, and lengths of i16 and i32. A key or a value of a later version is not known.

use bytes::{Buf, BufMut};

use super::transaction::{
    NO_PRODUCER_ID, ProducerEpoch, Transaction, TransactionPartitions, TransactionState,
};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 1;

pub(super) fn encode_key(transactional_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + transactional_id.len());
    out.put_i16(KEY_VERSION);
    out.put_i16(i16::try_from(transactional_id.len()).expect("requests carry ids of this length"));
    out.put_slice(transactional_id.as_bytes());
    out
}

pub(super) fn decode_key(mut bytes: &[u8]) -> Option<String> {
    if bytes.try_get_i16().ok()? != KEY_VERSION {
        return None;
    }
    let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let text = take(&mut bytes, len)?;
    String::from_utf8(text.to_vec()).ok().filter(|_| bytes.is_empty())
}

pub(super) fn encode_value(transaction: &Transaction) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.put_i16(VALUE_VERSION);
    out.put_i64(transaction.producer.id);
    out.put_i16(transaction.producer.epoch);
    out.put_i32(transaction.timeout_ms);
    out.put_i8(transaction.state as i8);
    if transaction.state == TransactionState::Empty {
        put_varint(&mut out, 0);
    } else {
        put_varint(&mut out, 1 + transaction.partitions.len());
        for (topic, numbers) in &transaction.partitions {
            put_varint(&mut out, 1 + topic.len());
            out.put_slice(topic.as_bytes());
            put_varint(&mut out, 1 + numbers.len());
            numbers.iter().for_each(|number| out.put_i32(*number));
            put_varint(&mut out, 0);
        }
    }
    out.put_i64(transaction.updated_ms);
    out.put_i64(transaction.started_ms);
    let ids = [(0, transaction.previous_producer_id), (1, transaction.next_producer_id)];
    let ids = ids.into_iter().filter(|(_, id)| *id != NO_PRODUCER_ID);
    let has_version = transaction.client_version != 0;
    put_varint(&mut out, ids.clone().count() + usize::from(has_version));
    for (tag, id) in ids {
        put_varint(&mut out, tag);
        put_varint(&mut out, 8);
        out.put_i64(id);
    }
    if has_version {
        put_varint(&mut out, 2);
        put_varint(&mut out, 2);
        out.put_i16(transaction.client_version);
    }
    out
}

pub(super) fn decode_value(mut bytes: &[u8]) -> Option<Transaction> {
    let bytes = &mut bytes;
    let is_flexible = match bytes.try_get_i16().ok()? {
        0 => false,
        VALUE_VERSION => true,
        _ => return None,
    };
    let producer = ProducerEpoch { id: bytes.try_get_i64().ok()?, epoch: bytes.try_get_i16().ok()? };
    let timeout_ms = bytes.try_get_i32().ok()?;
    let state = TransactionState::from_number(bytes.try_get_i8().ok()?)?;
    let mut partitions = TransactionPartitions::new();
    for _ in 0..take_count(bytes, is_flexible)? {
        let len = if is_flexible {
            take_varint(bytes)?.checked_sub(1)?
        } else {
            usize::try_from(bytes.try_get_i16().ok()?).ok()?
        };
        let topic = String::from_utf8(take(bytes, len)?.to_vec()).ok()?;
        let numbers = partitions.entry(topic).or_default();
        for _ in 0..take_count(bytes, is_flexible)? {
            numbers.insert(bytes.try_get_i32().ok()?);
        }
        if is_flexible {
            each_tag(bytes, |_, _| Some(()))?;
        }
    }
    let mut transaction = Transaction {
        producer,
        previous_producer_id: NO_PRODUCER_ID,
        next_producer_id: NO_PRODUCER_ID,
        timeout_ms,
        state,
        partitions,
        updated_ms: bytes.try_get_i64().ok()?,
        started_ms: bytes.try_get_i64().ok()?,
        client_version: 0,
    };
    if is_flexible {
        each_tag(bytes, |tag, mut field| {
            match tag {
                0 => transaction.previous_producer_id = field.try_get_i64().ok()?,
                1 => transaction.next_producer_id = field.try_get_i64().ok()?,
                2 => transaction.client_version = field.try_get_i16().ok()?,
                // What a later build has added is not needed here.
                _ => {}
            }
            Some(())
        })?;
    }
    bytes.is_empty().then_some(transaction)
}

/// Entries of an array; null has none.
fn take_count(bytes: &mut &[u8], is_flexible: bool) -> Option<usize> {
    if is_flexible {
        return Some(take_varint(bytes)?.saturating_sub(1));
    }
    Some(usize::try_from(bytes.try_get_i32().ok()?).unwrap_or(0))
}

fn each_tag<'b>(bytes: &mut &'b [u8], mut see: impl FnMut(usize, &'b [u8]) -> Option<()>) -> Option<()> {
    for _ in 0..take_varint(bytes)? {
        let (tag, len) = (take_varint(bytes)?, take_varint(bytes)?);
        see(tag, take(bytes, len)?)?;
    }
    Some(())
}

fn take<'b>(bytes: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// Seven bits a byte, the lowest first; the highest bit says that there are more.
fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = bytes.try_get_u8().ok()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ongoing() -> Transaction {
        Transaction {
            state: TransactionState::Ongoing,
            partitions: [("t".to_owned(), BTreeSet::from([0, 258]))].into(),
            started_ms: 900,
            client_version: 2,
            ..Transaction::new(7, 60_000, 1_000)
        }
    }

    #[test]
    fn keys_and_values_are_kafkas() {
        assert_eq!(encode_key("tx"), b"\x00\x00\x00\x02tx");
        assert_eq!(decode_key(b"\x00\x00\x00\x02tx").as_deref(), Some("tx"));
        let head = b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\xea\x60";
        let updated = b"\x00\x00\x00\x00\x00\x00\x03\xe8";
        let empty = [&head[..], b"\x00\x00", updated, &[0xff; 8], b"\x00"].concat();
        assert_eq!(encode_value(&Transaction::new(7, 60_000, 1_000)), empty);
        let partitions = b"\x01\x02\x02t\x03\x00\x00\x00\x00\x00\x00\x01\x02\x00";
        let started = b"\x00\x00\x00\x00\x00\x00\x03\x84";
        let expected = [&head[..], partitions, updated, started, b"\x01\x02\x02\x00\x02"].concat();
        assert_eq!(encode_value(&ongoing()), expected);
        let turned = Transaction { previous_producer_id: 5, next_producer_id: 9, ..ongoing() };
        for transaction in [ongoing(), turned, Transaction::new(7, 60_000, 1_000)] {
            assert_eq!(decode_value(&encode_value(&transaction)), Some(transaction));
        }
    }

    #[test]
    fn the_first_version_is_read_and_damage_is_not_known() {
        let old = [
            &b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\xea\x60\x01"[..],
            b"\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x01\x02",
            b"\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x00\x00\x00\x00\x00\x03\x84",
        ]
        .concat();
        assert_eq!(decode_value(&old), Some(Transaction { client_version: 0, ..ongoing() }));
        let value = encode_value(&ongoing());
        for len in 0..value.len() {
            assert_eq!(decode_value(&value[..len]), None);
        }
        assert_eq!(decode_value(&[b"\x00\x02", &value[2..]].concat()), None);
        assert_eq!(decode_key(b"\x00\x01\x00\x02tx"), None);
    }
}
