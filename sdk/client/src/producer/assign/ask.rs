//! Asking a broker for partitions: any broker, again and again until there is an answer or the time is up.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_base::Payload;
use millrace_protocol::batch::BatchHeader;
use millrace_protocol::plugins::{ErrorKind, PartitionRecords};
use millrace_protocol::private::PrivateApi;

use super::Assigner;
use crate::cluster::{Broker, Cluster};
use crate::error::{RequestError, SendError};
use crate::net::Lane;
use crate::producer::Shared;

const API: PrivateApi = PrivateApi::PartitionRecords;
/// Pauses between attempts double up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The way to the broker that answered last. A lane of its own: nothing else waits behind a plugin.
#[derive(Default)]
pub(super) struct Asker {
    way: tokio::sync::Mutex<Option<(Arc<Broker>, Lane)>>,
}

/// What the brokers say.
pub(super) enum Verdict {
    /// A partition for each record, all below the count that was asked for.
    Partitions(Vec<u32>),
    /// The topic has no partitioner any more.
    Unbound,
}

impl Assigner {
    /// The partitions of the records in `batch`, among `count`.
    pub(super) async fn ask(
        &self,
        producer: &Weak<Shared>,
        cluster: &Cluster,
        batch: &Bytes,
        count: usize,
        deadline: Instant,
    ) -> Result<Verdict, SendError> {
        let mut attempt = 0;
        let mut reason = String::new();
        loop {
            if !self.is_partitioned() {
                return Ok(Verdict::Unbound);
            }
            let asking = self.asker.ask_once(cluster, &self.topic, batch, count, attempt);
            match tokio::time::timeout_at(deadline.into(), asking).await {
                Ok(Ok(partitions)) => return Ok(Verdict::Partitions(partitions)),
                Ok(Err(RequestError::Plugin(error))) if error.kind == ErrorKind::NotFound => {
                    return Ok(Verdict::Unbound);
                }
                Ok(Err(error)) if error.is_retriable() => reason = error.to_string(),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) if reason.is_empty() => reason = "no answer".to_owned(),
                Err(_) => {}
            }
            let shared = producer.upgrade().ok_or(SendError::Closed)?;
            let pause = shared.retry_backoff.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX);
            if Instant::now() + pause >= deadline {
                let after = shared.pace.delivery_timeout;
                return Err(SendError::Unassigned { topic: self.topic.to_string(), after, reason });
            }
            tracing::debug!(topic = &*self.topic, reason, "ask for partitions again");
            // In a moment other brokers may be known, or that there is nobody to ask any more.
            shared.refresh_metadata();
            drop(shared);
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }
}

impl Asker {
    /// Asks the broker that answered last; another one with each `attempt`.
    async fn ask_once(
        &self,
        cluster: &Cluster,
        topic: &str,
        batch: &Bytes,
        count: usize,
        attempt: u32,
    ) -> Result<Vec<u32>, RequestError> {
        let mut way = self.way.lock().await;
        let (broker, lane) = match way.take().filter(|(_, lane)| !lane.is_closed()) {
            Some(open) => open,
            None => {
                let brokers = cluster.candidates();
                let broker = Arc::clone(&brokers[attempt as usize % brokers.len()]);
                let (lane, _) = broker.open_lane().await?;
                (broker, lane)
            }
        };
        let partitions = u32::try_from(count).unwrap_or(u32::MAX);
        let mut body = Payload::from(PartitionRecords::encode_prefix(topic, partitions));
        body.push_bytes(batch.clone());
        let answer = broker.exchange_private(&lane, API, body).await?;
        let answer = PartitionRecords::decode_answer(answer)
            .map_err(|error| broker.malformed(API.name(), error.to_string()))?;
        if !matches!(&answer, Err(error) if error.kind == ErrorKind::Unavailable) {
            *way = Some((Arc::clone(&broker), lane));
        }
        let chosen = answer?;
        check(&chosen, batch, partitions).map_err(|reason| broker.malformed(API.name(), reason))?;
        Ok(chosen)
    }
}

/// Whether there is a partition for each record and each of them exists.
fn check(chosen: &[u32], batch: &Bytes, partitions: u32) -> Result<(), String> {
    let records = BatchHeader::parse(batch).map_err(|error| error.to_string())?.record_count;
    if i32::try_from(chosen.len()) != Ok(records) {
        return Err(format!("{} partitions for {records} records", chosen.len()));
    }
    match chosen.iter().find(|partition| **partition >= partitions) {
        Some(beyond) => Err(format!("partition {beyond} of a topic that has {partitions}")),
        None => Ok(()),
    }
}
