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
//! Value, version 4; a record without a value says that the offset is forgotten:
//!
//! | field | form |
//! |---|---|
//! | version | i16: 4 |
//! | offset | i64: the next record to be read |
//! | leader epoch | i32: of the record before it, -1 if unknown |
//! | metadata | string, its length plus one a varint |
//! | commit timestamp, ms | i64 |
//! | tagged fields | varint: how many; of each its tag and its length, varints, and its bytes |
//!
//! Tagged field 0 is the id of the topic, 16 bytes, in Kafka since 4.1. Version 3, in which an offset without one is written, ends with the
//! timestamp and has a string with a 16-bit length; versions 0 to 2 have no leader epoch.
//!
//! Version rule: Kafka's. Other key versions are other things of the coordinator's, and not known here. Of later
//! versions of the value the offset is read. A value that would not be written like this is written as it was read.

use bytes::{Buf, BufMut};
use millrace_base::TopicId;
use uuid::Uuid;

use super::{put_text, put_varint, short, take, take_text, take_varint};

const KEY_VERSION: i16 = 1;
/// Version 0 has the same fields.
const KEY_VERSION_MIN: i16 = 0;
/// Without a topic's id.
const PLAIN_VERSION: i16 = 3;
const VALUE_VERSION: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

/// Whose offset it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    pub group: String,
    pub topic: String,
    pub partition: i32,
}

impl OffsetKey {
    pub(in crate::groups) fn encode(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(10 + self.group.len() + self.topic.len());
        key.put_i16(KEY_VERSION);
        put_text(&mut key, &self.group);
        put_text(&mut key, &self.topic);
        key.put_i32(self.partition);
        key
    }

    /// `None` for what is not an offset's key.
    pub(in crate::groups) fn decode(mut key: &[u8]) -> Option<Self> {
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
pub struct Committed {
    /// The topic whose offset it is; `None` if the committer did not say.
    pub topic: Option<TopicId>,
    pub offset: i64,
    pub leader_epoch: i32,
    /// The committer's own text.
    pub metadata: String,
    pub timestamp_ms: i64,
    /// As another version has written it, if it did it otherwise.
    pub(in crate::groups) written: Option<Vec<u8>>,
}

impl Committed {
    /// Of a topic that is known by its name alone.
    pub(in crate::groups) const fn new(
        offset: i64,
        leader_epoch: i32,
        metadata: String,
        timestamp_ms: i64,
    ) -> Self {
        Self { topic: None, offset, leader_epoch, metadata, timestamp_ms, written: None }
    }

    /// Whether it is, as far as is known, of the topic with this id.
    pub fn is_of(&self, topic: TopicId) -> bool {
        self.topic.is_none_or(|known| known == topic)
    }

    pub(in crate::groups) fn encode(&self) -> Vec<u8> {
        if let Some(written) = &self.written {
            return written.clone();
        }
        let mut value = Vec::with_capacity(48 + self.metadata.len());
        value.put_i16(if self.topic.is_some() { VALUE_VERSION } else { PLAIN_VERSION });
        value.put_i64(self.offset);
        value.put_i32(self.leader_epoch);
        match self.topic {
            Some(topic) => {
                put_varint(&mut value, short(self.metadata.len()) as u32 + 1);
                value.put_slice(self.metadata.as_bytes());
                value.put_i64(self.timestamp_ms);
                let id = topic.0.as_bytes();
                for number in [1, TOPIC_ID_TAG, id.len() as u32] {
                    put_varint(&mut value, number);
                }
                value.put_slice(id);
            }
            None => {
                put_text(&mut value, &self.metadata);
                value.put_i64(self.timestamp_ms);
            }
        }
        value
    }

    pub(in crate::groups) fn decode(value: &[u8]) -> Option<Self> {
        let mut committed = Self::read(value)?;
        if committed.encode() != value {
            committed.written = Some(value.to_vec());
        }
        Some(committed)
    }

    fn read(mut value: &[u8]) -> Option<Self> {
        let version = value.try_get_i16().ok()?;
        let offset = value.try_get_i64().ok()?;
        let leader_epoch = if version >= PLAIN_VERSION { value.try_get_i32().ok()? } else { -1 };
        if version > VALUE_VERSION {
            return Some(Self::new(offset, leader_epoch, String::new(), -1));
        }
        if version < VALUE_VERSION {
            let metadata = take_text(&mut value)?;
            return Some(Self::new(offset, leader_epoch, metadata, value.try_get_i64().ok()?));
        }
        let len = take_varint(&mut value)?.checked_sub(1)?;
        let metadata = String::from_utf8(take(&mut value, len)?.to_vec()).ok()?;
        let mut committed = Self::new(offset, leader_epoch, metadata, value.try_get_i64().ok()?);
        for _ in 0..take_varint(&mut value)? {
            let (tag, len) = (take_varint(&mut value)?, take_varint(&mut value)?);
            let field = take(&mut value, len)?;
            if tag == TOPIC_ID_TAG {
                let topic = TopicId(Uuid::from_slice(field).ok()?);
                committed.topic = Some(topic).filter(|topic| *topic != TopicId::ZERO);
            }
        }
        Some(committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = *b"0123456789abcdef";

    fn key() -> OffsetKey {
        OffsetKey { group: "plugin.a".into(), topic: "t".into(), partition: 7 }
    }

    fn of_topic(metadata: &str) -> Committed {
        let topic = Some(TopicId(Uuid::from_bytes(ID)));
        Committed { topic, ..Committed::new(42, 3, metadata.into(), 1000) }
    }

    #[test]
    fn keys_and_values_are_kafkas() {
        let bytes = key().encode();
        assert_eq!(bytes, b"\x00\x01\x00\x08plugin.a\x00\x01t\x00\x00\x00\x07");
        assert_eq!(OffsetKey::decode(&bytes), Some(key()));

        let begin = b"\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x03";
        let time = b"\x00\x00\x00\x00\x00\x00\x03\xe8";
        let plain = Committed::new(42, 3, "m".into(), 1000);
        let expected = [&b"\x00\x03"[..], begin, b"\x00\x01m", time].concat();
        assert_eq!(plain.encode(), expected);
        assert_eq!(Committed::decode(&expected), Some(plain));
        let expected = [&b"\x00\x04"[..], begin, b"\x02m", time, b"\x01\x00\x10", &ID].concat();
        assert_eq!(of_topic("m").encode(), expected);
        assert_eq!(Committed::decode(&expected), Some(of_topic("m")));
        let long = of_topic(&"m".repeat(300));
        assert_eq!(Committed::decode(&long.encode()), Some(long));
    }

    #[test]
    fn what_another_version_has_written_is_written_again_as_it_was() {
        let plain = Committed::new(42, 3, String::new(), 1000).encode();
        let old = [&b"\x00\x01"[..], &plain[2..10], &plain[14..], &plain[16..]].concat();
        let mut tagged = of_topic("m").encode();
        // One more field, which is not known.
        let count = tagged.len() - 19;
        tagged[count] = 2;
        tagged.extend_from_slice(b"\x05\x02??");
        let later = [&b"\x00\x09"[..], &plain[2..14], b"whatever"].concat();
        let mut unsaid = of_topic("m").encode();
        let id = unsaid.len() - 16;
        unsaid[id..].fill(0);
        for (value, topic, leader_epoch) in
            [(old, None, -1), (tagged, of_topic("").topic, 3), (unsaid, None, 3), (later, None, 3)]
        {
            let committed = Committed::decode(&value).unwrap();
            assert_eq!(
                (committed.offset, committed.topic, committed.leader_epoch),
                (42, topic, leader_epoch)
            );
            assert_eq!(committed.encode(), value);
        }
    }

    #[test]
    fn an_offset_is_of_its_topic_and_of_no_other() {
        assert!(of_topic("").is_of(TopicId(Uuid::from_bytes(ID))));
        assert!(!of_topic("").is_of(TopicId::random()));
        assert!(Committed::new(1, 0, String::new(), 0).is_of(TopicId::random()), "it was not said");
    }

    #[test]
    fn what_is_no_offset_is_not_known_and_never_panics() {
        // Group metadata, and what is cut off.
        assert_eq!(OffsetKey::decode(b"\x00\x02\x00\x01g"), None);
        let (key, value) = (key().encode(), of_topic("m").encode());
        for len in 0..key.len() {
            assert_eq!(OffsetKey::decode(&key[..len]), None);
        }
        for len in 0..value.len() {
            assert_eq!(Committed::decode(&value[..len]), None);
        }
        assert_eq!(Committed::decode(&[&value[..14], &[0xff; 9]].concat()), None, "a number without an end");
    }
}
