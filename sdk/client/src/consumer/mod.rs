//! Reading records from assigned partitions.

mod config;
mod record;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub use config::{ConsumerBuilder, Isolation, OnOutOfRange, StartAt};
use futures::Stream;
pub use record::{ConsumerRecord, RecordBatch, RecordView};

use crate::error::FetchError;

/// Reads the partitions it is assigned. Also a [`Stream`] of records.
pub struct Consumer {
    _inner: (),
}

impl Consumer {
    /// Adds partitions of `topic`, to be read from `start`. A partition assigned before is moved there.
    pub async fn assign(
        &mut self,
        topic: &str,
        partitions: &[i32],
        start: StartAt,
    ) -> Result<(), FetchError> {
        let _ = (topic, partitions, start);
        unimplemented!()
    }

    /// Adds all partitions of `topic`.
    pub async fn assign_topic(&mut self, topic: &str, start: StartAt) -> Result<(), FetchError> {
        let _ = (topic, start);
        unimplemented!()
    }

    /// Stops reading partitions; what was prefetched of them is dropped.
    pub fn unassign(&mut self, topic: &str, partitions: &[i32]) {
        let _ = (topic, partitions);
        unimplemented!()
    }

    /// Moves the position of one assigned partition.
    pub async fn seek(&mut self, topic: &str, partition: i32, to: StartAt) -> Result<(), FetchError> {
        let _ = (topic, partition, to);
        unimplemented!()
    }

    /// Offset of the next record that a poll returns.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let _ = (topic, partition);
        unimplemented!()
    }

    /// End of what may be read (high watermark) as of the last fetch.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        let _ = (topic, partition);
        unimplemented!()
    }

    /// Assigned partitions.
    pub fn assignment(&self) -> Vec<(String, i32)> {
        unimplemented!()
    }

    /// Stops returning records of partitions until [`Consumer::resume`]; their position stays.
    pub fn pause(&mut self, topic: &str, partitions: &[i32]) {
        let _ = (topic, partitions);
        unimplemented!()
    }

    pub fn resume(&mut self, topic: &str, partitions: &[i32]) {
        let _ = (topic, partitions);
        unimplemented!()
    }

    /// The next record, waiting as long as it takes. `None` only after [`Consumer::close`].
    pub async fn next_record(&mut self) -> Result<Option<ConsumerRecord>, FetchError> {
        unimplemented!()
    }

    /// The next batch of one partition; `None` when `timeout` passed without one. The quickest way to read:
    /// the batch's records are views into the memory that was received.
    pub async fn poll_batch(&mut self, timeout: Duration) -> Result<Option<RecordBatch>, FetchError> {
        let _ = timeout;
        unimplemented!()
    }

    /// Stops fetching and forgets what was prefetched.
    pub async fn close(&mut self) {
        unimplemented!()
    }
}

impl Stream for Consumer {
    type Item = Result<ConsumerRecord, FetchError>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        unimplemented!()
    }
}
