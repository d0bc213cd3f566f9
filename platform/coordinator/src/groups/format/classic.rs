//! The record of a group whose members assign partitions themselves, laid out as Kafka's group coordinator writes it.
//!
//! Key: version, i16: 2; the group, a string.
//!
//! Value, version 3 (integers big-endian, strings with a 16-bit length, of -1 for none, bytes with a 32-bit one):
//!
//! | field | form |
//! |---|---|
//! | version | i16: 3 |
//! | protocol type | string |
//! | generation | i32 |
//! | protocol, leader | nullable strings |
//! | since when it is in its state, ms | i64; version 2 on |
//! | members | i32: how many; of each: |
//! | … id | string |
//! | … instance id | nullable string; version 3 on |
//! | … client id, client host | strings |
//! | … rebalance timeout, ms | i32; version 1 on |
//! | … session timeout, ms | i32 |
//! | … subscription, assignment | bytes |
//!
//! Version rule: Kafka's. A value of a later version is not known here, and kept as it is. A record without a value says
//! that the group is forgotten.

use bytes::{Buf, BufMut};

use super::{put_text, take, take_text};

const KEY_VERSION: i16 = 2;
const VALUE_VERSION: i16 = 3;

/// A group as its record has it: as its last generation was when it was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct GroupRecord {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub state_since_ms: i64,
    pub members: Vec<MemberRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct MemberRecord {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Vec<u8>,
    pub assignment: Vec<u8>,
}

pub(in crate::groups) fn encode_key(group: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + group.len());
    key.put_i16(KEY_VERSION);
    put_text(&mut key, group);
    key
}

/// `None` for what is not a group's key.
pub(in crate::groups) fn decode_key(mut key: &[u8]) -> Option<String> {
    if key.try_get_i16().ok()? != KEY_VERSION {
        return None;
    }
    take_text(&mut key)
}

impl GroupRecord {
    pub fn encode(&self) -> Vec<u8> {
        let mut value = Vec::new();
        value.put_i16(VALUE_VERSION);
        put_text(&mut value, &self.protocol_type);
        value.put_i32(self.generation);
        put_nullable(&mut value, self.protocol.as_deref());
        put_nullable(&mut value, self.leader.as_deref());
        value.put_i64(self.state_since_ms);
        value.put_i32(count(self.members.len()));
        for member in &self.members {
            put_text(&mut value, &member.id);
            put_nullable(&mut value, member.instance.as_deref());
            put_text(&mut value, &member.client_id);
            put_text(&mut value, &member.client_host);
            value.put_i32(member.rebalance_timeout_ms);
            value.put_i32(member.session_timeout_ms);
            put_bytes(&mut value, &member.subscription);
            put_bytes(&mut value, &member.assignment);
        }
        value
    }

    /// `None` for what this version cannot read.
    pub fn decode(mut value: &[u8]) -> Option<Self> {
        let version = value.try_get_i16().ok()?;
        if !(0..=VALUE_VERSION).contains(&version) {
            return None;
        }
        let value = &mut value;
        let mut group = Self {
            protocol_type: take_text(value)?,
            generation: value.try_get_i32().ok()?,
            protocol: take_nullable(value)?,
            leader: take_nullable(value)?,
            state_since_ms: if version >= 2 { value.try_get_i64().ok()? } else { -1 },
            members: Vec::new(),
        };
        for _ in 0..value.try_get_i32().ok()? {
            group.members.push(take_member(value, version)?);
        }
        Some(group)
    }
}

fn take_member(value: &mut &[u8], version: i16) -> Option<MemberRecord> {
    let id = take_text(value)?;
    let instance = if version >= 3 { take_nullable(value)? } else { None };
    let (client_id, client_host) = (take_text(value)?, take_text(value)?);
    let rebalance_timeout_ms = if version >= 1 { Some(value.try_get_i32().ok()?) } else { None };
    let session_timeout_ms = value.try_get_i32().ok()?;
    Some(MemberRecord {
        id,
        instance,
        client_id,
        client_host,
        rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
        session_timeout_ms,
        subscription: take_bytes(value)?,
        assignment: take_bytes(value)?,
    })
}

fn count(len: usize) -> i32 {
    i32::try_from(len).expect("what a group has is bounded far below it")
}

fn put_nullable(buffer: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_text(buffer, text),
        None => buffer.put_i16(-1),
    }
}

fn take_nullable(bytes: &mut &[u8]) -> Option<Option<String>> {
    if bytes.starts_with(&[0xff, 0xff]) {
        bytes.advance(2);
        return Some(None);
    }
    take_text(bytes).map(Some)
}

fn put_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.put_i32(count(bytes.len()));
    buffer.put_slice(bytes);
}

fn take_bytes(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(bytes.try_get_i32().ok()?).ok()?;
    Some(take(bytes, len)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> GroupRecord {
        let member = MemberRecord {
            id: "m-1".into(),
            instance: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: vec![1, 2],
            assignment: vec![3],
        };
        GroupRecord {
            protocol_type: "consumer".into(),
            generation: 7,
            protocol: Some("range".into()),
            leader: Some("m-1".into()),
            state_since_ms: 1_000,
            members: vec![member.clone(), MemberRecord { instance: Some("i".into()), ..member }],
        }
    }

    #[test]
    fn keys_and_values_are_kafkas() {
        assert_eq!(encode_key("g"), b"\x00\x02\x00\x01g");
        assert_eq!(decode_key(b"\x00\x02\x00\x01g").as_deref(), Some("g"));
        assert_eq!(decode_key(b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00"), None, "an offset");
        let empty = GroupRecord { protocol: None, leader: None, members: Vec::new(), ..record() };
        let expected = b"\x00\x03\x00\x08consumer\x00\x00\x00\x07\xff\xff\xff\xff\
                         \x00\x00\x00\x00\x00\x00\x03\xe8\x00\x00\x00\x00";
        assert_eq!(empty.encode(), expected);
        for record in [empty, record()] {
            assert_eq!(GroupRecord::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn older_values_are_read() {
        let value = b"\x00\x00\x00\x08consumer\x00\x00\x00\x07\x00\x05range\x00\x03m-1\x00\x00\x00\x01\
                      \x00\x03m-1\x00\x01c\x00\x02/h\x00\x00\xaf\xc8\x00\x00\x00\x02\x01\x02\x00\x00\x00\x01\x03";
        let mut expected = record();
        expected.members.truncate(1);
        expected.members[0].rebalance_timeout_ms = 45_000;
        expected.state_since_ms = -1;
        assert_eq!(GroupRecord::decode(value), Some(expected));
    }

    #[test]
    fn what_is_cut_off_or_later_is_not_known_and_never_panics() {
        let value = record().encode();
        for len in 0..value.len() {
            assert_eq!(GroupRecord::decode(&value[..len]), None);
        }
        assert_eq!(GroupRecord::decode(&[&[0, 4], &value[2..]].concat()), None);
        let mut many = record().encode();
        many.truncate(2 + 10 + 4 + 7 + 5 + 8);
        many.extend([0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(GroupRecord::decode(&many), None, "more members than there are bytes");
    }
}
