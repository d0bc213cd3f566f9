//! A log on a simulated disk, and a model of what it must hold.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::dice::Dice;
use crate::model::{Back, Model, Sent};
use crate::support::*;
use crate::transactions::{check_transactions, producer_id};
use millrace_base::{LeaderEpoch, ManualClock};
use millrace_disk::sim::{Shortage, SimDisk};
use millrace_disk::{Disk, Reserve};
use millrace_log::{
    AppendError, Appended, EngineStep, Health, LogManager, LogOptions, OpenError, PartitionLog, Threading,
};
use millrace_protocol::batch::Batch;

pub const PARTITIONS: usize = 4;

/// The partition that follows a leader, whose log has gaps.
const FOLLOWER: usize = 3;

pub struct World {
    pub disk: SimDisk,
    pub clock: Arc<ManualClock>,
    manager: Option<LogManager>,
    pub models: Vec<Model>,
    dice: Dice,
    reserve_bytes: u64,
    /// Records are taken back often, of few partitions.
    takes_back: bool,
    /// Records have keys, and logs are compacted.
    compacts: bool,
    /// Records are written in transactions.
    transacts: bool,
    /// The disk runs short of something for a while: what is asked for then may be refused.
    runs_short: Option<Shortage>,
    /// The directory was opened before.
    was_open: bool,
    /// The models are what the directory held when it was opened last.
    is_checked: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let models = (0..PARTITIONS).map(|_| Model::default()).collect();
        Self {
            disk: SimDisk::new(seed),
            clock: clock(),
            manager: None,
            models,
            dice: Dice(seed),
            reserve_bytes: 0,
            takes_back: false,
            compacts: false,
            transacts: false,
            runs_short: None,
            was_open: false,
            is_checked: false,
        }
    }

    /// Keeps a reserve of `bytes`.
    pub fn with_reserve(self, bytes: u64) -> Self {
        Self { reserve_bytes: bytes, ..self }
    }

    /// Has records taken back often.
    pub fn taking_back(self) -> Self {
        Self { takes_back: true, ..self }
    }

    /// Has records with keys, of which only the newest stay.
    pub fn compacting(self) -> Self {
        Self { compacts: true, ..self }
    }

    /// Has records written in transactions, half of which are aborted.
    pub fn transacting(self) -> Self {
        Self { transacts: true, ..self }
    }

    /// Has operations (or openings) of these numbers find too little of something.
    pub fn run_short(&mut self, of: Shortage, during: Range<u64>) {
        self.runs_short = Some(of);
        self.disk.run_short(of, during);
    }

    /// Has the disk take no more than `bytes`, also after a crash.
    pub fn limit_to(&mut self, bytes: u64) {
        self.runs_short = Some(Shortage::Room);
        self.disk.set_capacity(Some(bytes));
    }

    fn end_shortage(&self) {
        self.disk.run_short(Shortage::Room, 0..0);
        self.disk.set_capacity(None);
    }

    /// There is enough of everything again; nothing is opened anew, and all goes on.
    pub fn recover_from_shortage(&mut self) {
        self.end_shortage();
        if !self.is_checked {
            self.manager = None;
            self.open().expect("a sound disk");
        }
        self.manager().step(EngineStep::Checkpoint);
        assert_eq!(self.manager().health(), Health::Ok, "the shortage is over");
        self.runs_short = None;
        for number in 0..PARTITIONS {
            let Some(log) = self.manager().partition(&tp(number as i32)) else {
                self.create(number).expect("a sound disk");
                self.models[number].deleted = false;
                continue;
            };
            if let Some(back) = self.models[number].unsure.pop() {
                // Deletion may have come first.
                let back = match back {
                    Back::To(offset) => Back::To(offset.max(log.log_start_offset())),
                    reset @ Back::ResetAt(_) => reset,
                };
                self.try_take_back(number, &log, back);
            }
        }
    }

    /// The power is lost and comes back, and nothing is short any more.
    pub fn crash_and_restart(&mut self) {
        self.disk.crash();
        self.runs_short = None;
        self.restart();
    }

    /// Opens the directory. `Err`: the disk crashed meanwhile, or is short of what that takes.
    pub fn open(&mut self) -> Result<(), ()> {
        self.is_checked = false;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let options = LogOptions {
            wal_bytes: 64 * 1024,
            tail_bytes: 200 * 1024,
            threading: Threading::Stepped,
            reserve: Reserve::new(Arc::clone(&disk), Path::new("/reserve"), self.reserve_bytes),
            ..LogOptions::default()
        };
        match LogManager::open(disk, Path::new("/data"), options, self.clock.clone()) {
            Ok((manager, _)) => self.manager = Some(manager),
            Err(OpenError::Io { .. }) if self.disk.has_crashed() || self.may_not_open() => return Err(()),
            Err(error) => panic!("the directory does not open: {error}"),
        }
        self.was_open = true;
        for number in 0..PARTITIONS {
            self.check(number)?;
        }
        self.is_checked = true;
        Ok(())
    }

    /// A full disk is no reason for a directory that was there before.
    fn may_not_open(&self) -> bool {
        self.runs_short.is_some_and(|of| of != Shortage::Room || !self.was_open)
    }

    pub fn manager(&self) -> &LogManager {
        self.manager.as_ref().expect("open")
    }

    fn create(&self, number: usize) -> Result<Arc<PartitionLog>, ()> {
        let config = match (self.compacts, number) {
            (false, _) => segments_of(50_000, &[("retention.bytes", "150000")]),
            (true, 2) => {
                segments_of(450, &[("cleanup.policy", "compact,delete"), ("retention.bytes", "4000")])
            }
            (true, _) => segments_of(450, &[("cleanup.policy", "compact"), ("delete.retention.ms", "1000")]),
        };
        let log = self.manager().create(tp(number as i32), config).map_err(|_| self.crashed())?;
        let told = Arc::clone(&self.models[number].acknowledged);
        log.on_durable(Arc::new(move |end| {
            let before = told.swap(end, Ordering::SeqCst);
            assert!(before <= end, "the durable end went from {before} to {end}");
        }));
        Ok(log)
    }

    /// An operation failed: that must be the crash, or the shortage.
    fn crashed(&self) {
        if self.disk.has_crashed() {
            return;
        }
        assert!(self.runs_short.is_some(), "an operation failed on a sound disk");
        if let Some(Health::Failed(reason)) = self.manager.as_ref().map(LogManager::health) {
            panic!("a shortage has ended the log: {reason}");
        }
    }

    /// Compares a recovered partition with its model, and makes the model what was recovered.
    fn check(&mut self, number: usize) -> Result<(), ()> {
        let id = tp(number as i32);
        if self.models[number].deleted && self.manager().partition(&id).is_some() {
            self.manager().delete(&id).map_err(|_| self.crashed())?;
        }
        let existed = self.manager().partition(&id).is_some();
        let log = match self.create(number) {
            Ok(log) => log,
            // Deleted, and there is no room to make it again.
            Err(()) if self.models[number].deleted && !self.disk.has_crashed() => return Ok(()),
            Err(()) => return Err(()),
        };
        let model = &mut self.models[number];
        if std::mem::take(&mut model.deleted) {
            assert_eq!(log.log_end_offset(), 0);
            return Ok(());
        }
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        log.validate().unwrap();
        model.find_taken_back(start, end);
        let acknowledged = model.acknowledged.load(Ordering::SeqCst);
        assert!(existed || acknowledged == 0, "partition {number} is gone, with {acknowledged} records");
        assert_eq!(log.durable_end_offset(), end);
        assert!(end >= acknowledged, "partition {number} ends at {end}; {acknowledged} was acknowledged");
        assert!(end <= model.end(), "partition {number} ends at {end}, {} was sent", model.end());
        let bounds = model.start_durable..=model.start_wanted;
        assert!(bounds.contains(&start), "partition {number} starts at {start}, not in {bounds:?}");
        model.sent.retain(|sent| sent.end() <= end);
        assert_eq!(model.end(), end, "partition {number} ends within a batch");
        (model.start_durable, model.start_wanted) = (start, start);
        model.acknowledged.store(end, Ordering::SeqCst);
        log.set_high_watermark(end);
        let mut expected: Vec<_> = model
            .sent
            .iter()
            .flat_map(|sent| (sent.base_offset..).zip(sent.values.iter().cloned()))
            .filter(|(offset, _)| *offset >= start)
            .collect();
        let Ok(mut found) = try_records(&log, start) else {
            self.crashed();
            return Err(());
        };
        found.retain(|(offset, _)| *offset >= start);
        if self.compacts {
            let superseded = model.superseded.clone();
            let is_gone = |(offset, _): &(i64, Vec<u8>)| !found.iter().any(|(of, _)| of == offset);
            expected.retain(|record| !(superseded.contains(&record.0) && is_gone(record)));
        }
        assert!(found == expected, "partition {number} holds other records than were sent");
        check_transactions(&self.models[number], &log);
        let model = &self.models[number];
        let is_known = |last: &&Sent| last.marker.is_none() && (!model.was_cut || last.end() > start);
        if let Some(last) = model.sent.last().filter(is_known).cloned() {
            match append(&log, self.batch(number, &last)) {
                Ok(again) => assert!(again.duplicate && again.base_offset == last.base_offset),
                refused => assert!(self.is_refused(&refused), "a retry is a duplicate, not {refused:?}"),
            }
        }
        Ok(())
    }

    fn append(&mut self, number: usize) {
        let dice = &mut self.dice;
        let (records, bytes) = match dice.below(100) {
            // Every fifth is a tombstone.
            of if self.compacts => (1 + dice.below(4), if of < 20 { 0 } else { 1 + dice.below(60) }),
            0..60 => (1 + dice.below(3), 1 + dice.below(200)),
            60..85 => (1 + dice.below(2), 1000 + dice.below(5000)),
            _ => (1, 17_000 + dice.below(25_000)),
        };
        let model = &self.models[number];
        let fill = dice.below(200) as u8;
        let values = (0..records).map(|record| vec![fill + record as u8; bytes as usize]).collect();
        let gap = if number == FOLLOWER { dice.below(4) as i64 } else { 0 };
        let mut sent = Sent {
            base_offset: model.end() + gap,
            values,
            sequence: model.next_sequence(),
            is_transactional: self.transacts,
            marker: None,
        };
        if self.transacts && dice.below(3) == 0 {
            sent.end_transaction(dice);
        }
        let Some(log) = self.partition(number) else { return };
        let batch = self.batch(number, &sent);
        let outcome = match number {
            FOLLOWER => follow(&log, &[placed(batch, sent.base_offset, 0)], 0),
            _ => match sent.marker(producer_id(number)) {
                Some(marker) => log.append_marker(marker, LeaderEpoch(0)),
                None => append(&log, batch),
            },
        };
        let appended = match outcome {
            Ok(appended) => appended,
            refused => return assert!(self.is_refused(&refused), "an append touches no disk: {refused:?}"),
        };
        assert!(!appended.duplicate);
        assert_eq!(appended.base_offset, sent.base_offset, "partition {number}");
        self.models[number].sent.push(sent);
    }

    fn batch(&self, number: usize, sent: &Sent) -> Batch {
        let producer_id = producer_id(number);
        if self.compacts { sent.keyed_batch(producer_id) } else { sent.batch(producer_id) }
    }

    /// None while a shortage keeps it from being made.
    fn partition(&self, number: usize) -> Option<Arc<PartitionLog>> {
        let found = self.manager().partition(&tp(number as i32));
        assert!(found.is_some() || self.runs_short.is_some(), "created at opening");
        found
    }

    fn is_refused(&self, outcome: &Result<Appended, AppendError>) -> bool {
        self.runs_short.is_some() && matches!(outcome, Err(AppendError::Stalled(_)))
    }

    fn retain(&mut self) {
        self.manager().enforce_retention();
        let sound = !self.disk.has_crashed() && self.runs_short.is_none();
        for (number, model) in self.models.iter_mut().enumerate() {
            let manager = self.manager.as_ref().expect("open");
            let start = manager.partition(&tp(number as i32)).map_or(0, |log| log.log_start_offset());
            model.start_wanted = start;
            if sound {
                model.start_durable = start;
            }
        }
    }

    fn delete_records(&mut self, number: usize) {
        let Some(log) = self.partition(number) else { return };
        let (start, end) = (log.log_start_offset(), log.high_watermark());
        let before = start + self.dice.below((end - start) as u64 + 1) as i64;
        let model = &mut self.models[number];
        model.start_wanted = before;
        match log.delete_records(before) {
            Ok(reached) => model.start_durable = reached,
            Err(_) => self.crashed(),
        }
    }

    fn delete_and_create(&mut self, number: usize) {
        if self.partition(number).is_none() {
            return;
        }
        self.models[number] = Model { deleted: true, ..Model::default() };
        if self.manager().delete(&tp(number as i32)).is_err() {
            return self.crashed();
        }
        if self.create(number).is_ok() {
            self.models[number].deleted = false;
        }
    }

    fn take_back(&mut self, number: usize) {
        let Some(log) = self.partition(number) else { return };
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let back = match self.dice.below(8) {
            0 => Back::ResetAt(self.dice.below(end as u64 + 20) as i64),
            1 => Back::To(start),
            _ => Back::To(start + self.dice.below((end - start) as u64 + 2) as i64),
        };
        // Followers take nothing back that was committed, and only that is compacted.
        let back = match back {
            Back::To(offset) => Back::To(offset.max(self.models[number].compacted_below)),
            reset @ Back::ResetAt(_) => reset,
        };
        self.try_take_back(number, &log, back);
    }

    fn try_take_back(&mut self, number: usize, log: &PartitionLog, back: Back) {
        let left = self.models[number].left_of(back, log.log_start_offset());
        let before = log.log_end_offset();
        let outcome = match back {
            Back::To(offset) => log.truncate(offset),
            Back::ResetAt(offset) => log.reset(offset).map(|()| offset),
        };
        let model = &mut self.models[number];
        match outcome {
            Ok(end) => {
                assert_eq!((log.log_start_offset(), end), left, "partition {number}");
                assert_eq!(log.log_end_offset(), end);
                if before > end || matches!(back, Back::ResetAt(_)) {
                    assert_eq!(log.durable_end_offset(), end);
                    model.take_back(left);
                }
                model.unsure.clear();
            }
            Err(_) => {
                assert_eq!(log.log_end_offset(), before, "an error leaves the log as it was");
                model.unsure.push(back);
                self.crashed();
            }
        }
    }

    /// Does something at random.
    fn act(&mut self) {
        let partitions = if self.takes_back || self.compacts { 2 } else { PARTITIONS as u64 };
        let number = PARTITIONS - 1 - self.dice.below(partitions) as usize;
        self.set_high_watermarks();
        let takes_back = self.takes_back && self.dice.below(6) == 0;
        match self.dice.below(100) {
            _ if takes_back => self.take_back(number),
            _ if self.compacts && self.dice.below(5) == 0 => self.compact(),
            0..45 => self.append(number),
            45..65 => drop(self.manager().step(EngineStep::Wal)),
            65..85 => drop(self.manager().step(EngineStep::Direct)),
            85..89 => drop(self.manager().step(EngineStep::Checkpoint)),
            89..91 => self.retain(),
            91..93 => self.delete_records(number),
            93..95 => self.delete_and_create(number),
            95..97 => self.take_back(number),
            _ => self.reopen(),
        }
        if self.manager.is_some() {
            self.validate();
        }
    }

    fn reopen(&mut self) {
        let closing = self.dice.below(2) == 0;
        let manager = self.manager.take().expect("open");
        if closing && manager.close().is_err() {
            self.crashed();
        }
        drop(manager);
        if !self.disk.has_crashed() && self.open().is_err() && !self.disk.has_crashed() {
            // What was too little to open it has to come back; then it is another start.
            self.manager = None;
            self.end_shortage();
            let _ = self.open();
        }
    }

    /// Acts until something was too little, or as often as told.
    pub fn run_into_shortage(&mut self, count: usize, from: u64) {
        for _ in 0..count {
            if self.disk.openings() > from {
                return;
            }
            self.act();
        }
    }

    /// The process ends by itself; what it has written is there, durable or not. The shortage ends with it.
    pub fn die(&mut self) {
        self.manager = None;
        self.end_shortage();
        self.runs_short = None;
    }

    /// Acts `count` times, or until the disk crashes.
    pub fn run(&mut self, count: usize) {
        for _ in 0..count {
            if self.disk.has_crashed() {
                return;
            }
            self.act();
        }
    }

    /// Commits everything, and expects that it is acknowledged.
    pub fn settle(&mut self) {
        loop {
            let moved = self.manager().step(EngineStep::Wal) | self.manager().step(EngineStep::Direct);
            let pending = self.manager().metrics().pending_bytes;
            if pending == 0 {
                break;
            }
            assert!(moved || self.manager().step(EngineStep::Checkpoint), "{pending} bytes stay pending");
        }
        for model in &self.models {
            assert_eq!(model.acknowledged.load(Ordering::SeqCst), model.end());
        }
    }

    /// The power comes back after a crash.
    pub fn restart(&mut self) {
        self.manager = None;
        self.disk.restart();
    }
}
