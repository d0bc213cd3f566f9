//! The record batch (magic 2): the unit from the producer to the disk, to the follower and to the consumer.
//!
//! A batch is a header of [`HEADER_LEN`] bytes and its records, compressed together or not at all. The broker
//! never takes a batch apart on its way: it checks the checksum, stamps offset and epoch, and moves bytes.

mod builder;
mod error;
mod header;
mod part;
mod records;
mod split;

pub use builder::{BatchBuilder, BuildError, ProducerState};
pub use error::BatchError;
pub use header::{
    Attributes, BatchHeader, HEADER_LEN, MAGIC, TimestampType, increment_sequence, stamp,
    stamp_log_append_time,
};
pub use records::{Header, Headers, Record, RecordIter, Records};
pub use split::{Batch, split_batches};
