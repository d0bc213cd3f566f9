//! Records that the machine does not know: written by another version, for it to find again.

use std::collections::BTreeMap;
use std::ops::Bound;

use millrace_protocol::batch::{BatchBuilder, Header, Record};

/// The last one of each key.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<Vec<u8>, KeptRecord>);

#[derive(Debug)]
struct KeptRecord {
    timestamp_ms: i64,
    value: Vec<u8>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Kept {
    pub fn keep(&mut self, key: &[u8], record: &Record<'_>) {
        let Some(value) = record.value else {
            self.0.remove(key);
            return;
        };
        let headers = record.headers.iter();
        let headers = headers.map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)));
        let kept = KeptRecord {
            timestamp_ms: record.timestamp_ms,
            value: value.to_vec(),
            headers: headers.collect(),
        };
        self.0.insert(key.to_vec(), kept);
    }

    /// A record of this key that is known has come after it.
    pub fn forget(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    /// Writes the first one behind `after` as it was; returns its key and about how many bytes it has.
    pub fn write_next(&self, after: Option<&[u8]>, builder: &mut BatchBuilder) -> Option<(Vec<u8>, usize)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (key, kept) = self.0.range::<[u8], _>((from, Bound::Unbounded)).next()?;
        let headers = kept.headers.iter();
        let headers: Vec<Header<'_>> =
            headers.map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        builder.append(kept.timestamp_ms, Some(key), Some(&kept.value), &headers);
        Some((key.clone(), BatchBuilder::record_bytes_max(Some(key), Some(&kept.value), &headers)))
    }
}
