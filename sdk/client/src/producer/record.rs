//! A record as the application hands it over: borrowed, because it is copied straight into its batch.

use millrace_protocol::batch::{BatchBuilder, Header as WireHeader};

/// Records with more headers than this cost an allocation.
const HEADERS_INLINE: usize = 16;

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a str,
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    pub const fn new(key: &'a str, value: &'a [u8]) -> Self {
        Self { key, value: Some(value) }
    }

    const fn wire(&self) -> WireHeader<'a> {
        WireHeader { key: self.key.as_bytes(), value: self.value }
    }
}

/// What to send. All data is borrowed until `send` returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    pub key: Option<&'a [u8]>,
    /// None is a tombstone: it deletes the key from a compacted topic.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
    /// Milliseconds since the Unix epoch; None is now.
    pub timestamp: Option<i64>,
    /// None leaves the choice to the partitioner.
    pub partition: Option<i32>,
}

impl<'a> Record<'a> {
    /// A record without key.
    pub fn value(value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { value: Some(value.as_ref()), ..Self::default() }
    }

    /// A record that deletes `key` from a compacted topic.
    pub fn tombstone(key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { key: Some(key.as_ref()), ..Self::default() }
    }

    #[must_use]
    pub fn with_key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    #[must_use]
    pub const fn with_headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    #[must_use]
    pub const fn with_timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp = Some(timestamp_ms);
        self
    }

    #[must_use]
    pub const fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// A record as its batch takes it.
#[derive(Clone, Copy)]
pub(crate) struct WireRecord<'a> {
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [WireHeader<'a>],
}

impl WireRecord<'_> {
    /// What the record takes in a batch at most.
    pub(crate) fn size(&self) -> usize {
        BatchBuilder::record_bytes_max(self.key, self.value, self.headers)
    }
}

impl Record<'_> {
    /// Runs `use_it` with the record as its batch takes it.
    pub(crate) fn with_wire<T>(&self, use_it: impl FnOnce(&WireRecord<'_>) -> T) -> T {
        let Self { key, value, timestamp, .. } = *self;
        self.with_wire_headers(|headers| use_it(&WireRecord { timestamp, key, value, headers }))
    }

    /// What the record takes in a batch at most.
    pub(crate) fn size(&self) -> usize {
        self.with_wire_headers(|headers| BatchBuilder::record_bytes_max(self.key, self.value, headers))
    }

    fn with_wire_headers<T>(&self, use_them: impl FnOnce(&[WireHeader<'_>]) -> T) -> T {
        if self.headers.is_empty() {
            return use_them(&[]);
        }
        if self.headers.len() <= HEADERS_INLINE {
            let mut inline = [WireHeader { key: &[], value: None }; HEADERS_INLINE];
            for (wire, header) in inline.iter_mut().zip(self.headers) {
                *wire = header.wire();
            }
            return use_them(&inline[..self.headers.len()]);
        }
        let wire: Vec<_> = self.headers.iter().map(Header::wire).collect();
        use_them(&wire)
    }
}
