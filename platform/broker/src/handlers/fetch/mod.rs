//! Fetch (4 to 18): reads record batches, at once if there are enough of them, or when there are.
//!
//! What the tail memory holds is answered without leaving the request's task. A read that needs the disk
//! goes to a blocking thread as a whole. A fetch with too little to answer waits on its partitions and
//! re-reads those that moved, until `min_bytes` are there or `max_wait_ms` is over (a long poll).
//!
//! A fetch that waits holds little, and nothing that grows: no records, no buffer of its request, no image of the
//! metadata; which partitions it asks for, as long as all that wait ask for at most [`WAITING_PARTITIONS_MAX`]; and
//! that for [`WAIT_MAX`] at most.
//!
//! Replicas do not fetch yet: a request with a replica's id is told that this broker does not lead for it.

mod read;
mod reply;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use millrace_base::{LeaderEpoch, TopicId};
use millrace_protocol::messages::FetchRequest;
use millrace_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use millrace_protocol::{ErrorCode, StrBytes};
use millrace_transport::{CloseReason, Reply};
use tokio::time::Instant;
use uuid::Uuid;

use crate::call::Call;
use crate::fetch_session::{FetchContext, FetchTarget, PartitionKey, SessionRequest, TopicKey};
use crate::partition::{Registered, Source};
use read::{Limits, NeedsDisk, Reading};

/// From this version on topics are named by their ids (KIP-516).
const NAMES_TOPICS_BY_ID: i16 = 13;
/// From this version on the replica's id stands in the replica state (KIP-903).
const HAS_REPLICA_STATE: i16 = 15;

const READ_COMMITTED: i8 = 1;

/// The longest wait, whatever the client asks for. It gets an answer without records then and asks again, as after
/// any wait; by default clients wait for half a second and give up a request after half a minute.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Partitions of all fetches that wait, some 400 bytes each. A fetch beyond is answered at once with what there is.
pub(crate) const WAITING_PARTITIONS_MAX: usize = 1_000_000;

/// One fetch on its way: how to answer it, what it reads and what it has read.
struct Fetch {
    call: Call,
    context: FetchContext,
    reading: Reading,
    /// Bytes that are worth an answer.
    min_bytes: usize,
    max_wait: Duration,
}

pub(crate) async fn start(call: Call, body: Bytes) -> Result<Reply, CloseReason> {
    let request: FetchRequest = call.decode(body)?;
    let by_id = call.version >= NAMES_TOPICS_BY_ID;
    let session =
        SessionRequest { id: request.session_id, epoch: request.session_epoch, uses_topic_ids: by_id };
    let forgotten = forgotten(&request.forgotten_topics_data, by_id);
    let now_ms = call.state.clock.now_ms();
    let targets = targets(&request.topics, by_id);
    let (context, targets) = match call.state.sessions.begin(session, targets, &forgotten, now_ms) {
        Ok(begun) => begun,
        Err(error) => return Ok(Reply::Ready(reply::refused(&call, error))),
    };
    let limits = limits(&call, &request);
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(limits.max_bytes);
    let max_wait = Duration::from_millis(request.max_wait_ms.max(0).unsigned_abs().into()).min(WAIT_MAX);
    let mut reading = Reading::new(targets, limits);
    let needs_disk = reading.read_all(&call.state, Source::Memory).is_err();
    let fetch = Fetch { call, context, reading, min_bytes, max_wait };
    if !needs_disk && fetch.is_worth_an_answer() {
        return Ok(Reply::Ready(reply::answer(fetch)));
    }
    let call = fetch.call.clone();
    Ok(Reply::Later(Box::pin(async move {
        let read = fetch.run(needs_disk).await;
        read.map_or_else(|| reply::refused(&call, ErrorCode::UnknownServerError), reply::answer)
    })))
}

fn limits(call: &Call, request: &FetchRequest) -> Limits {
    let replica =
        if call.version < HAS_REPLICA_STATE { request.replica_id } else { request.replica_state.replica_id };
    let limit = call.state.config.limits.fetch_max_bytes as usize;
    Limits {
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0).min(limit),
        read_committed: request.isolation_level == READ_COMMITTED,
        is_replica: replica.0 >= 0,
    }
}

fn topic_key(by_id: bool, name: &StrBytes, id: Uuid) -> TopicKey {
    if by_id { TopicKey::Id(TopicId(id)) } else { TopicKey::Name(name.clone()) }
}

fn targets(topics: &[FetchTopic], by_id: bool) -> Vec<FetchTarget> {
    let mut targets = Vec::with_capacity(topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in topics {
        // A copy: the name is a part of the request's buffer.
        let name = StrBytes::from_string(topic.topic.to_string());
        for partition in &topic.partitions {
            targets.push(FetchTarget {
                key: (topic_key(by_id, &name, topic.topic_id), partition.partition),
                fetch_offset: partition.fetch_offset,
                max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
                current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
            });
        }
    }
    targets
}

fn forgotten(topics: &[ForgottenTopic], by_id: bool) -> Vec<PartitionKey> {
    let keys = |topic: &ForgottenTopic| {
        let key = topic_key(by_id, &topic.topic, topic.topic_id);
        topic.partitions.iter().map(move |partition| (key.clone(), *partition)).collect::<Vec<_>>()
    };
    topics.iter().flat_map(keys).collect()
}

impl Fetch {
    /// Kafka's rule: enough bytes, an error, or nobody who would wait.
    fn is_worth_an_answer(&self) -> bool {
        self.reading.bytes() >= self.min_bytes
            || self.reading.has_news()
            || self.max_wait.is_zero()
            || self.reading.is_empty()
            || self.call.state.draining.load(Ordering::Acquire)
    }

    /// The fetch when it is worth an answer or has waited long enough; `None` if a read panicked.
    async fn run(mut self, needs_disk: bool) -> Option<Self> {
        let deadline = Instant::now() + self.max_wait;
        if needs_disk {
            self = self.read_from_disk(None).await?;
        }
        if self.is_worth_an_answer() { Some(self) } else { self.wait_until(deadline).await }
    }

    async fn wait_until(mut self, deadline: Instant) -> Option<Self> {
        let state = self.call.state.clone();
        let partitions = u32::try_from(self.reading.reads.len()).unwrap_or(u32::MAX);
        let Ok(_place) = state.waiting_partitions.try_acquire_many(partitions) else { return Some(self) };
        let waiting = Registered::new(self.reading.partitions());
        while !self.is_worth_an_answer() {
            self.reading.forget_records();
            let Ok(moved) = tokio::time::timeout_at(deadline, waiting.fetch.moved()).await else { break };
            self = self.read_positions(moved).await?;
        }
        let forgotten = self.reading.forgotten();
        self.read_positions(forgotten).await
    }

    /// Reads the partitions at `positions` anew.
    async fn read_positions(mut self, positions: Vec<usize>) -> Option<Self> {
        let state = self.call.state.clone();
        match self.reading.read_again(&state, &positions, Source::Memory) {
            Ok(()) => Some(self),
            Err(NeedsDisk) => self.read_from_disk(Some(positions)).await,
        }
    }

    /// Reads all partitions, or those at some positions, on a thread that may block.
    async fn read_from_disk(mut self, positions: Option<Vec<usize>>) -> Option<Self> {
        let read = tokio::task::spawn_blocking(move || {
            let state = self.call.state.clone();
            let outcome = match positions {
                None => self.reading.read_all(&state, Source::Disk),
                Some(positions) => self.reading.read_again(&state, &positions, Source::Disk),
            };
            debug_assert!(outcome.is_ok(), "there is no other source than the disk");
            self
        });
        read.await.inspect_err(|error| tracing::error!(%error, "a read from disk failed")).ok()
    }
}
