//! Groups whose members assign partitions themselves (Kafka's classic protocol), as a pure core: requests, moments and
//! what became of records in; answers and records out. No lock, no task, no clock.
//!
//! The rules are those of Kafka's coordinator: a group is joined, its leader assigns, the assignment is written down
//! and then told. Every change of members begins another generation; who speaks for an earlier one is fenced. Static
//! members (KIP-345) come back under another member id without one; the ids of dynamic members are given before they
//! join (KIP-394), so that a member that never got its id leaves nothing behind.
//!
//! What members wait for ends with the rebalance timeout, and each of them with its session timeout, so that nothing
//! here outlives those who asked for it.

mod group;
mod join;
mod live;
mod member;
mod rebalance;
mod sync;
#[cfg(test)]
mod tests;
mod timers;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use group::{Group, State};
pub(super) use live::{Live, Step};

use super::error::GroupError;
use super::format::classic::GroupRecord;

/// A moment, and the same on the wall's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub instant: Instant,
    pub wall_ms: i64,
}

/// What operators set.
#[derive(Clone, Debug)]
pub struct ClassicSettings {
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    /// How long the first members of a group wait for others.
    pub initial_rebalance_delay: Duration,
    /// Members of a group.
    pub members_max: usize,
}

/// Who waits for an answer.
pub(super) type Waiter = u64;

/// How a member assigns, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberProtocol {
    pub name: String,
    pub metadata: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub group: String,
    /// Empty for who has none yet.
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    pub protocols: Vec<MemberProtocol>,
    /// The client knows to come back with the id that it is given.
    pub takes_member_id: bool,
    /// The client knows that a leader may have nothing to assign.
    pub may_skip_assignment: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub member: String,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub skip_assignment: bool,
    /// For the leader: everyone.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub id: String,
    pub instance: Option<String>,
    pub metadata: Vec<u8>,
}

/// A refusal, and the id that the member has or is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    pub error: GroupError,
    pub member: String,
}

pub type JoinAnswer = Result<Joined, JoinRefused>;

/// A member as requests after the join name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberName {
    pub id: String,
    pub instance: Option<String>,
}

#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub group: String,
    pub member: MemberName,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Of the leader: what each member has.
    pub assignments: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Vec<u8>,
}

pub type SyncAnswer = Result<Synced, GroupError>;

/// Why a record is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The generation's assignments are told when they are stored.
    Assign,
    /// Nobody is left.
    Empty,
    /// A static member came back; it is told when its new id is stored.
    Replace { waiter: Waiter, joined: Box<Joined> },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Joined(Waiter, Box<JoinAnswer>),
    Synced(Waiter, SyncAnswer),
    /// Write the group's record, and say with [`Live::on_stored`] what became of it.
    Store {
        group: Arc<str>,
        generation: i32,
        record: GroupRecord,
        purpose: Purpose,
    },
}
