//! What both protocols' cores have in common: the events that they take and the commands that they give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_base::TopicId;
use millrace_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse,
};

use super::types::{Subscription, TopicPartition};
use crate::error::{GroupError, RequestError};

/// Pause before a request is sent again, at first and at most.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// To the coordinator. One at a time is on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outgoing {
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
}

/// What came back for an [`Outgoing`].
#[derive(Clone, Debug)]
pub(crate) enum Incoming {
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    /// Nothing in it matters: the member is gone either way.
    Left,
}

/// What the driver has to do.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Send this and hand the answer to [`Member::on_answer`].
    Send(Outgoing),
    /// The coordinator is elsewhere, or gone: find it before the next request.
    FindCoordinator,
    /// Have the application give these up, then call [`Member::on_done`].
    Revoke(Vec<TopicPartition>),
    /// Give these to the application, then call [`Member::on_done`].
    Assign(Vec<TopicPartition>),
    /// Tell the application that others have these by now. What it was at is not reported any more.
    Lose(Vec<TopicPartition>),
    /// Call [`Member::on_names`] with the names of these topics.
    NameTopics(Vec<TopicId>),
    /// Call [`Member::on_counts`] with the numbers of partitions of these topics.
    CountPartitions(Vec<Arc<str>>),
    /// Taking part has ended: only a change by the user helps.
    Fail(GroupError),
}

/// A member of a group, of one protocol. Everything returns what is to be done next.
pub(crate) trait Member: Send {
    /// Takes part, or goes on with another subscription.
    fn subscribe(&mut self, subscription: Subscription, now: Instant) -> Vec<Command>;
    fn on_time(&mut self, now: Instant) -> Vec<Command>;
    /// When [`Member::on_time`] has something to do.
    fn deadline(&self) -> Option<Instant>;
    fn on_answer(&mut self, answer: Result<Incoming, RequestError>, now: Instant) -> Vec<Command>;
    /// The application is through with the last [`Command::Revoke`] or [`Command::Assign`].
    fn on_done(&mut self, now: Instant) -> Vec<Command>;
    fn on_names(&mut self, names: &[(TopicId, Arc<str>)], now: Instant) -> Vec<Command>;
    fn on_counts(&mut self, counts: &BTreeMap<Arc<str>, i32>, now: Instant) -> Vec<Command>;
    /// The request with which to leave, if there is anything to leave. Whatever was owned counts as lost.
    fn leave(&mut self) -> Option<Outgoing>;
    /// Member id and generation (or epoch) for commits; None outside of the group.
    fn identity(&self) -> Option<(Arc<str>, i32)>;
    fn owned(&self) -> Vec<TopicPartition>;
}

/// Growing pauses between attempts.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn next(&mut self, now: Instant) -> Instant {
        let pause = BACKOFF.saturating_mul(1 << self.failures.min(4)).min(BACKOFF_MAX);
        self.failures += 1;
        now + pause
    }

    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}
