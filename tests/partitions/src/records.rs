//! Records as tests write them and read them back.

use bytes::Bytes;
use millrace_base::Offset;
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;

/// Bytes that any batch of a test may decompress to.
const DECOMPRESSED_MAX: usize = 1 << 26;

/// A record as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl Stored {
    pub fn value_text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

/// A batch of records without keys, all of `timestamp_ms`.
pub fn batch_of<V: AsRef<[u8]>>(timestamp_ms: i64, values: &[V]) -> Batch {
    let mut builder = BatchBuilder::default();
    for value in values {
        builder.append(timestamp_ms, None, Some(value.as_ref()), &[]);
    }
    Batch::parse(builder.finish(Codec::None, ProducerState::NONE).unwrap()).unwrap()
}

/// The records of `batches`.
pub fn records_of(batches: &[Batch]) -> Vec<Stored> {
    let mut stored = Vec::new();
    for batch in batches {
        for record in &batch.records(DECOMPRESSED_MAX).unwrap() {
            let record = record.unwrap();
            let owned = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
            stored.push(Stored {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: owned(record.key),
                value: owned(record.value),
                headers: record
                    .headers
                    .iter()
                    .map(|header| (header.key_text().into_owned(), owned(header.value)))
                    .collect(),
            });
        }
    }
    stored
}
