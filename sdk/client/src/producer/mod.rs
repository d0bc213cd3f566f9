//! Sending records.

mod config;
mod delivery;
mod record;

pub use config::{Acks, Compression, ProducerBuilder};
pub use delivery::{BatchDelivery, Delivery, Stored, StoredRange};
pub use record::{Header, Record};

use crate::error::SendError;

/// Sends records; cheap to clone, clones share buffers and order.
#[derive(Clone)]
pub struct Producer {
    _inner: (),
}

impl Producer {
    /// Queues one record and returns its delivery, which may be awaited, kept or dropped. Waits only while
    /// the producer's buffer is full or the topic is not known yet.
    pub async fn send(&self, topic: &str, record: Record<'_>) -> Result<Delivery, SendError> {
        let _ = (topic, record);
        unimplemented!()
    }

    /// As [`Producer::send`], but never waits: [`SendError::BufferFull`] says that there is no room, and a
    /// topic that was not used before is [`crate::RequestError::UnknownTopic`] until [`Producer::warm_up`].
    pub fn try_send(&self, topic: &str, record: Record<'_>) -> Result<Delivery, SendError> {
        let _ = (topic, record);
        unimplemented!()
    }

    /// Queues many records and returns one delivery for all of them. Records of one partition keep their
    /// order; those without key and partition go to one partition together.
    pub async fn send_batch<'a>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<BatchDelivery, SendError> {
        let _ = (topic, records.into_iter());
        unimplemented!()
    }

    /// Reads a topic's metadata and connects to its leaders, so that the first send does not have to.
    pub async fn warm_up(&self, topic: &str) -> Result<(), SendError> {
        let _ = topic;
        unimplemented!()
    }

    /// Sends what is buffered without waiting for linger, and waits until all of it is acknowledged or failed.
    pub async fn flush(&self) {
        unimplemented!()
    }

    /// Flushes and refuses further records.
    pub async fn close(&self) {
        unimplemented!()
    }
}
