//! The records of `__consumer_offsets`, laid out as Kafka's group coordinator writes them.
//!
//! Key, version 1 (all integers big-endian, strings with a 16-bit length):
//!
//! | field | form |
//! |---|---|
//! | version | i16: 1 |
//! | group, topic | string |
//! | partition | i32 |
//!
//! Value, version 3; a record without a value says that the offset is forgotten:
//!
//! | field | form |
//! |---|---|
//! | version | i16: 3 |
//! | offset | i64: the next record to be read |
//! | leader epoch | i32: of the record before it, -1 if unknown |
//! | metadata | string |
//! | commit timestamp, ms | i64 |
//!
//! Other key versions are other things of the coordinator's, and skipped. Version rule: Kafka's.

use bytes::{Buf, BufMut};

const KEY_VERSION: i16 = 1;
/// Version 0 has the same fields.
const KEY_VERSION_MIN: i16 = 0;
const VALUE_VERSION: i16 = 3;

/// Whose offset it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OffsetKey {
    pub group: String,
    pub topic: String,
    pub partition: i32,
}

impl OffsetKey {
    pub fn encode(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(10 + self.group.len() + self.topic.len());
        key.put_i16(KEY_VERSION);
        put_text(&mut key, &self.group);
        put_text(&mut key, &self.topic);
        key.put_i32(self.partition);
        key
    }

    /// `None` for what is not an offset's key.
    pub fn decode(mut key: &[u8]) -> Option<Self> {
        let version = key.try_get_i16().ok()?;
        if !(KEY_VERSION_MIN..=KEY_VERSION).contains(&version) {
            return None;
        }
        let (group, topic) = (take_text(&mut key)?, take_text(&mut key)?);
        Some(Self { group, topic, partition: key.try_get_i32().ok()? })
    }
}

/// How far a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    /// The committer's own text.
    pub metadata: String,
    pub timestamp_ms: i64,
}

impl Committed {
    pub fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(24 + self.metadata.len());
        value.put_i16(VALUE_VERSION);
        value.put_i64(self.offset);
        value.put_i32(self.leader_epoch);
        put_text(&mut value, &self.metadata);
        value.put_i64(self.timestamp_ms);
        value
    }

    /// Also of versions 0 to 2, which have no leader epoch, and of later ones, which add tagged fields.
    pub fn decode(mut value: &[u8]) -> Option<Self> {
        let version = value.try_get_i16().ok()?;
        let offset = value.try_get_i64().ok()?;
        let leader_epoch = if version >= VALUE_VERSION { value.try_get_i32().ok()? } else { -1 };
        if version > VALUE_VERSION {
            // Its strings are compact; the offset is all that is needed of it.
            return Some(Self { offset, leader_epoch, metadata: String::new(), timestamp_ms: -1 });
        }
        let metadata = take_text(&mut value)?;
        Some(Self { offset, leader_epoch, metadata, timestamp_ms: value.try_get_i64().ok()? })
    }
}

/// The partition of `__consumer_offsets` that holds a group: Java's `String.hashCode`, as in Kafka.
pub(crate) fn partition_of_group(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

fn put_text(buffer: &mut Vec<u8>, text: &str) {
    buffer.put_i16(i16::try_from(text.len()).expect("names of groups and topics are short"));
    buffer.put_slice(text.as_bytes());
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_kafkas() {
        let key = OffsetKey { group: "plugin.a".into(), topic: "t".into(), partition: 7 };
        let bytes = key.encode();
        assert_eq!(bytes, b"\x00\x01\x00\x08plugin.a\x00\x01t\x00\x00\x00\x07");
        assert_eq!(OffsetKey::decode(&bytes), Some(key));
        let value = Committed { offset: 42, leader_epoch: 3, metadata: String::new(), timestamp_ms: 1000 };
        let bytes = value.encode();
        assert_eq!(bytes[..14], *b"\x00\x03\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x03");
        assert_eq!(bytes[14..], *b"\x00\x00\x00\x00\x00\x00\x00\x00\x03\xe8");
        assert_eq!(Committed::decode(&bytes), Some(value.clone()));
        let told = Committed { metadata: "of this topic".into(), ..value };
        assert_eq!(Committed::decode(&told.encode()), Some(told));
    }

    #[test]
    fn what_is_no_offset_is_skipped_and_never_panics() {
        // Group metadata, and what is cut off.
        assert_eq!(OffsetKey::decode(b"\x00\x02\x00\x01g"), None);
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: 0 }.encode();
        let value = Committed { offset: 1, leader_epoch: 0, metadata: "m".into(), timestamp_ms: 0 }.encode();
        for len in 0..key.len() {
            assert_eq!(OffsetKey::decode(&key[..len]), None);
        }
        for len in 0..value.len() {
            assert_eq!(Committed::decode(&value[..len]), None);
        }
    }

    #[test]
    fn a_group_has_the_partition_that_kafka_gives_it() {
        // `Math.abs("plugin.orders".hashCode()) % 50` and so on, as a Java shell prints them.
        assert_eq!(partition_of_group("", 50), 0);
        assert_eq!(partition_of_group("test", 50), 3_556_498 % 50);
        // The hash of this one is the smallest 32-bit integer.
        assert_eq!(partition_of_group("polygenelubricants", 50), 0);
    }
}
