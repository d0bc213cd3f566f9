//! One partition that this broker leads: its log, how far it is replicated, and who waits for that.
//!
//! Records become visible in one place, [`Partition::advance`]: the commit thread reports a new durable end,
//! the [`HighWatermark`] core decides, then waiting producers are answered and waiting fetches woken.
//! Replication will report its followers' ends to the same place.

mod ack_queue;
mod early_acks;
mod fetch_waiters;
mod high_watermark;
mod read;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use millrace_base::{BrokerId, LeaderEpoch, Monotonic, Offset, TopicPartition};
use millrace_config::TopicConfig;
use millrace_log::{AppendError, AppendOrigin, Appended, PartitionLog};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::Batch;
use parking_lot::Mutex;

use crate::metrics::TopicTraffic;
use ack_queue::AckQueue;
pub(crate) use ack_queue::PendingAcks;
use early_acks::EarlyAcks;
use fetch_waiters::FetchWaiters;
pub(crate) use fetch_waiters::{Registered, WaitingFetch};
use high_watermark::HighWatermark;
pub(crate) use read::{Room, Source};

/// What the metadata says about a partition, and its topic's settings.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replicas: usize,
    pub(crate) isr: Vec<BrokerId>,
    pub(crate) config: Arc<TopicConfig>,
}

impl Role {
    /// Replicas that must be in sync for a write that wants all of them. A topic with fewer replicas than
    /// `min.insync.replicas` could never be written to, so, as in Kafka, the lower number counts.
    pub(crate) fn min_insync_replicas(&self) -> usize {
        self.replicas.min(self.config.min_insync_replicas as usize)
    }

    /// Whether an acks=all write may be taken.
    pub(crate) fn has_enough_replicas(&self) -> bool {
        self.isr.len() >= self.min_insync_replicas()
    }
}

/// Who waits, and what for.
struct Waiting {
    replicated: HighWatermark,
    early: EarlyAcks,
    acks: AckQueue,
    /// Below it this broker has everything as safe as the flush policy asks.
    local_end: Offset,
    /// Those who wait for that alone.
    local_acks: AckQueue,
    fetches: FetchWaiters,
    /// The partition is not served here any more; nothing may start to wait.
    closed: bool,
}

impl Waiting {
    fn fail_acks(&mut self, error: ErrorCode) {
        self.acks.fail_all(error.code());
        self.local_acks.fail_all(error.code());
    }
}

/// What a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safe {
    /// This broker's disk (`acks=1`).
    Here,
    /// The disks of all replicas in sync (`acks=all`).
    Replicated,
}

/// See the module's text.
pub(crate) struct Partition {
    id: TopicPartition,
    local: BrokerId,
    log: Arc<PartitionLog>,
    traffic: Arc<TopicTraffic>,
    time: Monotonic,
    opened: Instant,
    role: ArcSwap<Role>,
    /// A copy of the core's, so that readers take no lock.
    high_watermark: AtomicI64,
    waiting: Mutex<Waiting>,
}

impl Partition {
    /// Takes up serving `log`, all of which is durable.
    pub(crate) fn open(
        id: TopicPartition,
        local: BrokerId,
        log: Arc<PartitionLog>,
        traffic: Arc<TopicTraffic>,
        role: Role,
        time: Monotonic,
    ) -> Arc<Self> {
        let end = log.durable_end_offset();
        // With this broker alone in sync everything durable is replicated. Otherwise it is what the log remembers,
        // which after a restart may be behind until the others tell how far they are.
        let high_watermark = if role.isr == [local] { end } else { log.high_watermark().min(end) };
        let waiting = Waiting {
            replicated: HighWatermark::new(local, high_watermark, end),
            early: EarlyAcks::default(),
            acks: AckQueue::default(),
            local_end: end,
            local_acks: AckQueue::default(),
            fetches: FetchWaiters::default(),
            closed: false,
        };
        let partition = Arc::new(Self {
            id,
            local,
            traffic,
            opened: time.now(),
            time,
            role: ArcSwap::from_pointee(role.clone()),
            high_watermark: AtomicI64::new(high_watermark),
            waiting: Mutex::new(waiting),
            log,
        });
        partition.log.set_high_watermark(high_watermark);
        partition.apply(role);
        let weak = Arc::downgrade(&partition);
        partition.log.on_durable(Arc::new(move |end| {
            if let Some(partition) = weak.upgrade() {
                partition.advance(partition.local, end);
            }
        }));
        // What became durable between the first look and the listener.
        partition.advance(local, partition.log.durable_end_offset());
        partition
    }

    pub(crate) fn id(&self) -> TopicPartition {
        self.id
    }

    pub(crate) fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    pub(crate) fn traffic(&self) -> &TopicTraffic {
        &self.traffic
    }

    pub(crate) fn role(&self) -> arc_swap::Guard<Arc<Role>> {
        self.role.load()
    }

    /// Below it consumers may read.
    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Where a reader of committed records must stop. Without transactions, the high watermark.
    pub(crate) fn last_stable_offset(&self) -> Offset {
        self.high_watermark()
    }

    /// Takes over what the metadata says now.
    pub(crate) fn apply(&self, role: Role) {
        self.log.set_config(role.config.clone());
        let leads = role.leader == Some(self.local);
        if leads {
            self.log.begin_leader_epoch(role.leader_epoch);
        } else {
            self.log.set_leader_epoch(role.leader_epoch);
        }
        let mut waiting = self.waiting.lock();
        let advanced = waiting.replicated.set_isr(&role.isr);
        self.role.store(Arc::new(role));
        if let Some(high_watermark) = advanced {
            self.publish(&mut waiting, high_watermark);
        }
        if !leads {
            waiting.fail_acks(ErrorCode::NotLeaderOrFollower);
            waiting.fetches.notify_all();
        }
    }

    /// Whether a request that takes `epoch` for the current one may be served here (KIP-320).
    pub(crate) fn check_leader(&self, epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        let role = self.role();
        if role.leader != Some(self.local) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        match epoch {
            LeaderEpoch::UNKNOWN => Ok(()),
            epoch if epoch < role.leader_epoch => Err(ErrorCode::FencedLeaderEpoch),
            epoch if epoch > role.leader_epoch => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    /// The epoch in which this broker leads; nobody appends in an earlier one any more.
    pub(crate) fn leadership(&self) -> Option<LeaderEpoch> {
        let role = self.role();
        (role.leader == Some(self.local)).then_some(role.leader_epoch)
    }

    /// Whether a producer's verified batches would be refused for what they are.
    pub(crate) fn check(&self, batches: &[Batch]) -> Result<(), AppendError> {
        self.log.check(batches)
    }

    /// Appends a producer's verified batches, as the leader in `epoch` if one is given: the log refuses it if it has
    /// seen a later one.
    pub(crate) fn append(&self, epoch: LeaderEpoch, batches: &[Batch]) -> Result<Appended, AppendError> {
        let role = self.role();
        let epoch = if epoch == LeaderEpoch::UNKNOWN { role.leader_epoch } else { epoch };
        let appended = self.log.append(batches, epoch, AppendOrigin::Producer)?;
        // A topic with a relaxed flush policy has asked not to wait for the disk, within limits.
        if !role.config.sync_before_ack() {
            let end = appended.last_offset + 1;
            let now_ms = self.time.since(self.opened).as_millis() as i64;
            let mut waiting = self.waiting.lock();
            let ends = (end, self.log.durable_end_offset());
            if waiting.early.on_append(&role.config, ends, now_ms) {
                self.advance_locked(&mut waiting, self.local, end);
            }
        }
        Ok(appended)
    }

    /// Completes `part` of `acks` when the records below `end` are as `safe` as is asked.
    pub(crate) fn acknowledge_at(&self, end: Offset, safe: Safe, acks: &Arc<PendingAcks>, part: usize) {
        let mut waiting = self.waiting.lock();
        let (reached, queue) = match safe {
            Safe::Replicated => (waiting.replicated.value(), &mut waiting.acks),
            Safe::Here => (waiting.local_end, &mut waiting.local_acks),
        };
        queue.push(end, acks.clone(), part);
        queue.on_end(reached);
        if waiting.closed {
            waiting.fail_acks(ErrorCode::NotLeaderOrFollower);
        }
    }

    /// Has `fetch` woken when there may be more to read than up to `seen`, or nothing any more.
    pub(crate) fn notify_beyond(&self, seen: Offset, fetch: &Arc<WaitingFetch>, position: usize) {
        let mut waiting = self.waiting.lock();
        if waiting.closed || waiting.replicated.value() > seen {
            fetch.notify(position);
        }
        waiting.fetches.add(fetch, position);
    }

    /// Whether a reader at `offset` has no reason to wait: there is something, or nothing will come any more.
    pub(crate) fn is_worth_a_look(&self, offset: Offset) -> bool {
        self.last_stable_offset() > offset
            || self.check_leader(LeaderEpoch::UNKNOWN).is_err()
            || self.waiting.lock().closed
    }

    pub(crate) fn stop_notifying(&self, fetch: &WaitingFetch) {
        self.waiting.lock().fetches.remove(fetch);
    }

    #[cfg(test)]
    pub(crate) fn waiting_fetches(&self) -> usize {
        self.waiting.lock().fetches.len()
    }

    /// A replica holds everything below `end` durably.
    fn advance(&self, replica: BrokerId, end: Offset) {
        self.advance_locked(&mut self.waiting.lock(), replica, end);
    }

    fn advance_locked(&self, waiting: &mut Waiting, replica: BrokerId, end: Offset) {
        if let Some(high_watermark) = waiting.replicated.on_durable(replica, end) {
            self.publish(waiting, high_watermark);
        }
        // After the high watermark: where no other replica has to follow, what is acknowledged is visible.
        if replica == self.local {
            waiting.local_end = waiting.local_end.max(end);
            let end = waiting.local_end;
            waiting.local_acks.on_end(end);
        }
    }

    fn publish(&self, waiting: &mut Waiting, high_watermark: Offset) {
        self.high_watermark.store(high_watermark, Ordering::Release);
        self.log.set_high_watermark(high_watermark);
        waiting.acks.on_end(high_watermark);
        waiting.fetches.notify_all();
    }

    pub(crate) fn wake_fetches(&self) {
        self.waiting.lock().fetches.notify_all();
    }

    pub(crate) fn fail_acks(&self, error: ErrorCode) {
        self.waiting.lock().fail_acks(error);
    }

    /// Answers everything that waits: the partition is not served here any more.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.fail_acks(ErrorCode::NotLeaderOrFollower);
        waiting.fetches.notify_all();
    }
}
