//! Batches of sample orders, and records taken out of batches.

use millrace_plugin_host::packing::OutputBatch;
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState, stamp};
use millrace_protocol::compression::Codec;

use crate::repository;

/// The sample orders, one a line.
pub fn orders() -> Vec<String> {
    let path = repository().join("examples/orders/orders.jsonl");
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// A batch at `base_offset` of these values, without keys, a millisecond apart.
pub fn batch(base_offset: i64, values: &[impl AsRef<[u8]>]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (number, value) in values.iter().enumerate() {
        builder.append(1_772_431_200_000 + number as i64, None, Some(value.as_ref()), &[]);
    }
    let batch = builder.finish(Codec::None, ProducerState::NONE).expect("it fits");
    let mut bytes = batch.to_vec();
    stamp(&mut bytes, base_offset, 0);
    Batch::parse(bytes.into()).expect("it is well formed")
}

/// A record that a transform sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub output: u32,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    /// The value of the header of this name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name.as_bytes())?;
        str::from_utf8(value.as_deref()?).ok()
    }
}

/// All records of a transform's output, those for an output in their order, outputs in theirs.
pub fn owned(outputs: &[OutputBatch]) -> Vec<Owned> {
    let mut all = Vec::new();
    for OutputBatch { output, batch } in outputs {
        batch.verify().expect("a batch that can be appended");
        let records = batch.records(usize::MAX).expect("its records can be read");
        for record in &records {
            let record = record.expect("a well-formed record");
            all.push(Owned {
                output: *output,
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record
                    .headers
                    .iter()
                    .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
                    .collect(),
            });
        }
    }
    all.sort_by_key(|record| record.output);
    all
}
