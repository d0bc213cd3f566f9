//! A producer's settings, each with its default and the reason for it.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::SendError;
use crate::producer::{Compression, Producer};

/// When the broker answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Never: a record counts as delivered once it is handed to the transport; its offset is unknown (-1).
    None,
    /// When the leader has the record.
    Leader,
    /// When every in-sync replica has it on disk.
    #[default]
    All,
}

impl Acks {
    /// As the request carries it.
    pub(crate) const fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Collects a producer's settings; [`ProducerBuilder::build`] makes the producer.
#[derive(Clone)]
pub struct ProducerBuilder {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) acks: Acks,
    pub(crate) compression: Compression,
    pub(crate) idempotent: bool,
    pub(crate) batch_bytes: usize,
    pub(crate) linger: Duration,
    pub(crate) buffer_bytes: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) delivery_timeout: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) transactional_id: Option<Arc<str>>,
    pub(crate) transaction_timeout: Duration,
}

impl ProducerBuilder {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            acks: Acks::All,
            compression: Compression::None,
            idempotent: true,
            batch_bytes: 256 << 10,
            linger: Duration::ZERO,
            buffer_bytes: 64 << 20,
            max_request_bytes: 1 << 20,
            max_in_flight: 5,
            delivery_timeout: Duration::from_secs(120),
            retry_backoff: Duration::from_millis(100),
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
        }
    }

    /// Default [`Acks::All`]. Anything less turns idempotence off, as Kafka requires.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// Default none. zstd and lz4 are worth their time over a network.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Whether retries are recognised by the broker and stored once, in order. Default true.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Size at which a batch goes out though others are in flight. Default 256 KiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How long a batch that is not full waits for more. Default 0: it goes out at once if nothing of its
    /// partition is in flight, else with the next acknowledgement, so batches grow with the load by themselves.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Memory for records that are not acknowledged; beyond it `send` waits. Default 64 MiB.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Largest record that is accepted, and largest request that gathers several partitions' batches.
    /// Default 1 MiB, the default of the topics' max.message.bytes.
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// Batches in flight per partition. Default and, with idempotence, maximum 5: the broker remembers as many.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.max_in_flight = batches;
        self
    }

    /// Time from `send` until the delivery resolves either way. Default 2 minutes.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// First pause before a retry; doubles up to one second. Default 100 ms.
    pub fn retry_backoff(mut self, backoff: Duration) -> Self {
        self.retry_backoff = backoff;
        self
    }

    /// Makes the producer transactional: it sends in transactions only ([`Producer::transaction`]), always idempotent
    /// and with [`Acks::All`]. The id says which producer this is through restarts: one that starts aborts what an
    /// earlier one has left open, and fences it. Default none.
    pub fn transactional_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.transactional_id = Some(id.into());
        self
    }

    /// How long a transaction may be open before its coordinator aborts it; while it is, readers of committed records
    /// wait. Default 1 minute, as Kafka's.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.transaction_timeout = timeout;
        self
    }

    /// Starts the producer; an idempotent one asks the cluster for its id.
    pub async fn build(self) -> Result<Producer, SendError> {
        Producer::start(self).await
    }
}
