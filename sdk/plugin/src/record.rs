//! One record of the input, and its headers.

use crate::varint::take_bytes;

/// A record of the input: a view into the batch it came in.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The batch and where in it the record lies: its start, the end of its length field, its offset delta,
    /// what follows that, and its end.
    pub(crate) batch: &'a [u8],
    pub(crate) start: usize,
    pub(crate) body: usize,
    pub(crate) delta_at: usize,
    pub(crate) rest: usize,
    pub(crate) end: usize,
    pub(crate) offset_delta: i64,
    /// The timestamp stands in the record, not in the batch's header.
    pub(crate) own_timestamp: bool,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [u8],
    pub(crate) header_count: u32,
}

impl<'a> Record<'a> {
    /// The key; `None` if the record has none.
    #[inline]
    pub const fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The key as text; `None` if there is none or it is not UTF-8.
    pub fn key_str(&self) -> Option<&'a str> {
        str::from_utf8(self.key?).ok()
    }

    /// The value; `None` for a tombstone, which deletes the key.
    #[inline]
    pub const fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The value as text; `None` if there is none or it is not UTF-8.
    pub fn value_str(&self) -> Option<&'a str> {
        str::from_utf8(self.value?).ok()
    }

    /// The value read as JSON. Strings of `T` may borrow from the record.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Deserialize<'a>>(&self) -> crate::Result<T> {
        let value = self.value.ok_or_else(|| crate::Error::new("the record has no value"))?;
        Ok(serde_json::from_slice(value)?)
    }

    /// Milliseconds since the Unix epoch.
    #[inline]
    pub const fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// The record's offset in its partition.
    #[inline]
    pub const fn offset(&self) -> i64 {
        self.offset
    }

    /// The headers, in order.
    #[inline]
    pub const fn headers(&self) -> Headers<'a> {
        Headers { bytes: self.headers, left: self.header_count }
    }

    /// The value of the last header of that name, as Kafka's `lastHeader` finds it.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().filter(|header| header.key == name.as_bytes()).last()?.value
    }

    /// The same as [`Self::header`], as text.
    pub fn header_str(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.header(name)?).ok()
    }
}

/// A header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name: UTF-8, if its producer keeps the rules.
    pub key: &'a [u8],
    /// The value; `None` if there is none.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The name as text; `None` if it is not UTF-8.
    pub fn key_str(&self) -> Option<&'a str> {
        str::from_utf8(self.key).ok()
    }

    /// The value as text; `None` if there is none or it is not UTF-8.
    pub fn value_str(&self) -> Option<&'a str> {
        str::from_utf8(self.value?).ok()
    }
}

/// The headers of a record.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut at = 0;
        // They were checked when the record was read.
        let key = take_bytes(self.bytes, &mut at)??;
        let value = take_bytes(self.bytes, &mut at)?;
        self.bytes = &self.bytes[at..];
        Some(Header { key, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}
