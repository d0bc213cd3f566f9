//! Coordinates the groups whose partitions this broker leads: what requests and the time of day ask of the pure core,
//! and what becomes of its commands.
//!
//! Each partition has one lock, under which the core decides and its records are appended, so that records are in the
//! order of decisions. Nobody waits under it. Who waits for others holds a place in a map; its size is bounded by that
//! of the groups, and theirs by [`MEMBER_BYTES_MAX`].

mod admin;
mod consumer;
mod members;
mod offsets;
mod time;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use millrace_base::{Clock, LeaderEpoch, Monotonic, Random, TopicId, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::classic::{ClassicSettings, Command, JoinAnswer, Live, Now, Purpose, Step, SyncAnswer, Waiter};
use super::committed::CommittedOffsets;
use super::consumer::{ConsumerSettings, Sessions, Topics};
use super::error::GroupError;
use super::format::classic::encode_key;
use super::state::GroupState;
use crate::state_log::{Proposal, StateLog, StateRecord, Unavailable};
pub use admin::{DescribedMember, GroupDescription, ListedGroup};
pub use offsets::{CommitRequest, NewOffset};

/// What groups that have members may take in memory. The records of what they settle on take about as much again.
const MEMBER_BYTES_MAX: usize = 128 << 20;

/// What operators set.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    pub classic: ClassicSettings,
    pub consumer: ConsumerSettings,
    /// The longest metadata of an offset.
    pub offset_metadata_bytes_max: usize,
    /// How long the offsets are kept of who has gone.
    pub offsets_retention: Duration,
    pub offsets_retention_check: Duration,
}

/// The ids of topics by their names.
pub trait TopicIds: Send + Sync + 'static {
    fn id_of(&self, topic: &str) -> Option<TopicId>;

    /// All topics as they are now.
    fn now(&self) -> Arc<dyn Topics>;
}

/// What a coordinator is made of.
pub struct GroupParts {
    pub offsets: Arc<CommittedOffsets>,
    pub settings: GroupSettings,
    pub topics: Arc<dyn TopicIds>,
    pub clock: Arc<dyn Clock>,
    pub time: Monotonic,
    pub random: Random,
}

/// See the module's text. With it end its background tasks.
pub struct GroupCoordinator {
    inner: Arc<Inner>,
}

struct Inner {
    parts: GroupParts,
    homes: Mutex<BTreeMap<TopicPartition, Arc<Home>>>,
    /// About what all groups that have members take.
    member_bytes: AtomicUsize,
    next_waiter: AtomicU64,
    is_stopped: AtomicBool,
    /// When time is looked at next; `None` while that is found out.
    armed: Mutex<Option<Instant>>,
    wake: Notify,
    has_tasks: AtomicBool,
}

/// The groups of one partition.
struct Home {
    log: StateLog<GroupState>,
    lead: Mutex<Lead>,
}

/// The groups as this broker coordinates them in one epoch of its leadership.
#[derive(Default)]
struct Lead {
    epoch: Option<LeaderEpoch>,
    live: Live,
    sessions: Sessions,
    waiting: HashMap<Waiter, Waiting>,
}

enum Waiting {
    Join(oneshot::Sender<JoinAnswer>),
    Sync(oneshot::Sender<SyncAnswer>),
}

impl Lead {
    /// When time is to be looked at.
    fn next_deadline(&self) -> Option<Instant> {
        [self.live.next_deadline(), self.sessions.next_deadline()].into_iter().flatten().min()
    }
}

impl Drop for GroupCoordinator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl GroupCoordinator {
    pub fn new(parts: GroupParts) -> Self {
        let inner = Inner {
            parts,
            homes: Mutex::default(),
            member_bytes: AtomicUsize::new(0),
            next_waiter: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            armed: Mutex::default(),
            wake: Notify::new(),
            has_tasks: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What groups have committed, for what runs on the broker itself.
    pub fn committed_offsets(&self) -> Arc<CommittedOffsets> {
        Arc::clone(&self.inner.parts.offsets)
    }

    /// Coordinates nothing any more: everyone who waits, and who will come, is told to look for another coordinator.
    pub fn stop(&self) {
        self.inner.is_stopped.store(true, Ordering::Release);
        let homes = std::mem::take(&mut *self.inner.homes.lock());
        for home in homes.into_values() {
            self.inner.resign(&home);
        }
        self.inner.wake.notify_one();
    }

    /// Where the group's state is; makes the topic if there is none.
    pub async fn place_of(&self, group: &str) -> Result<TopicPartition, GroupError> {
        self.inner.parts.offsets.place_of(group).await.map_err(GroupError::from)
    }
}

impl Inner {
    /// The group's home, when its state is read back.
    async fn home(self: &Arc<Self>, group: &str) -> Result<Arc<Home>, GroupError> {
        if self.is_stopped.load(Ordering::Acquire) {
            return Err(GroupError::NotCoordinator);
        }
        let log = self.parts.offsets.ready_log_of(group).await?;
        self.start_tasks();
        Ok(self.home_of(&log))
    }

    fn home_of(&self, log: &StateLog<GroupState>) -> Arc<Home> {
        let mut homes = self.homes.lock();
        let home = homes
            .entry(log.place())
            .or_insert_with(|| Arc::new(Home { log: log.clone(), lead: Mutex::default() }));
        Arc::clone(home)
    }

    fn new_waiter(&self) -> Waiter {
        self.next_waiter.fetch_add(1, Ordering::Relaxed)
    }

    /// Has the core do something, and does what it says.
    fn step<R>(
        self: &Arc<Self>,
        home: &Arc<Home>,
        act: impl FnOnce(&mut Lead, &GroupState, Step<'_>) -> (R, Vec<Command>),
    ) -> Result<R, GroupError> {
        let (done, next) = self.step_now(home, act)?;
        self.arm(next);
        Ok(done)
    }

    /// The same, and when time is to be looked at.
    fn step_now<R>(
        self: &Arc<Self>,
        home: &Arc<Home>,
        act: impl FnOnce(&mut Lead, &GroupState, Step<'_>) -> (R, Vec<Command>),
    ) -> Result<(R, Option<Instant>), GroupError> {
        let mut lead = home.lead.lock();
        self.catch_up(home, &mut lead)?;
        let step = self.moment();
        let before = lead.live.bytes();
        let decided = home.log.decide(|_, latest| act(&mut lead, latest, step));
        let (done, commands) = decided.map_err(|error| self.unavailable(&mut lead, error))?;
        self.execute(home, &mut lead, commands);
        self.account(before, lead.live.bytes());
        Ok((done, lead.next_deadline()))
    }

    /// Looks at the groups as they may be told: those that are live, and what all in-sync replicas have.
    fn look<R>(
        self: &Arc<Self>,
        home: &Arc<Home>,
        look: impl FnOnce(&Live, &GroupState) -> R,
    ) -> Result<R, GroupError> {
        let mut lead = home.lead.lock();
        self.catch_up(home, &mut lead)?;
        let looked = home.log.read(|stored| look(&lead.live, stored));
        looked.map_err(|error| self.unavailable(&mut lead, error))
    }

    /// Sees to it that the core has what the log had when this epoch of the leadership began.
    fn catch_up(self: &Arc<Self>, home: &Arc<Home>, lead: &mut Lead) -> Result<(), GroupError> {
        let (step, known) = (self.moment(), lead.epoch);
        let restored = home.log.decide(|epoch, latest| {
            (known != Some(epoch)).then(|| (epoch, Live::restored(latest.all_classic(), step)))
        });
        let restored = restored.map_err(|error| self.unavailable(lead, error))?;
        if let Some((epoch, live)) = restored {
            self.dismiss(lead);
            self.account(0, live.bytes());
            lead.epoch = Some(epoch);
            lead.live = live;
            let topics = self.parts.topics.now();
            let consumer_step = self.session_step(&*topics);
            home.log
                .decide(|_, latest| consumer::restore(lead, latest, &consumer_step))
                .map_err(GroupError::from)?;
            let (ended, weak, home) = (home.log.ended(epoch), Arc::downgrade(self), Arc::downgrade(home));
            tokio::spawn(async move {
                ended.await;
                if let (Some(inner), Some(home)) = (weak.upgrade(), home.upgrade()) {
                    inner.resign_from(&home, epoch);
                }
            });
        }
        Ok(())
    }

    fn unavailable(&self, lead: &mut Lead, error: Unavailable) -> GroupError {
        if error == Unavailable::NotLed {
            self.dismiss(lead);
        }
        error.into()
    }

    fn resign(&self, home: &Home) {
        self.dismiss(&mut home.lead.lock());
    }

    fn resign_from(&self, home: &Home, epoch: LeaderEpoch) {
        let mut lead = home.lead.lock();
        if lead.epoch == Some(epoch) {
            self.dismiss(&mut lead);
        }
    }

    /// Answers everyone who waits, and forgets what is not in the log.
    fn dismiss(&self, lead: &mut Lead) {
        let Lead { live, mut waiting, .. } = std::mem::take(lead);
        self.account(live.bytes(), 0);
        for command in live.resign() {
            answer(&mut waiting, command);
        }
    }

    fn execute(self: &Arc<Self>, home: &Arc<Home>, lead: &mut Lead, commands: Vec<Command>) {
        let mut commands = VecDeque::from(commands);
        while let Some(command) = commands.pop_front() {
            let Command::Store { group, generation, record, purpose } = command else {
                answer(&mut lead.waiting, command);
                continue;
            };
            let record = StateRecord { key: encode_key(&group), value: Some(record.encode()) };
            let proposed = home.log.propose(|_, _| Proposal { records: vec![record], reply: () });
            match proposed {
                Err(error) => {
                    let step = self.moment();
                    commands.extend(lead.live.on_stored(
                        &group,
                        generation,
                        purpose,
                        Err(error.into()),
                        step,
                    ));
                }
                Ok(stored) => {
                    let (inner, home, epoch) = (Arc::downgrade(self), Arc::clone(home), lead.epoch);
                    tokio::spawn(async move {
                        let outcome = stored.await.map_err(GroupError::from);
                        if let Some(inner) = inner.upgrade() {
                            inner.stored(&home, epoch, (&group, generation, purpose), outcome);
                        }
                    });
                }
            }
        }
    }

    fn stored(
        self: &Arc<Self>,
        home: &Arc<Home>,
        epoch: Option<LeaderEpoch>,
        (group, generation, purpose): (&str, i32, Purpose),
        outcome: Result<(), GroupError>,
    ) {
        let next = {
            let mut lead = home.lead.lock();
            if lead.epoch != epoch {
                return;
            }
            let before = lead.live.bytes();
            let commands = lead.live.on_stored(group, generation, purpose, outcome, self.moment());
            self.execute(home, &mut lead, commands);
            self.account(before, lead.live.bytes());
            lead.live.next_deadline()
        };
        self.arm(next);
    }

    fn moment(&self) -> Step<'_> {
        let GroupParts { settings, random, clock, time, .. } = &self.parts;
        Step {
            settings: &settings.classic,
            random,
            now: Now { instant: time.now(), wall_ms: clock.now_ms() },
        }
    }

    fn account(&self, before: usize, after: usize) {
        if after >= before {
            self.member_bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.member_bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// What members may take beyond what they do.
    fn room(&self) -> usize {
        MEMBER_BYTES_MAX.saturating_sub(self.member_bytes.load(Ordering::Relaxed))
    }
}

/// Tells somebody who waits. Who does not any more is not told.
fn answer(waiting: &mut HashMap<Waiter, Waiting>, command: Command) {
    match command {
        Command::Joined(waiter, answer) => {
            if let Some(Waiting::Join(told)) = waiting.remove(&waiter) {
                let _ = told.send(*answer);
            }
        }
        Command::Synced(waiter, answer) => {
            if let Some(Waiting::Sync(told)) = waiting.remove(&waiter) {
                let _ = told.send(answer);
            }
        }
        Command::Store { .. } => {}
    }
}
