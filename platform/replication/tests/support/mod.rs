//! A log that is only its epochs, and replicas of a partition in a state to begin a test with.

#![allow(dead_code, reason = "each test program uses its part")]

use millrace_base::{BrokerId, LeaderEpoch, Offset};
use millrace_replication::{
    Assignment, Command, History, Identity, Member, Refused, Replica, ReplicaFetch, Served, Timing,
};

pub const LAG_MAX_MS: i64 = 30_000;
pub const RETRY_MS: i64 = 1_000;
pub const TIMING: Timing = Timing { lag_max_ms: LAG_MAX_MS, retry_ms: RETRY_MS };

/// Offsets with their epochs; where there is no epoch's beginning, the record before tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub start: Offset,
    pub durable_end: Offset,
    /// The epoch of every record from `start` on.
    pub records: Vec<i32>,
    /// Epochs that began, with where; those without records, too.
    pub begun: Vec<(i32, Offset)>,
}

impl Log {
    /// A durable log from 0 on, of so many records of each epoch.
    pub fn of(epochs: &[(i32, usize)]) -> Self {
        let mut log = Self::default();
        for (epoch, count) in epochs {
            log.append(*epoch, *count);
        }
        log.durable_end = log.log_end();
        log
    }

    /// An epoch begins at the end. Those that have left no record give way.
    pub fn begin(&mut self, epoch: i32) {
        let end = self.log_end();
        while self.begun.pop_if(|(begun, start)| *begun != epoch && *start >= end).is_some() {}
        if self.begun.last().is_none_or(|(begun, _)| *begun < epoch) {
            self.begun.push((epoch, end));
        }
    }

    pub fn append(&mut self, epoch: i32, count: usize) {
        self.begin(epoch);
        self.records.extend(std::iter::repeat_n(epoch, count));
    }

    pub fn truncate(&mut self, to: Offset) {
        self.records.truncate((to - self.start) as usize);
        self.durable_end = self.durable_end.min(to);
        self.begun.retain(|(_, start)| *start < to);
    }

    pub fn reset(&mut self, start: Offset) {
        *self = Self { start, durable_end: start, ..Self::default() };
    }
}

impl History for Log {
    fn log_start(&self) -> Offset {
        self.start
    }

    fn durable_end(&self) -> Offset {
        self.durable_end
    }

    fn log_end(&self) -> Offset {
        self.start + self.records.len() as i64
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.records.get((offset - self.start) as usize).map(|epoch| LeaderEpoch(*epoch))
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let (latest, _) = self.begun.last()?;
        if epoch.0 == *latest {
            return Some((epoch, self.log_end()));
        }
        let next = self.begun.iter().position(|(known, _)| *known > epoch.0)?;
        let floor = next.checked_sub(1).map_or(epoch, |floor| LeaderEpoch(self.begun[floor].0));
        Some((floor, self.begun[next].1))
    }
}

pub const fn broker(id: i32) -> BrokerId {
    BrokerId(id)
}

/// Broker `id` has directory `id` and registered with epoch `id` times 10.
pub fn identity(id: i32) -> Identity {
    Identity { directory: id as u128, broker_epoch: i64::from(id) * 10 }
}

/// Led by `leader` in `epoch`, with replicas 1 to 3 of which those in `isr` are in sync, at least one of them needed.
pub fn assignment(leader: i32, epoch: i32, partition_epoch: i32, isr: &[i32]) -> Assignment {
    Assignment {
        leader: (leader > 0).then_some(BrokerId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch,
        replicas: (1..=3).map(|id| Member { id: BrokerId(id), identity: identity(id) }).collect(),
        isr: isr.iter().map(|id| BrokerId(*id)).collect(),
        min_insync_replicas: 1,
    }
}

/// One that has a single replica.
pub fn alone(epoch: i32) -> Assignment {
    let mut assignment = assignment(1, epoch, 0, &[1]);
    assignment.replicas.truncate(1);
    assignment
}

/// A replica with its log, whose events return their commands.
pub struct Subject {
    pub replica: Replica,
    pub log: Log,
    pub now_ms: i64,
}

impl Subject {
    /// Broker 1 with this log, which forgot its high watermark.
    pub fn new(log: Log) -> Self {
        Self::with_checkpoint(log, 0)
    }

    pub fn with_checkpoint(log: Log, high_watermark: Offset) -> Self {
        let replica = Replica::new(BrokerId(1), TIMING, &log, high_watermark);
        Self { replica, log, now_ms: 0 }
    }

    fn commands(&mut self, event: impl FnOnce(&mut Replica, &Log, i64, &mut Vec<Command>)) -> Vec<Command> {
        let mut out = Vec::new();
        event(&mut self.replica, &self.log, self.now_ms, &mut out);
        self.replica.validate().expect("the invariants hold");
        out
    }

    pub fn assign(&mut self, assignment: Assignment) -> Vec<Command> {
        let commands =
            self.commands(|replica, log, now_ms, out| replica.on_assignment(assignment, log, now_ms, out));
        for command in &commands {
            if let Command::BeginEpoch(epoch) = command {
                self.log.begin(epoch.0);
            }
        }
        commands
    }

    /// A producer's records, which wait for all replicas.
    pub fn append(&mut self, epoch: i32, count: usize) -> Result<(), Refused> {
        self.log.append(epoch, count);
        let end = self.log.log_end();
        self.replica.on_append(LeaderEpoch(epoch), end, true)
    }

    /// Everything becomes durable.
    pub fn sync(&mut self) -> Vec<Command> {
        self.log.durable_end = self.log.log_end();
        let end = self.log.durable_end;
        self.commands(|replica, log, _, out| replica.on_durable(end, log, out))
    }

    pub fn fetch_as(&mut self, fetch: ReplicaFetch) -> (Result<Served, Refused>, Vec<Command>) {
        let mut served = Ok(Served::Records);
        let commands = self.commands(|replica, log, now_ms, out| {
            served = replica.on_replica_fetch(&fetch, log, now_ms, out);
        });
        (served, commands)
    }

    /// Broker `id`'s fetch, with a log that is a prefix of this one.
    pub fn fetch(&mut self, id: i32, offset: Offset) -> Vec<Command> {
        let last_fetched_epoch = self.log.epoch_at(offset - 1).unwrap_or(LeaderEpoch::UNKNOWN);
        let leader_epoch = self.replica.assignment().leader_epoch;
        let fetch = ReplicaFetch {
            replica: BrokerId(id),
            identity: identity(id),
            leader_epoch,
            offset,
            last_fetched_epoch,
        };
        let (served, commands) = self.fetch_as(fetch);
        assert_eq!(served, Ok(Served::Records));
        commands
    }

    pub fn answer(&mut self, outcome: millrace_replication::FetchOutcome) -> Vec<Command> {
        let leader_epoch = self.replica.assignment().leader_epoch;
        let answer = millrace_replication::FetchAnswer { leader_epoch, offset: self.log.log_end(), outcome };
        self.commands(|replica, log, now_ms, out| replica.on_fetch_answer(&answer, log, now_ms, out))
    }

    pub fn appended(&mut self, epoch: i32, count: usize) -> Vec<Command> {
        self.log.append(epoch, count);
        let end = self.log.log_end();
        self.commands(|replica, log, _, out| replica.on_append_fetched(end, log, out))
    }

    /// The log has been cut to `end`.
    pub fn cut_to(&mut self, end: Offset) -> Vec<Command> {
        self.log.truncate(end);
        self.cut(Some(end))
    }

    pub fn cut(&mut self, end: Option<Offset>) -> Vec<Command> {
        self.commands(|replica, log, now_ms, out| replica.on_cut(end, log, now_ms, out))
    }

    pub fn isr_answer(
        &mut self,
        proposal: &millrace_replication::IsrProposal,
        answer: millrace_replication::IsrAnswer,
    ) -> Vec<Command> {
        self.commands(|replica, _, now_ms, out| replica.on_isr_answer(proposal, answer, now_ms, out))
    }

    pub fn at(&mut self, now_ms: i64) -> Vec<Command> {
        self.now_ms = now_ms;
        self.commands(Replica::on_time)
    }

    pub fn high_watermark(&self) -> Offset {
        self.replica.pointers().high_watermark
    }
}
