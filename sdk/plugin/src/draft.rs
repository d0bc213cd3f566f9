//! A record to be sent.

use crate::copy;
use crate::record::Record;
use crate::varint;

/// A record's lengths, deltas, counts and attributes at their longest.
const FIELDS_LEN_MAX: usize = 1 + 6 * varint::MAX_LEN;

/// A record to be sent: everything in it is borrowed until it is written into an output.
///
/// ```
/// # use millrace_plugin::Draft;
/// let draft = Draft::new(1_700_000_000_000).key(b"k").value(b"v").add_headers(&[("region", b"eu")]);
/// # let _ = draft;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    timestamp_ms: i64,
    /// Headers of the record this one was made from, as they lie there.
    kept: &'a [u8],
    kept_count: u32,
    added: &'a [(&'a str, &'a [u8])],
}

impl<'a> Record<'a> {
    /// A record to send that is like this one but for what is set on it.
    #[inline]
    pub const fn draft(&self) -> Draft<'a> {
        Draft {
            key: self.key,
            value: self.value,
            timestamp_ms: self.timestamp_ms,
            kept: self.headers,
            kept_count: self.header_count,
            added: &[],
        }
    }
}

impl<'a> Draft<'a> {
    /// A record with nothing in it.
    pub const fn new(timestamp_ms: i64) -> Self {
        Self { key: None, value: None, timestamp_ms, kept: &[], kept_count: 0, added: &[] }
    }

    /// With this key.
    pub fn key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { key: Some(key.as_ref()), ..self }
    }

    /// With no key.
    pub const fn without_key(self) -> Self {
        Self { key: None, ..self }
    }

    /// With this value.
    pub fn value(self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { value: Some(value.as_ref()), ..self }
    }

    /// With no value: a tombstone.
    pub const fn without_value(self) -> Self {
        Self { value: None, ..self }
    }

    /// At this time, in milliseconds since the Unix epoch.
    pub const fn timestamp_ms(self, timestamp_ms: i64) -> Self {
        Self { timestamp_ms, ..self }
    }

    /// With these headers behind those that the record came with. A second call replaces the first one's.
    pub const fn add_headers(self, added: &'a [(&'a str, &'a [u8])]) -> Self {
        Self { added, ..self }
    }

    /// Without the headers that the record came with.
    pub const fn without_headers(self) -> Self {
        Self { kept: &[], kept_count: 0, ..self }
    }

    /// Upper bound of what the record takes, its length included.
    pub(crate) fn len_max(&self) -> usize {
        let payload = self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + self.kept.len();
        let added: usize =
            self.added.iter().map(|(key, value)| key.len() + value.len() + 2 * varint::MAX_LEN).sum();
        FIELDS_LEN_MAX + payload + added
    }

    /// What the record takes as number `offset_delta` of a block, its length included.
    pub(crate) fn encoded_len(&self, base_timestamp: i64, offset_delta: u32) -> usize {
        sized(self.body_len(base_timestamp, offset_delta))
    }

    fn body_len(&self, base_timestamp: i64, offset_delta: u32) -> usize {
        let added: usize = self.added.iter().map(|(key, value)| sized(key.len()) + sized(value.len())).sum();
        1 + varint::len(self.timestamp_ms.wrapping_sub(base_timestamp))
            + varint::len(i64::from(offset_delta))
            + nullable_len(self.key)
            + nullable_len(self.value)
            + varint::len(self.header_count())
            + self.kept.len()
            + added
    }

    fn header_count(&self) -> i64 {
        i64::from(self.kept_count) + self.added.len() as i64
    }

    /// Appends the record as number `offset_delta` of a block.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, base_timestamp: i64, offset_delta: u32) {
        let len = self.body_len(base_timestamp, offset_delta);
        let timestamp_delta = self.timestamp_ms.wrapping_sub(base_timestamp);
        let header_count = self.header_count();
        out.reserve(len + varint::MAX_LEN);
        varint::put(out, len as i64);
        out.push(0);
        varint::put(out, timestamp_delta);
        varint::put(out, i64::from(offset_delta));
        put_nullable(out, self.key);
        put_nullable(out, self.value);
        varint::put(out, header_count);
        copy::append(out, self.kept);
        for (key, value) in self.added {
            put_nullable(out, Some(key.as_bytes()));
            put_nullable(out, Some(value));
        }
    }
}

fn sized(len: usize) -> usize {
    varint::len(len as i64) + len
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| sized(bytes.len()))
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            copy::append(out, bytes);
        }
        None => varint::put(out, -1),
    }
}
