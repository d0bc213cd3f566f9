//! The record batch (magic 2): the unit from the producer to the disk, to the follower and to the consumer.
//!
//! A batch is a header of [`HEADER_LEN`] bytes and its records, compressed together or not at all. The broker
//! goes through the records once on their way in, keeping none ([`Batch::examine`]), stamps offset and epoch, and
//! moves bytes. A topic with a codec of its own is where a batch is encoded again ([`Batch::recode`]), and compaction
//! where some of its records go ([`Batch::retain`]).

mod builder;
mod control;
mod error;
mod examine;
mod header;
mod part;
mod recode;
mod records;
mod retain;
mod split;
mod walk;

pub use builder::{BatchBuilder, BuildError, ProducerState};
pub use control::{TransactionMarker, TransactionResult};
pub use error::BatchError;
pub use examine::{Demands, Examined, RecordFault};
pub use header::{
    Attributes, BatchHeader, HEADER_LEN, MAGIC, TimestampType, increment_sequence, stamp,
    stamp_log_append_time,
};
pub use records::{Header, Headers, Record, RecordIter, Records};
pub use split::{Batch, split_batches};
pub use walk::RecordHead;
