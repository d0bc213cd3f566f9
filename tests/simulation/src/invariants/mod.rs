//! What must hold, whatever happens: one file each. They are told what hosts do, and may look at all of them at once,
//! as nobody in a real cluster can.

mod acknowledged;
mod committed;
mod disks_keep;
mod in_sync;
mod offsets;
mod once;
mod one_leader;
mod readers;
mod watermark;

use std::collections::BTreeMap;
use std::fmt;

use millrace_base::{Offset, TopicPartition};

use crate::agenda::{SECOND, Time};
use crate::broker::Broker;
use crate::effects::Fact;
use crate::quorum::Quorum;

/// Everything there is to see.
pub struct Look<'a> {
    pub quorum: &'a Quorum,
    pub brokers: &'a BTreeMap<i32, Broker>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub at: Time,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s: {}", self.invariant, self.at as f64 / SECOND as f64, self.what)
    }
}

/// One of them.
trait Invariant {
    fn name(&self) -> &'static str;

    fn observe(&mut self, fact: &Fact, look: &Look<'_>) -> Result<(), String>;

    /// When all is whole again and everybody has what they want.
    fn at_the_end(&mut self, _look: &Look<'_>) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Default)]
pub struct Invariants {
    committed: committed::CommittedLogsAgree,
    acknowledged: acknowledged::AcknowledgedIsKept,
    one_leader: one_leader::OneLeaderAnEpoch,
    watermark: watermark::HighWatermarkNeverFalls,
    in_sync: in_sync::InSyncHaveIt,
    once: once::OnceAndInOrder,
    readers: readers::OneValueForAll,
    disks_keep: disks_keep::DisksKeep,
    offsets: offsets::OffsetsNeverGoBack,
}

impl Invariants {
    fn all(&mut self) -> [&mut dyn Invariant; 9] {
        [
            &mut self.disks_keep,
            &mut self.committed,
            &mut self.one_leader,
            &mut self.watermark,
            &mut self.in_sync,
            &mut self.once,
            &mut self.readers,
            &mut self.offsets,
            &mut self.acknowledged,
        ]
    }

    pub fn observe(&mut self, fact: &Fact, at: Time, look: &Look<'_>) -> Result<(), Violation> {
        if let Fact::Broken(what) = fact {
            return Err(Violation { invariant: "a host's own rules", at, what: what.clone() });
        }
        for invariant in self.all() {
            let name = invariant.name();
            invariant.observe(fact, look).map_err(|what| Violation { invariant: name, at, what })?;
        }
        Ok(())
    }

    pub fn at_the_end(&mut self, look: &Look<'_>, at: Time) -> Result<(), Violation> {
        for invariant in self.all() {
            let name = invariant.name();
            invariant.at_the_end(look).map_err(|what| Violation { invariant: name, at, what })?;
        }
        Ok(())
    }

    /// Batches that clients were told are stored.
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged.count()
    }

    /// Up to where anybody has committed.
    pub fn committed_end(&self, partition: &TopicPartition) -> Offset {
        self.committed.end(partition)
    }
}
