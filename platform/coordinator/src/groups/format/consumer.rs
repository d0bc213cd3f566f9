//! The records of a group to which the coordinator assigns (KIP-848), laid out as Kafka's group coordinator writes them.
//!
//! Key: version, i16, which says what it is; the group, a string with a 16-bit length, and for some a second string:
//!
//! | version | what it is | second string | value |
//! |---|---|---|---|
//! | 3 | the group's epoch | | epoch, i32; tag 0: hash of the topics, i64, unless it is 0 |
//! | 5 | what a member says of itself | member | see below |
//! | 6 | the target's epoch | | epoch, i32 |
//! | 7 | what a member is to read | member | assignment |
//! | 8 | what a member reads | member | its epoch, the one before, i32; state, i8; what it has, what it is to give up: assignments |
//! | 16 | a regular expression | expression | topics: array of strings; version of the metadata, when it was resolved in ms, i64 |
//!
//! What a member says: instance, rack, nullable; client id, client host; topics, an array; regular expression, nullable;
//! rebalance timeout in ms, i32; assignor, nullable; tag 0: none, as it speaks no other protocol.
//!
//! An assignment is an array of: topic's id, 16 bytes; partitions, an array of i32; tagged fields. In values the version
//! is i16: 0, strings and arrays have their length plus one as a varint, 0 for none, and tagged fields end everything.
//! Integers are big-endian.
//!
//! Version rule: Kafka's. A value of a later version is not known here, and kept as it is. Tagged fields that are not
//! known are read over. A record without a value says that what has its key is forgotten.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use millrace_base::TopicId;
use uuid::Uuid;

use super::super::assignor::Assignment;
use super::{put_text, put_varint, take, take_text, take_varint};
use crate::state_log::StateRecord;

const GROUP_EPOCH: i16 = 3;
const MEMBER: i16 = 5;
const TARGET_EPOCH: i16 = 6;
const TARGET: i16 = 7;
const CURRENT: i16 = 8;
const PATTERN: i16 = 16;

const VALUE_VERSION: i16 = 0;
const TOPICS_HASH_TAG: u32 = 0;
/// The one tagged field of what a member says, 0, is none: the member speaks this protocol.
const NO_CLASSIC_PROTOCOL: &[u8] = &[1, 0, 1, 0];

/// What a record of a group's is about, in the order in which all of them are written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::groups) enum Subject {
    GroupEpoch,
    Member(String),
    TargetEpoch,
    Target(String),
    Current(String),
    Pattern(String),
}

/// A record of a group's. Without a value it is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) enum Part {
    GroupEpoch(Option<GroupEpoch>),
    Member(String, Option<Arc<MemberMetadata>>),
    TargetEpoch(Option<i32>),
    Target(String, Option<Arc<Assignment>>),
    Current(String, Option<Arc<Current>>),
    Pattern(String, Option<Arc<Resolved>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct GroupEpoch {
    pub epoch: i32,
    /// Of the topics that its members read, to see when they change.
    pub topics_hash: i64,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct MemberMetadata {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Sorted.
    pub topics: Vec<String>,
    /// Empty for none.
    pub pattern: String,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
}

/// How far a member is on the way to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum Progress {
    /// It has what it is to have.
    Stable,
    /// It has to give up something first.
    Unrevoked,
    /// Others have to give up something first.
    Unreleased,
}

impl Progress {
    const fn number(self) -> u8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
        }
    }

    const fn numbered(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Stable),
            1 => Some(Self::Unrevoked),
            2 => Some(Self::Unreleased),
            _ => None,
        }
    }
}

/// What a member reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Current {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub progress: Progress,
    pub assigned: Assignment,
    /// What it still may read, and is to give up.
    pub revoking: Assignment,
}

/// The topics that a regular expression matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Resolved {
    /// Sorted.
    pub topics: Vec<String>,
    pub metadata_version: i64,
    pub at_ms: i64,
}

impl MemberMetadata {
    /// What it takes in memory with all that is kept of a member, about.
    pub fn bytes(&self) -> usize {
        const OVERHEAD: usize = 512;
        let names = self.topics.iter().map(|topic| topic.len() + size_of::<String>());
        OVERHEAD + self.client_id.len() + self.client_host.len() + self.pattern.len() + names.sum::<usize>()
    }
}

impl Subject {
    pub fn encode_key(&self, group: &str) -> Vec<u8> {
        let (version, second) = match self {
            Self::GroupEpoch => (GROUP_EPOCH, None),
            Self::Member(member) => (MEMBER, Some(member)),
            Self::TargetEpoch => (TARGET_EPOCH, None),
            Self::Target(member) => (TARGET, Some(member)),
            Self::Current(member) => (CURRENT, Some(member)),
            Self::Pattern(pattern) => (PATTERN, Some(pattern)),
        };
        let mut key = Vec::with_capacity(6 + group.len() + second.map_or(0, String::len));
        key.put_i16(version);
        put_text(&mut key, group);
        if let Some(second) = second {
            put_text(&mut key, second);
        }
        key
    }
}

/// The group and what the record is about; `None` for what is no such key.
pub(in crate::groups) fn decode_key(mut key: &[u8]) -> Option<(String, Subject)> {
    let key = &mut key;
    let version = key.try_get_i16().ok()?;
    if !matches!(version, GROUP_EPOCH | MEMBER | TARGET_EPOCH | TARGET | CURRENT | PATTERN) {
        return None;
    }
    let group = take_text(key)?;
    let subject = match version {
        GROUP_EPOCH => Subject::GroupEpoch,
        MEMBER => Subject::Member(take_text(key)?),
        TARGET_EPOCH => Subject::TargetEpoch,
        TARGET => Subject::Target(take_text(key)?),
        CURRENT => Subject::Current(take_text(key)?),
        _ => Subject::Pattern(take_text(key)?),
    };
    Some((group, subject))
}

impl Part {
    pub fn subject(&self) -> Subject {
        match self {
            Self::GroupEpoch(_) => Subject::GroupEpoch,
            Self::Member(member, _) => Subject::Member(member.clone()),
            Self::TargetEpoch(_) => Subject::TargetEpoch,
            Self::Target(member, _) => Subject::Target(member.clone()),
            Self::Current(member, _) => Subject::Current(member.clone()),
            Self::Pattern(pattern, _) => Subject::Pattern(pattern.clone()),
        }
    }

    pub fn record(&self, group: &str) -> StateRecord {
        StateRecord { key: self.subject().encode_key(group), value: self.encode() }
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        value.put_i16(VALUE_VERSION);
        match self {
            Self::GroupEpoch(group) => put_group_epoch(&mut value, group.as_ref()?),
            Self::Member(_, member) => put_member(&mut value, member.as_ref()?),
            Self::TargetEpoch(epoch) => value.put_i32((*epoch)?),
            Self::Target(_, target) => put_assignment(&mut value, target.as_ref()?),
            Self::Current(_, current) => put_current(&mut value, current.as_ref()?),
            Self::Pattern(_, resolved) => {
                let resolved = resolved.as_ref()?;
                put_strings(&mut value, &resolved.topics);
                value.put_i64(resolved.metadata_version);
                value.put_i64(resolved.at_ms);
            }
        }
        match self {
            Self::GroupEpoch(_) => {}
            Self::Member(..) => value.put_slice(NO_CLASSIC_PROTOCOL),
            _ => value.put_u8(0),
        }
        Some(value)
    }

    /// `None` for what this version cannot read.
    pub fn decode(subject: Subject, value: Option<&[u8]>) -> Option<Self> {
        let mut value = match value {
            Some(mut value) => {
                if value.try_get_i16().ok()? != VALUE_VERSION {
                    return None;
                }
                Some(value)
            }
            None => None,
        };
        Some(match subject {
            Subject::GroupEpoch => Self::GroupEpoch(read(&mut value, take_group_epoch)?),
            Subject::Member(member) => Self::Member(member, read(&mut value, take_member)?.map(Arc::new)),
            Subject::TargetEpoch => Self::TargetEpoch(read(&mut value, |value| value.try_get_i32().ok())?),
            Subject::Target(member) => Self::Target(member, read(&mut value, take_assignment)?.map(Arc::new)),
            Subject::Current(member) => Self::Current(member, read(&mut value, take_current)?.map(Arc::new)),
            Subject::Pattern(pattern) => {
                Self::Pattern(pattern, read(&mut value, take_resolved)?.map(Arc::new))
            }
        })
    }
}

/// Nothing of a record without a value.
fn read<T>(value: &mut Option<&[u8]>, take: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Option<T>> {
    match value {
        Some(value) => take(value).map(Some),
        None => Some(None),
    }
}

fn put_group_epoch(value: &mut Vec<u8>, group: &GroupEpoch) {
    value.put_i32(group.epoch);
    if group.topics_hash == 0 {
        value.put_u8(0);
        return;
    }
    for number in [1, TOPICS_HASH_TAG, 8] {
        put_varint(value, number);
    }
    value.put_i64(group.topics_hash);
}

fn take_group_epoch(value: &mut &[u8]) -> Option<GroupEpoch> {
    let mut group = GroupEpoch { epoch: value.try_get_i32().ok()?, topics_hash: 0 };
    for _ in 0..take_varint(value)? {
        let (tag, len) = (take_varint(value)?, take_varint(value)?);
        let mut field = take(value, len)?;
        if tag == TOPICS_HASH_TAG {
            group.topics_hash = field.try_get_i64().ok()?;
        }
    }
    Some(group)
}

fn put_member(value: &mut Vec<u8>, member: &MemberMetadata) {
    put_string(value, member.instance.as_deref());
    put_string(value, member.rack.as_deref());
    put_string(value, Some(&member.client_id));
    put_string(value, Some(&member.client_host));
    put_strings(value, &member.topics);
    put_string(value, Some(&member.pattern));
    value.put_i32(member.rebalance_timeout_ms);
    put_string(value, member.assignor.as_deref());
}

fn take_member(value: &mut &[u8]) -> Option<MemberMetadata> {
    Some(MemberMetadata {
        instance: take_string(value)?,
        rack: take_string(value)?,
        client_id: take_string(value)??,
        client_host: take_string(value)??,
        topics: take_strings(value)?,
        pattern: take_string(value)?.unwrap_or_default(),
        rebalance_timeout_ms: value.try_get_i32().ok()?,
        assignor: take_string(value)?,
    })
}

fn put_current(value: &mut Vec<u8>, current: &Current) {
    value.put_i32(current.epoch);
    value.put_i32(current.previous_epoch);
    value.put_u8(current.progress.number());
    put_assignment(value, &current.assigned);
    put_assignment(value, &current.revoking);
}

fn take_current(value: &mut &[u8]) -> Option<Current> {
    Some(Current {
        epoch: value.try_get_i32().ok()?,
        previous_epoch: value.try_get_i32().ok()?,
        progress: Progress::numbered(value.try_get_u8().ok()?)?,
        assigned: take_assignment(value)?,
        revoking: take_assignment(value)?,
    })
}

fn take_resolved(value: &mut &[u8]) -> Option<Resolved> {
    Some(Resolved {
        topics: take_strings(value)?,
        metadata_version: value.try_get_i64().ok()?,
        at_ms: value.try_get_i64().ok()?,
    })
}

fn put_assignment(value: &mut Vec<u8>, assignment: &Assignment) {
    put_len(value, assignment.len());
    for (topic, partitions) in assignment {
        value.put_slice(topic.0.as_bytes());
        put_len(value, partitions.len());
        for partition in partitions {
            value.put_i32(*partition);
        }
        value.put_u8(0);
    }
}

fn take_assignment(value: &mut &[u8]) -> Option<Assignment> {
    let mut assignment = Assignment::new();
    for _ in 0..take_varint(value)?.checked_sub(1)? {
        let topic = TopicId(Uuid::from_slice(take(value, 16)?).ok()?);
        let bytes = take_varint(value)?.checked_sub(1)?.checked_mul(4)?;
        let mut partitions = take(value, bytes)?;
        let mut list = Vec::with_capacity(partitions.len() / 4);
        while let Ok(partition) = partitions.try_get_i32() {
            list.push(partition);
        }
        list.sort_unstable();
        assignment.insert(topic, list);
        for _ in 0..take_varint(value)? {
            let (_, len) = (take_varint(value)?, take_varint(value)?);
            take(value, len)?;
        }
    }
    Some(assignment)
}

fn put_len(value: &mut Vec<u8>, len: usize) {
    put_varint(value, u32::try_from(len).expect("what a group has is bounded far below it") + 1);
}

fn put_string(value: &mut Vec<u8>, text: Option<&str>) {
    let Some(text) = text else { return value.put_u8(0) };
    put_len(value, text.len());
    value.put_slice(text.as_bytes());
}

fn take_string(value: &mut &[u8]) -> Option<Option<String>> {
    let Some(len) = take_varint(value)?.checked_sub(1) else { return Some(None) };
    Some(Some(String::from_utf8(take(value, len)?.to_vec()).ok()?))
}

fn put_strings(value: &mut Vec<u8>, texts: &[String]) {
    put_len(value, texts.len());
    for text in texts {
        put_string(value, Some(text));
    }
}

fn take_strings(value: &mut &[u8]) -> Option<Vec<String>> {
    (0..take_varint(value)?.checked_sub(1)?).map(|_| take_string(value)?).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TopicId {
        TopicId(Uuid::from_bytes(*b"0123456789abcdef"))
    }

    fn member() -> MemberMetadata {
        MemberMetadata {
            instance: Some("i".into()),
            rack: Some("k".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            topics: Vec::new(),
            pattern: "x.*".into(),
            rebalance_timeout_ms: 300_000,
            assignor: Some("range".into()),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What Kafka 4.1 writes for the same.
    #[test]
    fn keys_and_values_are_kafkas() {
        let plain = MemberMetadata {
            instance: None,
            rack: None,
            topics: vec!["a".into(), "bc".into()],
            pattern: String::new(),
            assignor: None,
            ..member()
        };
        let target = Assignment::from([(id(), vec![0, 5])]);
        let current = Current {
            epoch: 4,
            previous_epoch: 3,
            progress: Progress::Unrevoked,
            assigned: Assignment::from([(id(), vec![0])]),
            revoking: Assignment::from([(id(), vec![5])]),
        };
        let resolved = Resolved { topics: vec!["a".into(), "b".into()], metadata_version: 7, at_ms: 9 };
        let hashed = GroupEpoch { epoch: 3, topics_hash: 0x0102_0304_0506_0708 };
        let m = || "m".to_owned();
        let cases = [
            (Part::GroupEpoch(Some(GroupEpoch { topics_hash: 0, ..hashed })), "0003000167", "00000000000300"),
            (Part::GroupEpoch(Some(hashed)), "0003000167", "0000000000030100080102030405060708"),
            (
                Part::Member(m(), Some(Arc::new(plain))),
                "000500016700016d",
                "000000000263032f680302610362630 1000493e000 01000100",
            ),
            (
                Part::Member(m(), Some(Arc::new(member()))),
                "000500016700016d",
                "00000269026b0263032f680104782e2a000493e00672616e6765 01000100",
            ),
            (Part::TargetEpoch(Some(3)), "0006000167", "00000000000300"),
            (
                Part::Target(m(), Some(Arc::new(target))),
                "000700016700016d",
                "000002303132333435363738396162636465660300000000000000050000",
            ),
            (
                Part::Current(m(), Some(Arc::new(current))),
                "000800016700016d",
                "00000000000400000003010230313233343536373839616263646566020000000000\
                 023031323334353637383961626364656602000000050000",
            ),
            (
                Part::Pattern("r".into(), Some(Arc::new(resolved))),
                "0010000167000172",
                "000003026102620000000000000007000000000000000900",
            ),
        ];
        for (part, key, value) in cases {
            let record = part.record("g");
            assert_eq!(hex(&record.key), key);
            let written = record.value.unwrap();
            assert_eq!(hex(&written), value.replace(' ', ""), "{part:?}");
            let (group, subject) = decode_key(&record.key).unwrap();
            assert_eq!((group.as_str(), Part::decode(subject.clone(), Some(&written))), ("g", Some(part)));
            for len in 0..written.len() {
                // Never panics; what lacks only its tagged fields may be taken.
                let _ = Part::decode(subject.clone(), Some(&written[..len]));
            }
            assert_eq!(
                Part::decode(subject.clone(), Some(&[&[0, 1], &written[2..]].concat())),
                None,
                "later"
            );
            assert_eq!(Part::decode(subject, None).unwrap().record("g").value, None);
        }
        assert_eq!(decode_key(b"\x00\x02\x00\x01g"), None, "a group of the classic protocol");
        assert_eq!(decode_key(b"\x00\x05\x00\x01g"), None, "no member");
    }
}
