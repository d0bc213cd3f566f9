//! The power is lost, or an operation fails, at every single disk operation of a random workload on a node's storage:
//! what was acknowledged is there afterwards, what was not is there whole or not at all, and all of it opens.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use millrace_base::Random;
use millrace_disk::Reserve;
use millrace_disk::sim::{Shortage, SimDisk};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt as _, RaftStateMachine};
use openraft::{EntryPayload, RaftLogReader, RaftSnapshotBuilder};

use super::codec::{encode_entry, log_id};
use super::log_file::{EntryId, Record};
use super::storage::{Place, Storage};
use super::{Entry, LogId, Membership, SnapshotMeta, StorageError, StoredMembership, Vote};
use crate::command::{Command, Proposal};
use crate::image::Image;
use crate::image_form;
use crate::threading::Threading;

const ACTIONS: usize = 40;

/// What a storage holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    vote: Option<Vote>,
    entries: BTreeMap<u64, Record>,
    purged: Option<LogId>,
    /// The last entry that the snapshot covers, and its name.
    snapshot: Option<(Option<LogId>, String)>,
}

struct World {
    disk: SimDisk,
    random: Random,
    storage: Option<Storage>,
    /// What was acknowledged.
    held: Held,
    /// And with the write that was not.
    perhaps: Option<Held>,
    last: Option<LogId>,
    committed: Option<LogId>,
    applied: Option<LogId>,
    /// Hints that were given, any of which may be found.
    hints: BTreeSet<Option<LogId>>,
    term: u64,
    /// An operation fails, or there is too little of something: what opens the storage may fail.
    disturbed: bool,
}

/// A write was not acknowledged.
#[derive(Debug)]
struct Failed;

impl World {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(seed),
            random: Random::seeded(seed),
            storage: None,
            held: Held::default(),
            perhaps: None,
            last: None,
            committed: None,
            applied: None,
            hints: BTreeSet::from([None]),
            term: 1,
            disturbed: false,
        }
    }

    fn place(&self) -> Place {
        Place {
            disk: Arc::new(self.disk.clone()),
            dir: Path::new("/data/metadata").to_owned(),
            node_id: 7,
            reserve: Reserve::none(),
            threading: Threading::Stepped,
            rewrite_dead_bytes_min: 3000,
        }
    }

    fn storage(&mut self) -> &mut Storage {
        self.storage.as_mut().expect("open")
    }

    /// Opens what is there, and compares it with what must be.
    async fn open(&mut self) -> Result<(), Failed> {
        self.storage = None;
        let storage = match Storage::open(&self.place()) {
            Ok(storage) => self.storage.insert(storage),
            Err(_) if self.disk.has_crashed() || self.disturbed => return Err(Failed),
            Err(error) => panic!("the storage does not open: {error}"),
        };
        let log = &mut storage.log;
        let entries = log.try_get_log_entries(0..).await.unwrap();
        let state = log.get_log_state().await.unwrap();
        let hint = log.read_committed().await.unwrap();
        let snapshot = storage.state_machine.get_current_snapshot().await.map_err(|_| Failed)?;
        let found = Held {
            vote: log.read_vote().await.unwrap(),
            entries: entries.iter().map(|entry| (entry.log_id.index, encode_entry(entry).unwrap())).collect(),
            purged: state.last_purged_log_id,
            snapshot: snapshot.map(|found| (found.meta.last_log_id, found.meta.snapshot_id)),
        };
        let expected = [Some(&self.held), self.perhaps.as_ref()];
        assert!(expected.contains(&Some(&found)), "{found:#?} is none of {expected:#?}");
        assert!(self.hints.contains(&hint), "nobody has said {hint:?}");
        let (applied, _) = storage.state_machine.applied_state().await.unwrap();
        assert_eq!(applied, found.snapshot.as_ref().and_then(|(last, _)| *last));
        self.applied = applied;
        self.last = state.last_log_id.max(applied);
        self.committed = self.committed.min(self.last).max(applied);
        self.held = found;
        self.perhaps = None;
        Ok(())
    }

    /// `after` holds if `outcome` says so, and perhaps if not.
    fn settle(&mut self, after: Held, outcome: Result<(), StorageError>) -> Result<(), Failed> {
        match outcome {
            Ok(()) => self.held = after,
            Err(error) => {
                assert!(self.disk.has_crashed() || self.disturbed, "on a sound disk: {error}");
                self.perhaps = Some(after);
                return Err(Failed);
            }
        }
        Ok(())
    }

    async fn vote(&mut self) -> Result<(), Failed> {
        self.term += self.random.below(2);
        let node = self.random.below(3);
        let vote = if self.random.below(2) == 0 {
            Vote::new(self.term, node)
        } else {
            Vote::new_committed(self.term, node)
        };
        let after = Held { vote: Some(vote), ..self.held.clone() };
        let saved = self.storage().log.save_vote(&vote).await;
        self.settle(after, saved)
    }

    async fn append(&mut self) -> Result<(), Failed> {
        let mut after = self.held.clone();
        let mut entries = Vec::new();
        let mut last = self.last;
        for _ in 0..=self.random.below(3) {
            let index = last.map_or(0, |last| last.index + 1);
            let log_id = log_id(EntryId { term: self.term, leader: 1, index });
            let cluster_id = "x".repeat(self.random.below(900) as usize);
            let payload = match self.random.below(6) {
                0 => EntryPayload::Blank,
                1 => EntryPayload::Membership(membership()),
                _ => EntryPayload::Normal(Proposal::new(vec![Command::InitCluster { cluster_id }])),
            };
            let entry = Entry { log_id, payload };
            after.entries.insert(index, encode_entry(&entry).unwrap());
            entries.push(entry);
            last = Some(log_id);
        }
        let flushed = self.storage().log.blocking_append(entries).await;
        self.settle(after, flushed)?;
        self.last = last;
        Ok(())
    }

    /// Takes back some entries that are not committed.
    async fn truncate(&mut self) -> Result<(), Failed> {
        let first = self.committed.map_or(0, |id| id.index + 1);
        let Some(last) = self.last.filter(|last| last.index >= first) else { return Ok(()) };
        let from = first + self.random.below(last.index - first + 1);
        let mut after = self.held.clone();
        after.entries.split_off(&from);
        let id = log_id(EntryId { index: from, term: last.leader_id.term, leader: 1 });
        let truncated = self.storage().log.truncate(id).await;
        self.settle(after, truncated)?;
        self.last = self.id_before(from);
        self.term += 1;
        Ok(())
    }

    fn id_before(&self, index: u64) -> Option<LogId> {
        match self.held.entries.range(..index).next_back() {
            Some((_, Record::Entry { id, .. })) => Some(log_id(*id)),
            _ => self.held.purged.max(self.applied),
        }
    }

    /// Commits some entries, and says so; nothing is promised of that.
    async fn commit(&mut self) -> Result<(), Failed> {
        let Some(last) = self.last else { return Ok(()) };
        let first = self.committed.map_or(0, |id| id.index);
        let upto = first + self.random.below((last.index + 1).saturating_sub(first));
        let Some(Record::Entry { id, .. }) = self.held.entries.get(&upto) else { return Ok(()) };
        let id = Some(log_id(*id));
        self.committed = id;
        self.hints.insert(id);
        self.storage().log.save_committed(id).await.unwrap();
        if self.disk.has_crashed() { Err(Failed) } else { Ok(()) }
    }

    /// Applies what is committed, and makes a snapshot of it.
    async fn snapshot(&mut self) -> Result<(), Failed> {
        let from = self.applied.map_or(0, |id| id.index + 1);
        let Some(upto) = self.committed.map(|id| id.index + 1).filter(|upto| *upto > from) else {
            return Ok(());
        };
        let storage = self.storage();
        let entries = storage.log.try_get_log_entries(from..upto).await.unwrap();
        storage.state_machine.apply(entries).await.unwrap();
        let built = storage.state_machine.get_snapshot_builder().await.build_snapshot().await;
        self.applied = self.committed;
        let name = self.applied.unwrap().to_string();
        let after = Held { snapshot: Some((self.applied, name)), ..self.held.clone() };
        self.settle(after, built.map(drop))
    }

    /// Drops entries that the snapshot has.
    async fn purge(&mut self) -> Result<(), Failed> {
        let Some((Some(covered), _)) = self.held.snapshot else { return Ok(()) };
        let first = self.held.entries.first_key_value().map_or(covered.index, |(first, _)| *first);
        let upto = first + self.random.below((covered.index + 1).saturating_sub(first).max(1));
        match self.held.entries.get(&upto) {
            Some(Record::Entry { id, .. }) if upto <= covered.index => self.purge_to(log_id(*id)).await,
            _ => Ok(()),
        }
    }

    async fn purge_to(&mut self, upto: LogId) -> Result<(), Failed> {
        let mut after = self.held.clone();
        after.entries = after.entries.split_off(&(upto.index + 1));
        after.purged = after.purged.max(Some(upto));
        let purged = self.storage().log.purge(upto).await;
        self.settle(after, purged)
    }

    /// A leader's snapshot, from beyond the log's end.
    async fn install(&mut self) -> Result<(), Failed> {
        let index = self.last.map_or(0, |last| last.index) + 1 + self.random.below(5);
        let last = log_id(EntryId { term: self.term, leader: 1, index });
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), membership()),
            snapshot_id: format!("installed-{index}"),
        };
        let image = image_form::encode(&Image::default()).unwrap();
        let after = Held { snapshot: Some((Some(last), meta.snapshot_id.clone())), ..self.held.clone() };
        let state_machine = &mut self.storage().state_machine;
        let installed = state_machine.install_snapshot(&meta, Box::new(Cursor::new(image))).await;
        self.settle(after, installed)?;
        self.applied = Some(last);
        self.committed = Some(last);
        self.hints.insert(Some(last));
        self.last = Some(last);
        self.purge_to(last).await
    }

    async fn act(&mut self) -> Result<(), Failed> {
        if self.random.below(20) == 0 { self.open().await } else { self.write().await }
    }

    async fn write(&mut self) -> Result<(), Failed> {
        match self.random.below(100) {
            0..15 => self.vote().await,
            15..55 => self.append().await,
            55..62 => self.truncate().await,
            62..76 => self.commit().await,
            76..84 => self.snapshot().await,
            84..95 => self.purge().await,
            _ => self.install().await,
        }
    }

    /// Acts until something is not acknowledged, after which a node would do nothing more.
    async fn run(&mut self, actions: usize) -> Result<(), Failed> {
        for _ in 0..actions {
            self.act().await?;
        }
        Ok(())
    }

    /// The power comes back.
    fn restart(&mut self) {
        self.storage = None;
        self.disk.crash();
        self.disk.restart();
        self.disturbed = false;
    }
}

fn membership() -> Membership {
    Membership::new(vec![BTreeSet::from([1, 7])], BTreeSet::from([1, 2, 7]))
}

/// Runs `test` in time that stands still while something can be done.
fn simulate<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

/// Operations, openings and trace of the workload when nothing goes wrong.
fn undisturbed(seed: u64) -> (u64, u64, u64) {
    simulate(async {
        let mut world = World::new(seed);
        world.open().await.unwrap();
        world.run(ACTIONS).await.unwrap();
        (world.disk.operations(), world.disk.openings(), world.disk.trace())
    })
}

/// Says which run failed.
struct Run(String);

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

fn crash_at_every_operation(seeds: Range<u64>) {
    for seed in seeds {
        for operation in 0..undisturbed(seed).0 {
            let _run = Run(format!("seed {seed}, power lost at operation {operation}"));
            simulate(crash_at(seed, operation));
        }
    }
}

async fn crash_at(seed: u64, operation: u64) {
    let mut world = World::new(seed);
    let dice = Random::seeded(seed ^ operation << 20);
    world.disk.crash_at(operation);
    if world.open().await.is_ok() {
        let _ = world.run(ACTIONS).await;
    }
    // Recovery is interrupted as well, then goes through; life goes on until the next crash.
    for _ in 0..2 {
        world.restart();
        world.disk.crash_at(world.disk.operations() + dice.below(10));
        let _ = world.open().await;
        world.restart();
        world.open().await.expect("a sound disk");
        world.disk.crash_at(world.disk.operations() + dice.below(60));
        let _ = world.run(ACTIONS / 2).await;
    }
    world.restart();
    world.open().await.expect("a sound disk");
    world.run(ACTIONS / 2).await.expect("a sound disk");
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power_first_seeds() {
    crash_at_every_operation(0..4);
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power_second_seeds() {
    crash_at_every_operation(100..104);
}

/// The process ends, and what it had not synced is read by the next one, before the power goes as well.
#[test]
fn nothing_acknowledged_is_lost_when_an_operation_fails() {
    for seed in 0..4 {
        for operation in 0..undisturbed(seed).0 {
            let _run = Run(format!("seed {seed}, operation {operation} fails"));
            simulate(async {
                let mut world = World::new(seed);
                world.disk.fail_at(operation);
                world.disturbed = true;
                if world.open().await.is_ok() {
                    let _ = world.run(ACTIONS).await;
                }
                world.disturbed = false;
                world.disk.fail_at(u64::MAX);
                world.open().await.expect("a sound disk");
                world.restart();
                world.open().await.expect("a sound disk");
                world.run(ACTIONS / 2).await.expect("a sound disk");
                world.restart();
                world.open().await.expect("a sound disk");
            });
        }
    }
}

/// A shortage is waited for, whatever it hits: nothing fails, and nothing is opened anew.
#[test]
fn a_shortage_at_any_operation_passes_and_loses_nothing() {
    for (of, seeds) in [(Shortage::Room, 0..2), (Shortage::Memory, 2..4), (Shortage::Files, 4..6)] {
        for seed in seeds {
            let (operations, openings, _) = undisturbed(seed);
            let count = if of == Shortage::Files { openings } else { operations };
            for (from, len) in (0..count).map(|from| (from, 1 + from % 5)) {
                let _run = Run(format!("seed {seed}, {of:?} from {from} for {len}"));
                simulate(async {
                    let mut world = World::new(seed);
                    world.open().await.unwrap();
                    let begun =
                        if of == Shortage::Files { world.disk.openings() } else { world.disk.operations() };
                    world.disk.run_short(of, begun + from..begun + from + len);
                    for _ in 0..ACTIONS {
                        world.write().await.expect("it is waited for");
                    }
                    world.restart();
                    world.open().await.expect("a sound disk");
                });
            }
        }
    }
}

#[test]
fn the_same_seed_does_the_same() {
    assert_eq!(undisturbed(5), undisturbed(5));
    assert_ne!(undisturbed(5).2, undisturbed(6).2);
}
