//! Groups to which the coordinator assigns (KIP-848), as a pure core: requests, moments and the state in; records and
//! answers out. No lock, no task, no clock.
//!
//! A group is what its records say, and nothing else but the time until its members are given up. Whenever what its
//! members read changes, the group's epoch does, and a new target is made for all of them. Each member goes there on its
//! own, heartbeat by heartbeat: it gives up what it is to lose, and only then has the target's epoch and is given what
//! others have given up. Nobody else is stopped by it. Who speaks with another epoch than its own is fenced.
//!
//! The rules, and their order in a heartbeat, are those of Kafka's coordinator.

mod checks;
mod describe;
mod draft;
mod group;
mod heartbeat;
mod leave;
mod pattern;
mod reconcile;
mod sessions;
mod target;
#[cfg(test)]
mod tests;

use std::time::Duration;

use millrace_base::TopicId;

pub(super) use checks::{check_commit, check_fetch};
pub use describe::{ConsumerDescription, ConsumerMember};
pub(super) use group::ConsumerGroup;
pub(super) use heartbeat::on_heartbeat;
pub(super) use leave::{forget, leave};
pub(super) use sessions::{Sessions, Step as SessionStep};

use super::assignor::Assignment;

/// The member's epoch when it joins.
const JOIN_EPOCH: i32 = 0;
/// The epoch with which a member leaves.
const LEAVE_EPOCH: i32 = -1;
/// The epoch with which a static member leaves to come back.
const LEAVE_STATIC_EPOCH: i32 = -2;

/// What operators set.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// Members of a group.
    pub members_max: usize,
}

/// The topics that there are.
pub trait Topics: Send + Sync {
    /// The id of a topic and how many partitions it has.
    fn find(&self, name: &str) -> Option<(TopicId, i32)>;

    fn names(&self) -> Vec<String>;

    /// Another one whenever anything of it is.
    fn version(&self) -> u64;
}

/// A member says that it lives, what it wants and what it has. What is `None` is as it said before.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    pub group: String,
    pub member: String,
    pub epoch: i32,
    pub instance: Option<String>,
    pub rack: Option<String>,
    /// -1 for as before.
    pub rebalance_timeout_ms: i32,
    pub topics: Option<Vec<String>>,
    pub pattern: Option<String>,
    pub assignor: Option<String>,
    pub owned: Option<Assignment>,
    pub client_id: String,
    pub client_host: String,
}

impl ConsumerHeartbeat {
    /// The member says all that it can: it wants all that there is to be told.
    const fn is_full(&self) -> bool {
        self.epoch == JOIN_EPOCH
            || (self.rebalance_timeout_ms != -1
                && (self.topics.is_some() || self.pattern.is_some())
                && self.owned.is_some())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerBeat {
    pub member: String,
    pub epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// What it is to read, if that is news.
    pub assignment: Option<Assignment>,
}
