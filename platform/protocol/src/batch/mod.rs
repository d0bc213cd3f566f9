//! The record batch (magic 2): the unit from the producer to the disk, to the follower and to the consumer.

mod builder;
mod header;
mod records;
mod split;

pub use builder::{BatchBuilder, ProducerState};
pub use header::{
    Attributes, BatchError, BatchHeader, HEADER_LEN, TimestampType, stamp, stamp_log_append_time,
};
pub use records::{Header, Headers, Record, RecordIter, Records};
pub use split::{Batch, split_batches};
