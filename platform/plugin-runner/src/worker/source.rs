//! Where a worker's batches come from: the input topic, or a dead-letter topic that is replayed.

use millrace_base::Offset;
use millrace_plugin_host::packing;
use millrace_protocol::batch::{Batch, BatchBuilder, BatchError, Record, Records};

use crate::dead_letter;
use crate::route::finish;

/// What a batch may expand to while its records are looked at one by one.
const EXPANDED_MAX: usize = millrace_base::limits::BATCH_BYTES_MAX;

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Input,
    /// The dead letters of one deployment, up to an offset.
    Replay {
        until: Offset,
    },
}

/// A batch as the plugin is given it.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    batch: Batch,
    /// Where its first record was read.
    first: Offset,
    /// For a batch that was put together: where each record was read.
    offsets: Option<Vec<Offset>>,
    /// Of a batch that had to be taken apart, without compression.
    plain: Option<Batch>,
    /// In which its records were written.
    leader_epoch: i32,
}

impl Source {
    pub const fn is_replay(&self) -> bool {
        matches!(self, Self::Replay { .. })
    }

    /// Whether everything up to `position` is all there is to do.
    pub const fn ends_at(&self, position: Offset) -> bool {
        match self {
            Self::Input => false,
            Self::Replay { until } => position >= *until,
        }
    }

    /// What the plugin is to be given of `batch`, from `position` on; `None` if that is nothing.
    pub fn prepare(
        &self,
        batch: Batch,
        position: Offset,
        deployment: &str,
    ) -> Result<Option<Prepared>, String> {
        if batch.header.attributes.is_control() || batch.header.record_count <= 0 {
            return Ok(None);
        }
        let leader_epoch = batch.header.partition_leader_epoch;
        let prepared = match self {
            Self::Input if batch.header.base_offset >= position => {
                let first = batch.header.base_offset;
                Ok(Some(Prepared::new(batch, first)))
            }
            Self::Input => Prepared::from_offset(&batch, position),
            Self::Replay { until } => Prepared::dead_letters(&batch, position..*until, deployment),
        };
        let prepared = prepared.map_err(|error| error.to_string())?;
        Ok(prepared.map(|prepared| Prepared { leader_epoch, ..prepared }))
    }
}

impl Prepared {
    const fn new(batch: Batch, first: Offset) -> Self {
        Self { batch, first, offsets: None, plain: None, leader_epoch: -1 }
    }

    fn from_offset(batch: &Batch, position: Offset) -> Result<Option<Self>, BatchError> {
        let plain = plain(batch)?;
        let count = usize::try_from(plain.header.record_count).unwrap_or(0);
        for (index, record) in plain.records(EXPANDED_MAX)?.iter().enumerate() {
            let offset = record?.offset;
            if offset >= position {
                return Ok(Some(Self::new(plain.part(index..count)?, offset)));
            }
        }
        Ok(None)
    }

    fn dead_letters(
        batch: &Batch,
        wanted: std::ops::Range<Offset>,
        deployment: &str,
    ) -> Result<Option<Self>, BatchError> {
        let mut builder = BatchBuilder::default();
        let mut offsets = Vec::new();
        for record in &batch.records(EXPANDED_MAX)? {
            let record = record?;
            if wanted.contains(&record.offset) && dead_letter::restore(&mut builder, &record, deployment) {
                offsets.push(record.offset);
            }
        }
        let Some(first) = offsets.first().copied() else { return Ok(None) };
        let mut batch = finish(builder)?;
        batch.header.base_offset = first;
        Ok(Some(Self { offsets: Some(offsets), ..Self::new(batch, first) }))
    }

    pub const fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub fn record_count(&self) -> usize {
        usize::try_from(self.batch.header.record_count).unwrap_or(0)
    }

    /// Some of the records as a batch.
    pub fn part(&mut self, range: std::ops::Range<usize>) -> Result<Batch, BatchError> {
        if range == (0..self.record_count()) {
            return Ok(self.batch.clone());
        }
        self.plain()?.part(range)
    }

    /// The records, to be looked at one by one.
    pub fn records(&mut self) -> Result<Records, BatchError> {
        self.plain()?.records(EXPANDED_MAX)
    }

    fn plain(&mut self) -> Result<&Batch, BatchError> {
        if self.plain.is_none() {
            self.plain = Some(plain(&self.batch)?);
        }
        Ok(self.plain.as_ref().unwrap_or(&self.batch))
    }

    /// Where the record with this index was read.
    pub fn offset(&mut self, index: usize) -> Offset {
        if let Some(offsets) = &self.offsets {
            return offsets.get(index).copied().unwrap_or(self.first);
        }
        if index == 0 {
            return self.first;
        }
        let counted = self.first + index as Offset;
        self.record(index, |record| record.offset).unwrap_or(counted)
    }

    /// Where the first and the last of some records were read.
    pub fn span(&mut self, range: &std::ops::Range<usize>) -> (Offset, Offset) {
        if range.end == self.record_count() && self.offsets.is_none() {
            return (self.offset(range.start), self.batch.header.last_offset());
        }
        (self.offset(range.start), self.offset(range.end.saturating_sub(1)))
    }

    /// Looks at one record; `None` if it cannot be read.
    pub fn record<R>(&mut self, index: usize, look: impl FnOnce(&Record<'_>) -> R) -> Option<R> {
        let records = self.records().ok()?;
        let record = records.iter().nth(index)?.ok()?;
        Some(look(&record))
    }
}

/// The batch without its compression.
fn plain(batch: &Batch) -> Result<Batch, BatchError> {
    let bytes = packing::uncompressed(batch, EXPANDED_MAX).map_err(|error| match error {
        packing::InputError::Batch(error) => error,
        packing::InputError::Decompress(error) => BatchError::from(error),
        packing::InputError::TooLarge { .. } | packing::InputError::Control => {
            BatchError::Invalid("it cannot be taken apart")
        }
    })?;
    Batch::parse(bytes)
}

#[cfg(test)]
mod tests {
    use millrace_protocol::batch::ProducerState;
    use millrace_protocol::compression::Codec;

    use super::*;
    use crate::dead_letter::{Origin, Reason};

    fn batch(records: usize, codec: Codec) -> Batch {
        let mut builder = BatchBuilder::default();
        for index in 0..records {
            builder.append(index as i64, None, Some(index.to_string().as_bytes()), &[]);
        }
        let mut batch = Batch::parse(builder.finish(codec, ProducerState::NONE).unwrap()).unwrap();
        batch.header.base_offset = 100;
        let mut bytes = batch.bytes.to_vec();
        batch.header.write(&mut bytes);
        Batch::parse(bytes.into()).unwrap()
    }

    fn values(batch: &Batch) -> Vec<String> {
        let records = batch.records(EXPANDED_MAX).unwrap();
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        records.iter().map(|record| text(record.unwrap().value)).collect()
    }

    #[test]
    fn a_batch_is_taken_from_the_position_on() {
        for codec in [Codec::None, Codec::Lz4] {
            let source = Source::Input;
            let whole = source.prepare(batch(5, codec), 100, "d").unwrap().unwrap();
            assert_eq!(whole.record_count(), 5);
            let mut late = source.prepare(batch(5, codec), 103, "d").unwrap().unwrap();
            assert_eq!((late.record_count(), late.offset(0), late.offset(1)), (2, 103, 104));
            assert_eq!(values(&late.part(0..2).unwrap()), ["3", "4"]);
            assert_eq!(values(&late.part(1..2).unwrap()), ["4"]);
            assert!(source.prepare(batch(5, codec), 105, "d").unwrap().is_none());
        }
    }

    #[test]
    fn a_replay_takes_its_deployments_records_up_to_its_end() {
        let original = batch(1, Codec::None);
        let records = original.records(1000).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        let mut builder = BatchBuilder::default();
        for deployment in ["a", "b", "a", "a"] {
            let reason = Reason { deployment, version: 1, module: "m", error: "e", backtrace: None };
            let origin = Origin { topic: "in".into(), partition: 0, offset: 0 };
            dead_letter::append(&mut builder, &record, &reason, &origin);
        }
        let dead = finish(builder).unwrap();
        let source = Source::Replay { until: 3 };
        let mut prepared = source.prepare(dead, 0, "a").unwrap().unwrap();
        assert_eq!(prepared.record_count(), 2);
        assert_eq!((prepared.offset(0), prepared.offset(1)), (0, 2));
        assert!(source.ends_at(3) && !source.ends_at(2));
    }
}
