//! One partition of this broker: its log, its replica's decisions, and who waits for them.
//!
//! What is decided is decided by the [`Replica`] core: this is its driver. Events come in at one lock (the metadata, an
//! append that begins to wait, a new durable end of the commit thread), and what the core commands is run under it. Who
//! only asks whether a request is for this broker takes no lock: the core's [`Standing`] is beside it.
//!
//! No other broker fetches from this one or is fetched from yet, so that the commands for that have nobody to go to.

mod ack_queue;
mod early_acks;
mod fetch_waiters;
mod history;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use millrace_base::{BrokerId, LeaderEpoch, Monotonic, Offset, TopicPartition};
use millrace_config::TopicConfig;
use millrace_log::{AppendError, AppendOrigin, Appended, PartitionLog};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::Batch;
use millrace_replication::{
    Assignment, Command, Divergence, Pointers, Refused, Replica, RoleKind, Standing, Timing, Waiters,
    divergence, shared_end,
};
use parking_lot::Mutex;

use crate::error_map::ToErrorCode;
use crate::metrics::TopicTraffic;
use ack_queue::AckQueue;
pub(crate) use ack_queue::PendingAcks;
use early_acks::EarlyAcks;
use fetch_waiters::FetchWaiters;
pub(crate) use fetch_waiters::{Registered, WaitingFetch};
use history::LogHistory;
pub(crate) use read::{Room, Source};

/// Kafka's defaults of `replica.lag.time.max.ms` and `replica.fetch.backoff.ms`.
const TIMING: Timing = Timing { lag_max_ms: 30_000, retry_ms: 1_000 };

/// What requests are judged by.
pub(crate) struct Role {
    pub(crate) standing: Standing,
    pub(crate) config: Arc<TopicConfig>,
}

/// What is decided, who waits for it, and what for.
struct Waiting {
    replica: Replica,
    /// Kept for its memory; empty between events.
    commands: Vec<Command>,
    early: EarlyAcks,
    /// Those who wait for the high watermark.
    acks: AckQueue,
    /// Those who wait for this broker alone to have everything as safe as the flush policy asks.
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
        (assignment, config): (Assignment, Arc<TopicConfig>),
        time: Monotonic,
    ) -> Arc<Self> {
        // The log remembers a high watermark, which after a restart may be behind what it was.
        let replica = Replica::new(local, TIMING, &LogHistory(&log), log.high_watermark());
        let high_watermark = replica.pointers().high_watermark;
        let role = Role { standing: replica.standing(), config: config.clone() };
        let waiting = Waiting {
            replica,
            commands: Vec::new(),
            early: EarlyAcks::default(),
            acks: AckQueue::default(),
            local_acks: AckQueue::default(),
            fetches: FetchWaiters::default(),
            closed: false,
        };
        let partition = Arc::new(Self {
            id,
            traffic,
            opened: time.now(),
            time,
            role: ArcSwap::from_pointee(role),
            high_watermark: AtomicI64::new(high_watermark),
            waiting: Mutex::new(waiting),
            log,
        });
        partition.log.set_high_watermark(high_watermark);
        partition.apply(assignment, config);
        let weak = Arc::downgrade(&partition);
        partition.log.on_durable(Arc::new(move |end| {
            if let Some(partition) = weak.upgrade() {
                partition.on_safe(&mut partition.waiting.lock(), end);
            }
        }));
        // What became durable between the first look and the listener.
        partition.on_safe(&mut partition.waiting.lock(), partition.log.durable_end_offset());
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

    /// Where a reader of committed records must stop: below it no transaction is open.
    pub(crate) fn last_stable_offset(&self) -> Offset {
        self.log.last_stable_offset().min(self.high_watermark())
    }

    /// Takes over what the metadata say now, and the topic's settings.
    pub(crate) fn apply(&self, assignment: Assignment, config: Arc<TopicConfig>) {
        self.log.set_config(config.clone());
        let now_ms = self.now_ms();
        let waiting = &mut *self.waiting.lock();
        let mut commands = std::mem::take(&mut waiting.commands);
        waiting.replica.on_assignment(assignment, &LogHistory(&self.log), now_ms, &mut commands);
        let mut left = commands.drain(..).peekable();
        // The log knows an epoch before requests are judged by it, and they are before who waits looks again.
        let is_epoch =
            |command: &Command| matches!(command, Command::BeginEpoch(_) | Command::FollowEpoch(_));
        if let Some(epoch) = left.next_if(is_epoch) {
            self.run(waiting, epoch);
        }
        self.role.store(Arc::new(Role { standing: waiting.replica.standing(), config }));
        left.for_each(|command| self.run(waiting, command));
        waiting.commands = commands;
        if waiting.replica.role() != RoleKind::Leader {
            waiting.fetches.notify_all();
        }
    }

    /// Whether a request that takes `epoch` for the current one may be served here (KIP-320).
    pub(crate) fn check_leader(&self, epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        self.leading(epoch).map(|_| ())
    }

    /// The epoch in which this broker leads, if a request that takes `epoch` for it may be served.
    pub(crate) fn leading(&self, epoch: LeaderEpoch) -> Result<LeaderEpoch, ErrorCode> {
        let standing = self.role().standing;
        standing.check_leader(epoch).map_err(|refused| refused.to_error_code())?;
        Ok(standing.leader_epoch())
    }

    /// Where a fetcher's log, which goes up to `offset` with a last record of `last_epoch`, left this one.
    pub(crate) fn divergence(
        &self,
        last_epoch: LeaderEpoch,
        offset: Offset,
    ) -> Result<Option<Divergence>, Refused> {
        divergence(&LogHistory(&self.log), last_epoch, offset)
    }

    /// The furthest point up to which a log whose last record is of `epoch` may agree with this one.
    pub(crate) fn shared_end(&self, epoch: LeaderEpoch) -> Option<Divergence> {
        shared_end(&LogHistory(&self.log), epoch)
    }

    /// Whether a producer's verified batches would be refused for what they are.
    pub(crate) fn check(&self, batches: &[Batch]) -> Result<(), AppendError> {
        self.log.check(batches)
    }

    /// Appends verified batches, as the leader in `epoch`: the log refuses it if it has seen a later one.
    pub(crate) fn append(
        &self,
        epoch: LeaderEpoch,
        batches: &[Batch],
        origin: AppendOrigin,
    ) -> Result<Appended, AppendError> {
        let role = self.role();
        let appended = self.log.append(batches, epoch, origin)?;
        // A topic with a relaxed flush policy has asked not to wait for the disk, within limits.
        if !role.config.sync_before_ack() {
            let end = appended.last_offset + 1;
            let now_ms = self.now_ms();
            let mut waiting = self.waiting.lock();
            let ends = (end, self.log.durable_end_offset());
            if waiting.early.on_append(&role.config, ends, now_ms) {
                self.on_safe(&mut waiting, end);
            }
        }
        Ok(appended)
    }

    /// Completes `part` of `acks` when the records below `end`, appended under `epoch`, are as `safe` as is asked; at
    /// once and with an error if they will not be, since the leadership that took them is over for instance.
    pub(crate) fn acknowledge_at(
        &self,
        (epoch, end): (LeaderEpoch, Offset),
        safe: Safe,
        acks: &Arc<PendingAcks>,
        part: usize,
    ) {
        let mut waiting = self.waiting.lock();
        let taken = if waiting.closed {
            Err(Refused::NotLeader)
        } else {
            waiting.replica.on_append(epoch, end, safe == Safe::Replicated)
        };
        if let Err(refused) = taken {
            acks.complete(part, refused.to_error_code().code());
            return;
        }
        let Pointers { high_watermark, durable_end, .. } = waiting.replica.pointers();
        let (reached, queue) = match safe {
            Safe::Replicated => (high_watermark, &mut waiting.acks),
            Safe::Here => (durable_end, &mut waiting.local_acks),
        };
        queue.push(end, acks.clone(), part);
        queue.on_end(reached);
    }

    /// Has `fetch` woken when there may be more to read than up to `seen`, or nothing any more.
    pub(crate) fn notify_beyond(&self, seen: Offset, fetch: &Arc<WaitingFetch>, position: usize) {
        let mut waiting = self.waiting.lock();
        let leads = waiting.replica.role() == RoleKind::Leader;
        if waiting.closed || !leads || waiting.replica.pointers().high_watermark > seen {
            fetch.notify(position);
        }
        waiting.fetches.add(fetch, position);
    }

    /// Whether nothing more will come to a reader here.
    pub(crate) fn is_over(&self) -> bool {
        self.check_leader(LeaderEpoch::UNKNOWN).is_err() || self.waiting.lock().closed
    }

    pub(crate) fn stop_notifying(&self, fetch: &WaitingFetch) {
        self.waiting.lock().fetches.remove(fetch);
    }

    #[cfg(test)]
    pub(crate) fn waiting_fetches(&self) -> usize {
        self.waiting.lock().fetches.len()
    }

    fn now_ms(&self) -> i64 {
        self.time.since(self.opened).as_millis() as i64
    }

    /// This broker has everything below `end` as safe as the flush policy asks.
    fn on_safe(&self, waiting: &mut Waiting, end: Offset) {
        self.event(waiting, |replica, log, out| replica.on_durable(end, log, out));
        // After the high watermark: where no other replica has to follow, what is acknowledged is visible.
        waiting.local_acks.on_end(waiting.replica.pointers().durable_end);
    }

    /// Hands an event to the core, and runs what it commands.
    fn event(
        &self,
        waiting: &mut Waiting,
        event: impl FnOnce(&mut Replica, &LogHistory<'_>, &mut Vec<Command>),
    ) {
        let mut commands = std::mem::take(&mut waiting.commands);
        event(&mut waiting.replica, &LogHistory(&self.log), &mut commands);
        for command in commands.drain(..) {
            self.run(waiting, command);
        }
        waiting.commands = commands;
    }

    fn run(&self, waiting: &mut Waiting, command: Command) {
        match command {
            Command::BeginEpoch(epoch) => self.log.begin_leader_epoch(epoch),
            Command::FollowEpoch(epoch) => self.log.set_leader_epoch(epoch),
            Command::PublishHighWatermark(high_watermark) => {
                self.high_watermark.store(high_watermark, Ordering::Release);
                self.log.set_high_watermark(high_watermark);
                waiting.acks.on_end(high_watermark);
                waiting.fetches.notify_all();
            }
            Command::Fail { who, why } => {
                let code = why.to_error_code().code();
                waiting.acks.fail_all(code);
                if who == Waiters::All {
                    waiting.local_acks.fail_all(code);
                }
            }
            // There is no other broker that would lead, follow or commit a set.
            Command::FetchFrom { .. }
            | Command::AppendFetched
            | Command::Truncate { .. }
            | Command::Reset { .. }
            | Command::RaiseLogStart { .. }
            | Command::ProposeIsr(_)
            | Command::WakeAt(_) => {}
        }
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
