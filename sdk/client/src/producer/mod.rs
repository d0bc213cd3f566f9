//! Sending records.
//!
//! A record is encoded straight into its partition's open batch, in the caller's context and without any
//! allocation of its own. Full batches, and lone ones when nothing is in flight, go to the wire in that same
//! context; see [`lane`]. Numbers, order and retries are decided by [`core`], which does no I/O. Only where a
//! topic's partitions are chosen by a plugin do records wait before that, for the broker's answer; see
//! [`assign`].

mod again;
mod assign;
mod budget;
mod buffers;
mod clock;
mod config;
mod core;
mod delivery;
mod lane;
mod partition;
mod partitioner;
mod place;
mod record;
mod reply;
mod shared;
mod standing;
mod transaction;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use config::{Acks, ProducerBuilder};
pub use delivery::{BatchDelivery, Delivery, Stored, StoredRange};
use millrace_protocol::batch::HEADER_LEN;
pub use millrace_protocol::compression::Codec as Compression;
use millrace_protocol::messages::ApiVersionsRequest;
pub use record::{Header, Record};
pub(crate) use shared::Shared;
pub use transaction::Transaction;

use crate::error::{RequestError, SendError};
use partition::Partition;

/// Sends records; cheap to clone, clones share buffers and order. Close or flush before dropping the last one:
/// what is not on its way then may not go out, and its delivery says so.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

impl Producer {
    async fn start(builder: ProducerBuilder) -> Result<Self, SendError> {
        let shared = Shared::new(&builder);
        if let Some(standing) = &shared.standing {
            shared.check_transaction_version(standing).await?;
        }
        if shared.idempotent {
            shared.identify().await?;
        }
        tokio::spawn(upkeep::run(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Queues one record and returns its delivery, which may be awaited, kept or dropped. Waits only while
    /// the producer's buffer is full or the topic is not known yet.
    pub async fn send(&self, topic: &str, record: Record<'_>) -> Result<Delivery, SendError> {
        let size = self.check(topic, &record)?;
        if !self.shared.budget.try_take(size) {
            self.shared.budget.take(size).await;
        }
        if let Some(delivery) = self.place(topic, &record, size) {
            return delivery;
        }
        if let Err(error) = self.shared.learn(topic).await {
            self.shared.budget.release(size);
            return Err(error);
        }
        self.place(topic, &record, size).unwrap_or(Err(SendError::Closed))
    }

    /// As [`Producer::send`], but never waits: [`SendError::BufferFull`] says that there is no room, and a
    /// topic that was not used before is [`RequestError::UnknownTopic`] until [`Producer::warm_up`].
    pub fn try_send(&self, topic: &str, record: Record<'_>) -> Result<Delivery, SendError> {
        let size = self.check(topic, &record)?;
        if !self.shared.budget.try_take(size) {
            return Err(SendError::BufferFull { limit: self.shared.budget.limit() });
        }
        self.place(topic, &record, size).unwrap_or_else(|| {
            self.shared.budget.release(size);
            Err(SendError::Request(RequestError::UnknownTopic { topic: topic.to_owned() }))
        })
    }

    /// Queues many records and returns one delivery for all of them. Records of one partition keep their
    /// order; those without key and partition go to one partition together.
    pub async fn send_batch<'a>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<BatchDelivery, SendError> {
        let known = match self.shared.topic(topic) {
            Some(known) => known,
            None => self.shared.learn(topic).await?,
        };
        let mut delivery = BatchDelivery::new();
        let mut touched: Vec<Arc<Partition>> = Vec::new();
        let home = known.sticky.current(known.count);
        for record in records {
            let size = self.check(topic, &record)?;
            if !self.shared.budget.try_take(size) {
                // What is queued must be on its way, or room would never come.
                self.shared.dispatch(touched.drain(..));
                self.shared.budget.take(size).await;
            }
            if record.partition.is_none()
                && known.assigner.is_some()
                && let Some((waiting, index)) =
                    record.with_wire(|wire| self.shared.assign(&known, wire, size))
            {
                delivery.add_waiting(&waiting, index);
                continue;
            }
            let wanted = match (record.partition, record.key) {
                (None, None) => Some(i32::try_from(home).unwrap_or_default()),
                (wanted, _) => wanted,
            };
            let partition = match self.shared.choose(topic, &known, wanted, record.key, size) {
                Ok(partition) => partition,
                Err(error) => {
                    self.shared.dispatch(touched.drain(..));
                    return Err(error);
                }
            };
            let placed = record.with_wire(|wire| {
                self.shared.append(partition, wire, size, None, record.partition.is_some()).0
            });
            delivery.add(&placed.delivery, placed.index);
            if !touched.iter().rev().any(|known| Arc::ptr_eq(known, partition)) {
                touched.push(Arc::clone(partition));
            }
        }
        known.sticky.sent(self.shared.pace.batch_bytes, self.shared.pace.batch_bytes);
        self.shared.dispatch(touched.into_iter());
        Ok(delivery)
    }

    /// Reads a topic's metadata and connects to its leaders, so that the first send does not have to.
    pub async fn warm_up(&self, topic: &str) -> Result<(), SendError> {
        let known = self.shared.learn(topic).await?;
        let mut lanes: Vec<_> =
            known.partitions.iter().filter_map(|partition| partition.state.lock().lane.clone()).collect();
        lanes.sort_by_key(Arc::as_ptr);
        lanes.dedup_by_key(|lane| Arc::as_ptr(lane));
        for lane in lanes {
            lane.warm_up().await;
        }
        Ok(())
    }

    /// Sends what is buffered without waiting for linger, and waits until all of it is acknowledged or failed.
    pub async fn flush(&self) {
        // Nothing is to be sent to where the topic is not any more.
        self.shared.follow_news();
        for assigner in self.shared.topics().iter().filter_map(|topic| topic.assigner.as_ref()) {
            for assignment in assigner.assignments() {
                assignment.settled().await;
            }
        }
        let mut waiting = Vec::new();
        for topic in self.shared.topics() {
            for partition in &topic.partitions {
                waiting.extend(partition.state.lock().flush());
            }
            self.shared.dispatch(topic.partitions.iter().cloned());
        }
        for batch in waiting {
            // Its senders hear of the outcome; here only the end matters.
            batch.resolved().await;
        }
        if self.shared.acks == Acks::None {
            self.pass_barrier().await;
        }
    }

    /// Without answers to wait for, a request that has one shows that those before it were read.
    async fn pass_barrier(&self) {
        for lane in self.shared.lanes() {
            if let Some(open) = lane.opened() {
                let _ = lane.broker.exchange(&open, 0, &ApiVersionsRequest::default()).await;
            }
        }
    }

    /// Flushes and refuses further records.
    pub async fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.flush().await;
    }

    /// What the record takes in a batch at most.
    fn check(&self, topic: &str, record: &Record<'_>) -> Result<usize, SendError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed);
        }
        if self.shared.standing.as_ref().is_some_and(|standing| !standing.is_open()) {
            return Err(SendError::NoTransaction);
        }
        let size = record.size();
        let limit = self.shared.max_request_bytes;
        if size + HEADER_LEN > limit {
            return Err(SendError::TooLarge { topic: topic.to_owned(), size, limit });
        }
        Ok(size)
    }

    /// Puts a record, for which room was taken, into its batch and sends what became due. None if the topic
    /// is not known yet.
    fn place(&self, topic: &str, record: &Record<'_>, size: usize) -> Option<Result<Delivery, SendError>> {
        record.with_wire(|wire| {
            let placed = self.shared.with_topic(topic, |known| {
                if record.partition.is_none()
                    && let Some((waiting, index)) = self.shared.assign(known, wire, size)
                {
                    return Ok((Delivery::waiting(waiting, index), None));
                }
                let partition = self.shared.choose(topic, known, record.partition, record.key, size)?;
                let named = record.partition.is_some();
                let (placed, due) = self.shared.append(partition, wire, size, None, named);
                let delivery = Delivery::new(placed.delivery, placed.index);
                Ok((delivery, due.then(|| Arc::clone(partition))))
            })?;
            Some(placed.map(|(delivery, due)| {
                self.shared.dispatch(due.into_iter());
                delivery
            }))
        })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Wakes upkeep, which ends when nobody holds the producer any more.
        self.shared.upkeep.notify_one();
    }
}
