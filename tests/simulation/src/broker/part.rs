//! One partition of a broker: its log, its core, and those who wait.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::{BrokerId, LeaderEpoch, Offset};
use millrace_log::{LogError, PartitionLog};
use millrace_replication::{Command, Replica, ReplicaFetch, Timing};

use super::Stop;
use super::log::View;
use super::port::Told;
use crate::message::Label;
use crate::mutants::Mutant;
use crate::network::Host;

pub const TIMING: Timing = Timing { lag_max_ms: 2000, retry_ms: 100 };

/// Who waits for a batch to be committed.
pub enum Asker {
    Producer {
        from: Host,
        request: u64,
    },
    /// The broker's own coordinator.
    Coordinator(Told),
}

pub struct Waiting {
    pub asker: Asker,
    pub epoch: LeaderEpoch,
    pub base_offset: Offset,
    /// Where the batch ends.
    pub end: Offset,
    pub labels: Vec<Label>,
}

pub struct Part {
    pub log: Arc<PartitionLog>,
    pub core: Replica,
    pub waiting: Vec<Waiting>,
    /// The records of a fetch answer, until the core wants them appended.
    pub fetched: Option<Bytes>,
    /// Fetches of followers that have all there is.
    pub held: Vec<(Host, ReplicaFetch)>,
    /// A truncation is under way that a power cut would leave done or not.
    taken_back: Option<Offset>,
}

impl Part {
    pub fn new(local: BrokerId, log: Arc<PartitionLog>, mutant: Option<Mutant>) -> Self {
        let mut checkpointed = log.high_watermark();
        if mutant == Some(Mutant::ForgetHighWatermark) {
            checkpointed = 0;
        }
        let core = Replica::new(local, TIMING, &View(&log), checkpointed);
        Self { log, core, waiting: Vec::new(), fetched: None, held: Vec::new(), taken_back: None }
    }

    /// Hands an event to the core, which may look at the log. Returns what it answers and what it wants done.
    pub fn decide<T>(
        &mut self,
        event: impl FnOnce(&mut Replica, &View<'_>, &mut Vec<Command>) -> T,
    ) -> (T, Vec<Command>) {
        let mut out = Vec::new();
        let answer = event(&mut self.core, &View(&self.log), &mut out);
        (answer, out)
    }

    /// Has the log take back what is above `to`. Returns where it ends then.
    pub fn take_back(
        &mut self,
        to: Offset,
        act: impl FnOnce(&PartitionLog) -> Result<Offset, LogError>,
    ) -> Result<Offset, Stop> {
        self.taken_back = Some(to);
        let end = act(&self.log).map_err(|_| Stop::PowerCut)?;
        self.taken_back = None;
        Ok(end)
    }

    /// Up to where a power cut would leave everything there.
    pub fn kept(&self) -> Offset {
        let end = self.log.durable_end_offset();
        self.taken_back.map_or(end, |to| end.min(to))
    }
}
