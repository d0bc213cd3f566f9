//! A broker: the real log on a simulated disk, a replica core for each partition, and the glue between them that the
//! real broker has in its partitions and fetchers.

mod coordinator;
mod disk;
mod driver;
pub mod log;
mod part;
mod port;
mod requests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millrace_base::{BrokerId, ManualClock, Offset, TopicPartition};
use millrace_config::TopicConfig;
use millrace_disk::Disk;
use millrace_disk::sim::SimDisk;
use millrace_log::{EngineStep, LogManager, LogOptions, OpenError, Threading};
use millrace_metadata::apply::apply;
use millrace_metadata::{Command, Image};

use crate::agenda::{MS, SECOND, Time};
use crate::effects::{Alarm, Effects, Fact};
use crate::message::Message;
use crate::mutants::Mutant;
use crate::network::Host;
use crate::random::Random;
use coordinator::Coordinator;
use disk::WithoutDirectorySync;
use part::Part;

const HEARTBEAT: Time = 300 * MS;
const CHECKPOINT: Time = 2 * SECOND;

/// The log's clock when a world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

pub struct Broker {
    pub id: BrokerId,
    /// Names the disk; another one begins empty.
    pub directory: u64,
    pub disk: SimDisk,
    /// The controller has not heard of it.
    disk_is_new: bool,
    /// How much slower than usual the disk is.
    pub slowness: u64,
    /// How far its clock is off.
    pub skew_ms: i64,
    min_isr: usize,
    mutant: Option<Mutant>,
    random: Random,
    /// Counts its starts.
    life: u64,
    image: Image,
    applied: u64,
    /// What was durable when it ran last.
    kept: BTreeMap<TopicPartition, Offset>,
    /// The high watermarks of its last checkpoint.
    checkpointed: BTreeMap<TopicPartition, Offset>,
    running: Option<Running>,
}

/// What a power cut ends.
struct Running {
    log: LogManager,
    clock: Arc<ManualClock>,
    /// Given by the controller; until it has come, and the image with it, nothing is led or followed.
    epoch: Option<i64>,
    parts: BTreeMap<TopicPartition, Part>,
    coordinator: Coordinator,
    /// The disk has been given something to do.
    disk_is_busy: bool,
}

/// The disk has lost its power, or something happened that never should.
#[derive(Debug)]
pub(crate) enum Stop {
    PowerCut,
    Broken(String),
}

impl Broker {
    pub fn new(id: BrokerId, min_isr: usize, mutant: Option<Mutant>, mut random: Random) -> Self {
        Self {
            id,
            directory: u64::try_from(id.0).unwrap_or_default(),
            disk: SimDisk::new(random.bits()),
            disk_is_new: false,
            slowness: 1,
            skew_ms: 0,
            min_isr,
            mutant,
            random,
            life: 0,
            image: Image::default(),
            applied: 0,
            kept: BTreeMap::new(),
            checkpointed: BTreeMap::new(),
            running: None,
        }
    }

    pub const fn life(&self) -> u64 {
        self.life
    }

    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether the controller knows the disk that it has.
    pub const fn has_known_disk(&self) -> bool {
        !self.disk_is_new
    }

    /// What is durable here, also while it does not run.
    pub fn durable_end(&self, partition: &TopicPartition) -> Offset {
        let running = self.running.as_ref().and_then(|running| running.parts.get(partition));
        let kept = || self.kept.get(partition).copied().unwrap_or(0);
        running.map_or_else(kept, |part| part.log.durable_end_offset())
    }

    /// All records that are durable, for the last look.
    pub fn partitions(&self) -> impl Iterator<Item = (&TopicPartition, &millrace_log::PartitionLog)> {
        let parts = self.running.iter().flat_map(|running| &running.parts);
        parts.map(|(partition, part)| (partition, &*part.log))
    }

    /// What it takes itself for.
    pub fn state(&self) -> String {
        let Some(running) = &self.running else { return format!("broker {} does not run", self.id) };
        let part = |(id, part): (&TopicPartition, &Part)| {
            let waiting: Vec<_> = part.waiting.iter().map(|one| one.end).collect();
            let (core, assigned) = (&part.core, part.core.assignment());
            format!(
                "\n    {id}: {:?} {:?} of {:?} in epoch {}, {waiting:?} wait",
                core.role(),
                core.pointers(),
                assigned.leader,
                assigned.leader_epoch
            )
        };
        let parts: String = running.parts.iter().map(part).collect();
        format!("broker {}, epoch {:?}, applied {}:{parts}", self.id, running.epoch, self.applied)
    }

    /// The power goes, and comes back after `off`.
    pub fn cut_power(&mut self, off: Time, effects: &mut Effects) {
        self.disk.crash();
        self.stop(off, effects);
    }

    /// The same, with another disk in the old one's place.
    pub fn replace_disk(&mut self, off: Time, effects: &mut Effects) {
        self.cut_power(off, effects);
        self.disk = SimDisk::new(self.random.bits());
        self.disk.crash();
        self.directory += 1000;
        self.disk_is_new = true;
        self.kept.clear();
        self.checkpointed.clear();
        // What it knew of the cluster is gone as well.
        self.image = Image::default();
        self.applied = 0;
    }

    fn stop(&mut self, off: Time, effects: &mut Effects) {
        if let Some(running) = self.running.take() {
            let ends = running.parts.iter().map(|(id, part)| (*id, part.kept()));
            self.kept.extend(ends);
            running.coordinator.end();
        }
        self.life += 1;
        effects.alarm(off, Alarm::Start);
    }

    /// Runs `act`; a power cut meanwhile ends this life.
    fn live(&mut self, effects: &mut Effects, act: impl FnOnce(&mut Self, &mut Effects) -> Result<(), Stop>) {
        match act(self, effects) {
            Ok(()) if !self.disk.has_crashed() => self.show_cores(),
            Err(Stop::Broken(what)) => effects.facts.push(Fact::Broken(what)),
            Ok(()) | Err(Stop::PowerCut) => {
                let off = self.random.between(200 * MS, 4 * SECOND);
                self.stop(off, effects);
            }
        }
    }

    pub fn on_alarm(&mut self, alarm: Alarm, now: Time, effects: &mut Effects) {
        if self.running.is_none() && !matches!(alarm, Alarm::Start) {
            return;
        }
        self.live(effects, |broker, effects| match alarm {
            Alarm::Start => broker.start(now, effects),
            Alarm::Heartbeat => {
                broker.heartbeat(effects);
                Ok(())
            }
            Alarm::Disk => broker.step_disk(now, effects),
            Alarm::Checkpoint => broker.checkpoint(effects),
            Alarm::Wake(partition) => broker.wake(partition, now, effects),
            Alarm::Release(partition) => broker.release(partition, now, effects),
            Alarm::Unfetched(partition, asked) => broker.unfetched(partition, asked, now, effects),
            Alarm::Unanswered(partition, proposal) => broker.unanswered(partition, &proposal, now, effects),
        });
    }

    pub fn on_message(&mut self, from: Host, message: Message, now: Time, effects: &mut Effects) {
        if self.running.is_some() {
            self.live(effects, |broker, effects| broker.receive(from, message, now, effects));
        }
    }

    fn start(&mut self, now: Time, effects: &mut Effects) -> Result<(), Stop> {
        if self.running.is_some() {
            return Ok(());
        }
        self.disk.restart();
        let disk: Arc<dyn Disk> = match self.mutant {
            Some(Mutant::SkipDirectorySync) => Arc::new(WithoutDirectorySync(self.disk.clone())),
            _ => Arc::new(self.disk.clone()),
        };
        let options = LogOptions {
            wal_bytes: 64 * 1024,
            tail_bytes: 64 * 1024,
            threading: Threading::Stepped,
            ..LogOptions::default()
        };
        let clock = Arc::new(ManualClock::at_ms(EPOCH_MS + self.skew_ms + now as i64 / 1000));
        let log = match LogManager::open(disk, Path::new("/data"), options, clock.clone()) {
            Ok((log, _)) => log,
            Err(OpenError::Io { .. }) if self.disk.has_crashed() => return Err(Stop::PowerCut),
            Err(error) => return Err(Stop::Broken(format!("broker {}: {error}", self.id))),
        };
        let coordinator = Coordinator::new(clock.clone(), self.mutant);
        let parts = BTreeMap::new();
        self.running = Some(Running { log, clock, epoch: None, parts, coordinator, disk_is_busy: false });
        for partition in self.running()?.log.partitions() {
            self.open_part(partition)?;
        }
        let parts = self.running.iter().flat_map(|running| &running.parts);
        for (partition, part) in parts {
            let of = |map: &BTreeMap<_, _>| map.get(partition).copied().unwrap_or(0);
            effects.facts.push(Fact::Reopened {
                by: self.id,
                partition: *partition,
                durable_end: part.log.durable_end_offset(),
                high_watermark: part.core.pointers().high_watermark,
                kept: of(&self.kept),
                checkpointed: of(&self.checkpointed),
            });
        }
        let lost = self.kept.iter().find(|(id, end)| {
            **end > 0 && !self.running.as_ref().is_some_and(|running| running.parts.contains_key(id))
        });
        if let Some((partition, end)) = lost {
            return Err(Stop::Broken(format!("broker {} has lost {partition}, {end} records", self.id)));
        }
        effects.send(Host::Quorum, Message::Register { directory: self.directory });
        effects.alarm(HEARTBEAT, Alarm::Heartbeat);
        effects.alarm(CHECKPOINT, Alarm::Checkpoint);
        Ok(())
    }

    fn running(&mut self) -> Result<&mut Running, Stop> {
        self.running.as_mut().ok_or(Stop::PowerCut)
    }

    /// Opens or makes the log of a partition.
    fn open_part(&mut self, partition: TopicPartition) -> Result<(), Stop> {
        let config = TopicConfig { segment_bytes: 8 * 1024, ..TopicConfig::default() };
        let (id, mutant) = (self.id, self.mutant);
        let running = self.running()?;
        // Only the disk's power can fail here.
        let log = running.log.create(partition, Arc::new(config)).map_err(|_| Stop::PowerCut)?;
        running.parts.insert(partition, Part::new(id, log, mutant));
        Ok(())
    }

    fn heartbeat(&mut self, effects: &mut Effects) {
        let message = match self.running.as_ref().and_then(|running| running.epoch) {
            Some(epoch) => Message::Heartbeat { epoch, applied: self.applied },
            None => Message::Register { directory: self.directory },
        };
        effects.send(Host::Quorum, message);
        self.want_topics(effects);
        effects.alarm(HEARTBEAT, Alarm::Heartbeat);
    }

    fn step_disk(&mut self, now: Time, effects: &mut Effects) -> Result<(), Stop> {
        let running = self.running()?;
        running.clock.advance_ms(1);
        running.disk_is_busy = false;
        let moved = running.log.step(EngineStep::Wal) | running.log.step(EngineStep::Direct);
        if !moved && running.log.metrics().pending_bytes > 0 {
            running.log.step(EngineStep::Checkpoint);
        }
        self.after_disk(now, effects)
    }

    fn checkpoint(&mut self, effects: &mut Effects) -> Result<(), Stop> {
        let running = self.running()?;
        let marks: Vec<_> = running.parts.iter().map(|(id, part)| (*id, part.log.high_watermark())).collect();
        if running.log.step(EngineStep::Checkpoint) {
            self.checkpointed.extend(marks);
        }
        effects.alarm(CHECKPOINT, Alarm::Checkpoint);
        Ok(())
    }

    /// Takes in commands that follow those that are known.
    fn learn(
        &mut self,
        known: u64,
        commands: &[Arc<Command>],
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        let before = self.applied;
        for (index, command) in (known + 1..).zip(commands) {
            if index == self.applied + 1 {
                // The quorum has applied it before: it is not refused here.
                let _ = apply(&mut self.image, index, command);
                self.applied = index;
            }
        }
        if self.applied == before { Ok(()) } else { self.assign(now, effects) }
    }
}
