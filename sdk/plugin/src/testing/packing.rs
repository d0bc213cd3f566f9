//! Packed batches from records, and records from packed blocks, for tests.

use crate::batch::HEADER_LEN;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::varint;
use crate::varint::take_bytes;

/// A record of the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    timestamp_ms: i64,
}

impl Input {
    /// A record with a value.
    pub fn value(value: impl AsRef<[u8]>) -> Self {
        Self { value: Some(value.as_ref().to_vec()), ..Self::default() }
    }

    /// A record without a value.
    pub fn tombstone() -> Self {
        Self::default()
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// With this header too.
    #[must_use]
    pub fn header(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// At this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = timestamp_ms;
        self
    }
}

/// The batch that a host would send of these records.
pub fn pack(base_offset: i64, records: &[Input]) -> Vec<u8> {
    let base_timestamp = records.first().map_or(0, |record| record.timestamp_ms);
    let max_timestamp = records.iter().map(|record| record.timestamp_ms).max().unwrap_or(-1);
    let mut batch = vec![0; HEADER_LEN];
    for (delta, record) in records.iter().enumerate() {
        let headers: Vec<(&str, &[u8])> =
            record.headers.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        let mut draft = Draft::new(record.timestamp_ms).add_headers(&headers);
        if let Some(key) = &record.key {
            draft = draft.key(key);
        }
        if let Some(value) = &record.value {
            draft = draft.value(value);
        }
        draft.encode(&mut batch, base_timestamp, delta as u32);
    }
    let count = records.len() as i32;
    let length = batch.len() as i32 - 12;
    for (at, field) in [
        (0, &base_offset.to_be_bytes()[..]),
        (8, &length.to_be_bytes()),
        (12, &(-1_i32).to_be_bytes()),
        (16, &[2]),
        (23, &(count - 1).to_be_bytes()),
        (27, &base_timestamp.to_be_bytes()),
        (35, &max_timestamp.to_be_bytes()),
        (43, &[0xff; 14]),
        (57, &count.to_be_bytes()),
    ] {
        batch[at..at + field.len()].copy_from_slice(field);
    }
    batch
}

/// A record that a transform sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentRecord {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Names and values of the headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

impl SentRecord {
    /// The value as text; empty if there is none.
    pub fn value_str(&self) -> &str {
        self.value.as_deref().and_then(|value| str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// The key as text; empty if there is none.
    pub fn key_str(&self) -> &str {
        self.key.as_deref().and_then(|key| str::from_utf8(key).ok()).unwrap_or_default()
    }

    /// The value of the last header of this name as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rfind(|(key, _)| key == name)?;
        str::from_utf8(value.as_deref()?).ok()
    }
}

/// What a transform sent, by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    topics: Vec<(String, Vec<SentRecord>)>,
}

impl Sent {
    /// The records for a topic, in order.
    pub fn records(&self, topic: &str) -> &[SentRecord] {
        self.topics.iter().find(|(name, _)| name == topic).map_or(&[], |(_, records)| records)
    }

    /// The values of the records for a topic, as text.
    pub fn values(&self, topic: &str) -> Vec<&str> {
        self.records(topic).iter().map(SentRecord::value_str).collect()
    }

    /// How many records there are in all.
    pub fn len(&self) -> usize {
        self.topics.iter().map(|(_, records)| records.len()).sum()
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads output blocks as strictly as a host does.
pub fn unpack(blocks: &[u8], topics: &[String]) -> Result<Sent> {
    let mut sent = Sent { topics: topics.iter().map(|topic| (topic.clone(), Vec::new())).collect() };
    let mut rest = blocks;
    while !rest.is_empty() {
        let header = rest.get(..20).ok_or_else(|| Error::new("a block ends within its header"))?;
        let field =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (index, count, len) = (field(0) as usize, field(4), field(8) as usize);
        let base = i64::from(field(12)) | i64::from(field(16)) << 32;
        let records = rest.get(20..20 + len).ok_or_else(|| Error::new("a block ends within its records"))?;
        let (_, into) =
            sent.topics.get_mut(index).ok_or_else(|| Error::new(format!("there is no output {index}")))?;
        if count == 0 {
            return Err(Error::new("a block is empty"));
        }
        let mut at = 0;
        for number in 0..count {
            let record = record(records, &mut at, i64::from(number), base);
            into.push(record.ok_or_else(|| Error::new(format!("record {number} of a block is malformed")))?);
        }
        if at != records.len() {
            return Err(Error::new("bytes follow a block's last record"));
        }
        rest = &rest[20 + len..];
    }
    Ok(sent)
}

fn record(bytes: &[u8], at: &mut usize, number: i64, base: i64) -> Option<SentRecord> {
    let len = usize::try_from(varint::take(bytes, at)?).ok()?;
    let end = at.checked_add(len).filter(|end| *end <= bytes.len())?;
    let bytes = &bytes[..end];
    if *bytes.get(*at)? != 0 {
        return None;
    }
    *at += 1;
    let timestamp_ms = base.checked_add(varint::take(bytes, at)?)?;
    if varint::take(bytes, at)? != number {
        return None;
    }
    let key = take_bytes(bytes, at)?.map(<[u8]>::to_vec);
    let value = take_bytes(bytes, at)?.map(<[u8]>::to_vec);
    let mut headers = Vec::new();
    for _ in 0..varint::take(bytes, at)? {
        let name = String::from_utf8(take_bytes(bytes, at)??.to_vec()).ok()?;
        headers.push((name, take_bytes(bytes, at)?.map(<[u8]>::to_vec)));
    }
    (*at == end).then_some(SentRecord { key, value, headers, timestamp_ms })
}
