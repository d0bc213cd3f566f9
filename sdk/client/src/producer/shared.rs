//! What all clones of a producer and its tasks share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use millrace_protocol::key_hash::partition_of_key;
use millrace_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProducerId, TransactionalId,
};
use millrace_protocol::{ErrorCode, StrBytes};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::cluster::{Cluster, Coordinated, TopicImage};
use crate::error::{RequestError, SendError, TransactionError, check};
use crate::producer::Compression;
use crate::producer::assign::Assigner;
use crate::producer::budget::Budget;
use crate::producer::buffers::Buffers;
use crate::producer::config::{Acks, ProducerBuilder};
use crate::producer::core::{Core, Identity};
use crate::producer::lane::ProduceLane;
use crate::producer::partition::{Pace, Partition};
use crate::producer::partitioner::Sticky;
use crate::producer::standing::Standing;

/// Pause between attempts to get a producer id while the cluster cannot give one.
const IDENTITY_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Shared {
    this: Weak<Self>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) acks: Acks,
    pub(crate) compression: Compression,
    pub(crate) idempotent: bool,
    /// Of a transactional producer.
    pub(crate) standing: Option<Arc<Standing>>,
    transaction_timeout: Duration,
    pub(crate) pace: Pace,
    pub(crate) max_request_bytes: usize,
    pub(crate) budget: Budget,
    pub(crate) buffers: Buffers,
    max_in_flight: usize,
    pub(crate) retry_backoff: Duration,
    topics: RwLock<hashbrown::HashMap<Arc<str>, Arc<Topic>>>,
    lanes: Mutex<HashMap<String, Arc<ProduceLane>>>,
    identity: RwLock<Option<Identity>>,
    /// An identity is being asked for.
    identifying: AtomicBool,
    refreshing: AtomicBool,
    /// When the cluster's picture that the topics follow was asked for.
    followed: Mutex<Option<Instant>>,
    pub(crate) closed: AtomicBool,
    /// Partitions that upkeep looks after: they retry, or have no leader.
    pub(crate) watched: Mutex<Vec<Arc<Partition>>>,
    /// Open batches that linger, oldest first.
    pub(crate) lingering: Mutex<VecDeque<(Instant, Arc<Partition>)>>,
    pub(crate) upkeep: Arc<Notify>,
    last_trouble: Mutex<String>,
}

/// A topic at one moment; a change makes a new one that shares the partitions.
pub(crate) struct Topic {
    /// First those that there are, then those that the topic had before it was made again with fewer.
    pub(crate) partitions: Vec<Arc<Partition>>,
    /// How many there are.
    pub(crate) count: usize,
    pub(crate) sticky: Arc<Sticky>,
    /// From the moment on that the topic has a partitioner on the brokers; it may have lost it again.
    pub(crate) assigner: Option<Arc<Assigner>>,
}

impl Topic {
    /// The partition that a record goes to; None if it wants one that does not exist.
    pub(crate) fn choose(
        &self,
        wanted: Option<i32>,
        key: Option<&[u8]>,
        size: usize,
        batch_bytes: usize,
    ) -> Option<&Arc<Partition>> {
        let count = self.count;
        let index = match (wanted, key) {
            (Some(partition), _) => usize::try_from(partition).ok()?,
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => {
                let current = self.sticky.current(count);
                self.sticky.sent(size, batch_bytes);
                current
            }
        };
        self.partitions[..count].get(index)
    }

    /// Partitions that the topic has not any more; what they hold is placed again or runs out.
    pub(crate) fn gone(&self) -> &[Arc<Partition>] {
        &self.partitions[self.count..]
    }
}

impl Shared {
    pub(crate) fn new(builder: &ProducerBuilder) -> Arc<Self> {
        let standing = builder.transactional_id.as_ref().map(|id| Arc::new(Standing::new(Arc::clone(id))));
        let acks = if standing.is_some() { Acks::All } else { builder.acks };
        let idempotent = standing.is_some() || builder.idempotent && acks == Acks::All;
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            cluster: Arc::clone(&builder.cluster),
            acks,
            compression: builder.compression,
            idempotent,
            standing,
            transaction_timeout: builder.transaction_timeout,
            pace: Pace {
                batch_bytes: builder.batch_bytes.min(builder.max_request_bytes),
                linger: builder.linger,
                delivery_timeout: builder.delivery_timeout,
            },
            max_request_bytes: builder.max_request_bytes,
            budget: Budget::new(builder.buffer_bytes),
            buffers: Buffers::default(),
            max_in_flight: if idempotent { builder.max_in_flight.min(5) } else { builder.max_in_flight }
                .max(1),
            retry_backoff: builder.retry_backoff,
            topics: RwLock::default(),
            lanes: Mutex::default(),
            identity: RwLock::default(),
            identifying: AtomicBool::new(false),
            refreshing: AtomicBool::new(false),
            followed: Mutex::default(),
            closed: AtomicBool::new(false),
            watched: Mutex::default(),
            lingering: Mutex::default(),
            upkeep: Arc::default(),
            last_trouble: Mutex::default(),
        })
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().get(name).cloned()
    }

    /// Works with a topic without counting a reference to it; None if it is not known yet.
    pub(crate) fn with_topic<T>(&self, name: &str, work: impl FnOnce(&Topic) -> T) -> Option<T> {
        self.topics.read().get(name).map(|topic| work(topic))
    }

    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().values().cloned().collect()
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<ProduceLane>> {
        self.lanes.lock().values().cloned().collect()
    }

    pub(crate) fn request_timeout_ms(&self) -> i32 {
        i32::try_from(self.cluster.settings.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Reads a topic that was not used before; creates it where the cluster allows that.
    pub(crate) async fn learn(&self, name: &str) -> Result<Arc<Topic>, SendError> {
        let image = self.cluster.topic(name, true).await?;
        Ok(self.adopt(&image))
    }

    /// Takes over a topic's partitions and leaders as the cluster tells them now.
    fn adopt(&self, image: &TopicImage) -> Arc<Topic> {
        let mut topics = self.topics.write();
        let before = topics.get(&image.name);
        let mut partitions = before.map_or_else(Vec::new, |topic| topic.partitions.clone());
        let name = StrBytes::from_string(image.name.to_string());
        for index in partitions.len()..image.partitions.len() {
            let core = Core::new(self.max_in_flight, self.retry_backoff);
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            partitions.push(Partition::new(name.clone(), image.id, index, core));
        }
        for (index, partition) in partitions.iter().enumerate() {
            let leader = image.partitions.get(index).and_then(|now| now.leader);
            let lane = leader.and_then(|id| self.lane_to(id));
            let mut state = partition.state.lock();
            state.follow(image.id, index < image.partitions.len());
            state.lane = lane;
        }
        let sticky = before
            .map_or_else(|| Arc::new(Sticky::starting_at(random_start())), |topic| Arc::clone(&topic.sticky));
        let mut assigner = before.and_then(|topic| topic.assigner.clone());
        match &assigner {
            Some(assigner) => assigner.set_partitioned(image.has_partitioner),
            None if image.has_partitioner => assigner = Some(Assigner::new(Arc::clone(&image.name))),
            None => {}
        }
        let count = image.partitions.len();
        let topic = Arc::new(Topic { partitions, count, sticky, assigner });
        topics.insert(Arc::clone(&image.name), Arc::clone(&topic));
        drop(topics);
        self.place_orphans(&image.name, &topic);
        topic
    }

    fn lane_to(&self, broker: i32) -> Option<Arc<ProduceLane>> {
        let broker = self.cluster.broker(broker)?;
        let mut lanes = self.lanes.lock();
        let lane = lanes
            .entry(broker.name().to_owned())
            .and_modify(|lane| {
                if !Arc::ptr_eq(&lane.broker, &broker) {
                    *lane = ProduceLane::new(Arc::clone(&broker), self.this.clone());
                }
            })
            .or_insert_with(|| ProduceLane::new(Arc::clone(&broker), self.this.clone()));
        Some(Arc::clone(lane))
    }

    /// Queues the partition at its leader's lane if it has something due.
    pub(crate) fn enqueue(&self, partition: &Arc<Partition>) -> Option<Arc<ProduceLane>> {
        let mut state = partition.state.lock();
        if state.queued || !state.is_due(self.pace, Instant::now()) {
            return None;
        }
        let Some(lane) = state.lane.clone() else {
            drop(state);
            self.watch(partition);
            return None;
        };
        state.queued = true;
        drop(state);
        lane.enqueue(Arc::clone(partition));
        Some(lane)
    }

    /// Has upkeep look after a partition until it is well again.
    pub(crate) fn watch(&self, partition: &Arc<Partition>) {
        let mut watched = self.watched.lock();
        if !watched.iter().any(|known| Arc::ptr_eq(known, partition)) {
            watched.push(Arc::clone(partition));
            self.upkeep.notify_one();
        }
    }

    pub(crate) fn note_trouble(&self, reason: String) {
        *self.last_trouble.lock() = reason;
        self.upkeep.notify_one();
    }

    /// Why batches wait. Where nothing went wrong, it is because a broker takes its time, as one does whose disk is
    /// full.
    pub(crate) fn last_trouble(&self) -> String {
        let trouble = self.last_trouble.lock();
        if trouble.is_empty() { "no answer yet to the batches before it".to_owned() } else { trouble.clone() }
    }

    /// Fetches metadata in the background, unless that is under way, and sends partitions to their leaders.
    pub(crate) fn refresh_metadata(&self) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(this) = self.this.upgrade() else { return };
        tokio::spawn(async move {
            if let Err(error) = this.cluster.refresh(None, Instant::now(), false).await {
                this.note_trouble(error.to_string());
            }
            this.refreshing.store(false, Ordering::Release);
            this.follow_leaders();
            this.kick_all();
        });
    }

    /// Takes over what the cluster's present picture says of the topics in use.
    pub(crate) fn follow_leaders(&self) {
        let image = self.cluster.image();
        *self.followed.lock() = image.asked_at;
        let names: Vec<_> = self.topics.read().keys().cloned().collect();
        for name in names {
            if let Some(topic) = image.topics.get(&name) {
                for partition in &self.adopt(topic).partitions {
                    self.enqueue(partition);
                }
            }
        }
    }

    /// Takes over a picture that somebody else has fetched: it may bring partitions, or a partitioner.
    pub(crate) fn follow_news(&self) {
        if *self.followed.lock() != self.cluster.image().asked_at {
            self.follow_leaders();
        }
    }

    /// Has every lane look for something to send.
    pub(crate) fn kick_all(&self) {
        for lane in self.lanes() {
            lane.kick();
        }
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        *self.identity.read()
    }

    /// An identity newer than `after`: the next epoch, or a new producer id once the epochs are used up. None
    /// while that is being asked for.
    pub(crate) fn identity_after(&self, after: Identity) -> Option<Identity> {
        let mut identity = self.identity.write();
        let present = (*identity)?;
        if present != after {
            return Some(present);
        }
        // The coordinator gives out a transactional producer's epochs, when the transaction has ended.
        if let Some(standing) = &self.standing {
            standing.fail(TransactionError::Failed {
                transactional_id: standing.transactional_id.to_string(),
                reason: "a batch was refused or given up, and those behind it cannot be stored in order"
                    .to_owned(),
            });
            return None;
        }
        if after.epoch < i16::MAX {
            // Nobody else uses this producer id, so the next epoch is ours to take (KIP-360).
            let next = Identity { epoch: after.epoch + 1, ..after };
            *identity = Some(next);
            return Some(next);
        }
        drop(identity);
        if !self.identifying.swap(true, Ordering::AcqRel)
            && let Some(this) = self.this.upgrade()
        {
            tokio::spawn(async move {
                if let Err(error) = this.identify().await {
                    this.note_trouble(error.to_string());
                }
                this.identifying.store(false, Ordering::Release);
            });
        }
        None
    }

    pub(crate) fn set_identity(&self, identity: Identity) {
        *self.identity.write() = Some(identity);
    }

    /// Asks the cluster for a producer id; for a transactional producer the present one's next epoch.
    pub(crate) async fn identify(&self) -> Result<(), RequestError> {
        let started = Instant::now();
        loop {
            match self.ask_identity().await {
                Ok(identity) => {
                    *self.identity.write() = Some(identity);
                    return Ok(());
                }
                Err(error)
                    if (error.is_retriable() || is_concurrent(&error))
                        && started.elapsed() < self.cluster.settings.request_timeout =>
                {
                    tokio::time::sleep(IDENTITY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask_identity(&self) -> Result<Identity, RequestError> {
        let response = match &self.standing {
            Some(standing) => self.ask_transactional_identity(standing).await?,
            None => {
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(None)
                    .with_transaction_timeout_ms(i32::MAX)
                    .with_producer_id(ProducerId(-1))
                    .with_producer_epoch(-1);
                let response = self.cluster.ask_any(|broker| {
                    let request = request.clone();
                    async move { broker.request(request).await }
                });
                response.await?
            }
        };
        check("InitProducerId", || "a new producer".to_owned(), response.error_code, None)?;
        if response.producer_id.0 < 0 {
            return Err(crate::error::refused(
                "InitProducerId",
                "a new producer".to_owned(),
                ErrorCode::UnknownServerError.code(),
                Some("the broker gave no producer id"),
            ));
        }
        Ok(Identity { producer_id: response.producer_id.0, epoch: response.producer_epoch })
    }
}

impl Shared {
    /// Whoever else has begun with this id meanwhile is not fenced, but fences this one.
    async fn ask_transactional_identity(
        &self,
        standing: &Standing,
    ) -> Result<InitProducerIdResponse, RequestError> {
        let id = &standing.transactional_id;
        let present = self.identity();
        let timeout = i32::try_from(self.transaction_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(StrBytes::from_string(id.to_string()))))
                .with_transaction_timeout_ms(timeout)
                .with_producer_id(ProducerId(present.map_or(-1, |present| present.producer_id)))
                .with_producer_epoch(present.map_or(-1, |present| present.epoch))
        };
        let read = |response: InitProducerIdResponse| {
            check("InitProducerId", || format!("transactional id '{id}'"), response.error_code, None)?;
            Ok(response)
        };
        self.cluster.ask_coordinator(&Coordinated::Transaction(Arc::clone(id)), request, read).await
    }
}

/// The coordinator still ends the transaction before.
fn is_concurrent(error: &RequestError) -> bool {
    error.code() == Some(ErrorCode::ConcurrentTransactions.code())
}

/// Partitions that wait in a lane hold on to it and it to them.
impl Drop for Shared {
    fn drop(&mut self) {
        for lane in self.lanes.get_mut().values() {
            lane.abandon();
        }
    }
}

/// Different for each producer; that is all that is asked of it.
fn random_start() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0_u8) >> 33) as u32
}
