//! A consumer's settings, each with its default and the reason for it.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::consumer::Consumer;

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The first record that is still there.
    Beginning,
    /// After the last record: only what comes from now on.
    End,
    Offset(i64),
    /// The first record with this timestamp (milliseconds since the Unix epoch) or a later one; the end if
    /// there is none.
    Timestamp(i64),
}

/// Which records of transactions are returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    #[default]
    ReadUncommitted,
    /// Only up to the last stable offset, without aborted records.
    ReadCommitted,
}

/// What to do when a position lies outside of what the partition holds, or is one in a topic that has since been
/// deleted and made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutOfRange {
    /// Report [`crate::FetchError::OutOfRange`] or [`crate::FetchError::Recreated`], until the next seek.
    #[default]
    Fail,
    Beginning,
    End,
}

/// Collects a consumer's settings; [`ConsumerBuilder::build`] makes the consumer.
#[derive(Clone)]
pub struct ConsumerBuilder {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) fetch_min_bytes: usize,
    pub(crate) fetch_max_wait: Duration,
    pub(crate) fetch_max_bytes: usize,
    pub(crate) partition_max_bytes: usize,
    pub(crate) prefetch_bytes: usize,
    pub(crate) isolation: Isolation,
    pub(crate) check_crc: bool,
    pub(crate) on_out_of_range: OnOutOfRange,
    pub(crate) rack: Option<String>,
}

impl ConsumerBuilder {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 16 << 20,
            partition_max_bytes: 4 << 20,
            prefetch_bytes: 32 << 20,
            isolation: Isolation::ReadUncommitted,
            check_crc: false,
            on_out_of_range: OnOutOfRange::Fail,
            rack: None,
        }
    }

    /// Bytes that the broker collects before it answers, unless `fetch_max_wait` passes. Default 1.
    pub fn fetch_min_bytes(mut self, bytes: usize) -> Self {
        self.fetch_min_bytes = bytes;
        self
    }

    /// How long the broker may hold a fetch back when there is nothing to return. Default 500 ms.
    pub fn fetch_max_wait(mut self, wait: Duration) -> Self {
        self.fetch_max_wait = wait;
        self
    }

    /// Largest answer to one fetch; a first batch larger than that is returned nevertheless. Default 16 MiB.
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.fetch_max_bytes = bytes;
        self
    }

    /// Largest share of one partition in an answer. Default 4 MiB.
    pub fn partition_max_bytes(mut self, bytes: usize) -> Self {
        self.partition_max_bytes = bytes;
        self
    }

    /// Bytes fetched ahead of the application; beyond it fetching pauses. Default 32 MiB.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// Default [`Isolation::ReadUncommitted`], as Kafka's.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Whether every batch's CRC-32C is checked here too. Default false on QUIC and TLS, whose own integrity
    /// check covers the way from the broker's memory; the broker checks when it takes a batch in.
    pub fn check_crc(mut self, check: bool) -> Self {
        self.check_crc = check;
        self
    }

    /// Default [`OnOutOfRange::Fail`]: skipping records is a decision for the application.
    pub fn on_out_of_range(mut self, then: OnOutOfRange) -> Self {
        self.on_out_of_range = then;
        self
    }

    /// This consumer's rack (KIP-392), for reading from a near replica. Default none.
    pub fn rack(mut self, rack: impl Into<String>) -> Self {
        self.rack = Some(rack.into());
        self
    }

    /// Makes the consumer; nothing is read before [`Consumer::assign`].
    pub fn build(self) -> Consumer {
        Consumer::new(self)
    }
}
