//! A member of a KIP-848 group: heartbeats carry what it reads and owns, answers bring what it is to own. Pure.
//!
//! Rules:
//! - A heartbeat carries only what has changed since the last that was answered; after a failure it carries all.
//! - What is to be given up goes first; what is new comes when that is done; then the group is told.
//! - A member that the group does not know, or knows with another epoch, has lost all and joins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_base::TopicId;
use millrace_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use millrace_protocol::messages::consumer_group_heartbeat_response::Assignment;
use millrace_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use millrace_protocol::{ErrorCode, StrBytes};

use super::member::{Backoff, Command, Incoming, Member, Outgoing};
use super::types::{GroupSettings, Subscription, TopicPartition};
use crate::error::{GroupError, RequestError, refused};

/// Until the coordinator has said otherwise.
const FIRST_INTERVAL: Duration = Duration::from_secs(3);
const JOIN_EPOCH: i32 = 0;
const LEAVE_EPOCH: i32 = -1;
/// A static member goes for a while and keeps its place.
const LEAVE_EPOCH_STATIC: i32 = -2;

type Partition = (TopicId, i32);

/// What the application is at.
#[derive(Debug)]
enum Step {
    Revoking(BTreeSet<Partition>),
    Assigning(BTreeSet<Partition>),
}

#[derive(Debug)]
pub(crate) struct ConsumerMember {
    settings: GroupSettings,
    member_id: Arc<str>,
    epoch: i32,
    subscription: Option<Subscription>,
    owned: BTreeSet<Partition>,
    target: BTreeSet<Partition>,
    names: BTreeMap<TopicId, Arc<str>>,
    step: Option<Step>,
    /// The group has to be told what is owned.
    unacknowledged: bool,
    /// Subscription and settings are to be sent (again).
    untold: bool,
    in_flight: bool,
    interval: Duration,
    next_heartbeat: Option<Instant>,
    backoff: Backoff,
}

impl ConsumerMember {
    pub(crate) fn new(settings: GroupSettings, member_id: Arc<str>) -> Self {
        Self {
            settings,
            member_id,
            epoch: JOIN_EPOCH,
            subscription: None,
            owned: BTreeSet::new(),
            target: BTreeSet::new(),
            names: BTreeMap::new(),
            step: None,
            unacknowledged: false,
            untold: true,
            in_flight: false,
            interval: FIRST_INTERVAL,
            next_heartbeat: None,
            backoff: Backoff::default(),
        }
    }

    fn named(&self, partitions: &BTreeSet<Partition>) -> Vec<TopicPartition> {
        let named = |(topic, partition): &Partition| {
            Some(TopicPartition { topic: Arc::clone(self.names.get(topic)?), partition: *partition })
        };
        partitions.iter().filter_map(named).collect()
    }

    /// Whatever is due now.
    fn advance(&mut self, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        self.reconcile(&mut commands);
        let due = self.next_heartbeat.is_some_and(|at| at <= now);
        let news = self.step.is_none() && self.unacknowledged && self.backoff_is_over(now);
        if !self.in_flight && (due || news) {
            self.in_flight = true;
            commands.push(Command::Send(Outgoing::ConsumerHeartbeat(self.heartbeat())));
        }
        commands
    }

    /// News do not wait for the interval, but for the pause after a failure.
    fn backoff_is_over(&self, now: Instant) -> bool {
        !self.untold || self.next_heartbeat.is_none_or(|at| at <= now)
    }

    fn reconcile(&mut self, commands: &mut Vec<Command>) {
        if self.step.is_some() {
            return;
        }
        let revoked: BTreeSet<Partition> = self.owned.difference(&self.target).copied().collect();
        if !revoked.is_empty() {
            commands.push(Command::Revoke(self.named(&revoked)));
            self.step = Some(Step::Revoking(revoked));
            return;
        }
        let is_named = |partition: &&Partition| self.names.contains_key(&partition.0);
        let added: BTreeSet<Partition> =
            self.target.difference(&self.owned).filter(is_named).copied().collect();
        if !added.is_empty() {
            commands.push(Command::Assign(self.named(&added)));
            self.step = Some(Step::Assigning(added));
        }
    }

    fn heartbeat(&mut self) -> ConsumerGroupHeartbeatRequest {
        let all = self.untold || self.epoch == JOIN_EPOCH;
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let mut request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.settings.group)))
            .with_member_id(text(&self.member_id))
            .with_member_epoch(self.epoch)
            .with_instance_id(self.settings.instance_id.as_deref().map(text))
            .with_rebalance_timeout_ms(-1)
            .with_topic_partitions(None);
        if all {
            let timeout = self.settings.rebalance_timeout.as_millis();
            request = request
                .with_rack_id(self.settings.rack.as_deref().map(text))
                .with_rebalance_timeout_ms(i32::try_from(timeout).unwrap_or(i32::MAX))
                .with_server_assignor(self.settings.server_assignor.as_deref().map(text));
            request = match &self.subscription {
                Some(Subscription::Topics(topics)) => {
                    let topics = topics.iter().map(|topic| TopicName(text(topic))).collect();
                    request.with_subscribed_topic_names(Some(topics))
                }
                Some(Subscription::Pattern(pattern)) => {
                    request.with_subscribed_topic_regex(Some(text(pattern)))
                }
                None => request,
            };
        }
        if all || (self.unacknowledged && self.step.is_none()) {
            request = request.with_topic_partitions(Some(by_topic(&self.owned)));
            self.unacknowledged = self.step.is_some();
        }
        self.untold = false;
        request
    }

    fn on_response(&mut self, response: ConsumerGroupHeartbeatResponse, now: Instant) -> Vec<Command> {
        let Some(code) = ErrorCode::try_from_code(response.error_code) else {
            self.backoff.reset();
            self.epoch = response.member_epoch;
            if let Some(id) = response.member_id.filter(|id| !id.is_empty()) {
                self.member_id = Arc::from(&*id);
            }
            self.interval = Duration::from_millis(u64::try_from(response.heartbeat_interval_ms).unwrap_or(0))
                .max(Duration::from_millis(1));
            self.next_heartbeat = Some(now + self.interval);
            if let Some(assignment) = response.assignment {
                self.target = partitions(assignment);
                self.unacknowledged = true;
            }
            let mut commands = self.advance(now);
            let unnamed = self.unnamed();
            if !unnamed.is_empty() {
                commands.push(Command::NameTopics(unnamed));
            }
            return commands;
        };
        let error = |message: Option<&str>| {
            let what = format!("group '{}'", self.settings.group);
            refused("ConsumerGroupHeartbeat", what, response.error_code, message)
        };
        match code {
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => {
                let mut commands = self.lose();
                self.next_heartbeat = Some(now);
                commands.extend(self.advance(now));
                commands
            }
            // The former holder of the instance id is there until its session ends.
            ErrorCode::UnreleasedInstanceId => self.again(now, Vec::new()),
            ErrorCode::FencedInstanceId => self.fail(GroupError::InstanceFenced {
                group: self.settings.group.to_string(),
                instance: self.settings.instance_id.as_deref().unwrap_or_default().to_owned(),
            }),
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.again(now, vec![Command::FindCoordinator])
            }
            code if code.is_retriable() => self.again(now, Vec::new()),
            _ => self.fail(error(response.error_message.as_deref()).into()),
        }
    }

    /// The same heartbeat, with all that it can carry, after a pause.
    fn again(&mut self, now: Instant, commands: Vec<Command>) -> Vec<Command> {
        self.untold = true;
        self.next_heartbeat = Some(self.backoff.next(now));
        commands
    }

    /// Nothing is this member's any more, and it is as before its first heartbeat.
    fn lose(&mut self) -> Vec<Command> {
        let mut lost = std::mem::take(&mut self.owned);
        if let Some(Step::Assigning(partitions)) = self.step.take() {
            lost.extend(partitions);
        }
        self.target.clear();
        self.epoch = JOIN_EPOCH;
        self.unacknowledged = false;
        self.untold = true;
        if lost.is_empty() { Vec::new() } else { vec![Command::Lose(self.named(&lost))] }
    }

    fn fail(&mut self, error: GroupError) -> Vec<Command> {
        let mut commands = self.lose();
        self.next_heartbeat = None;
        self.subscription = None;
        commands.push(Command::Fail(error));
        commands
    }

    fn unnamed(&self) -> Vec<TopicId> {
        let unnamed: BTreeSet<TopicId> = self
            .target
            .iter()
            .map(|(topic, _)| *topic)
            .filter(|topic| !self.names.contains_key(topic))
            .collect();
        unnamed.into_iter().collect()
    }
}

impl Member for ConsumerMember {
    fn subscribe(&mut self, subscription: Subscription, now: Instant) -> Vec<Command> {
        self.subscription = Some(subscription);
        self.untold = true;
        self.next_heartbeat = Some(now);
        self.advance(now)
    }

    fn on_time(&mut self, now: Instant) -> Vec<Command> {
        self.advance(now)
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_heartbeat.filter(|_| !self.in_flight)
    }

    fn on_answer(&mut self, answer: Result<Incoming, RequestError>, now: Instant) -> Vec<Command> {
        self.in_flight = false;
        if self.next_heartbeat.is_none() {
            return Vec::new();
        }
        match answer {
            Ok(Incoming::ConsumerHeartbeat(response)) => self.on_response(response, now),
            Ok(_) => Vec::new(),
            Err(error) if error.is_retriable() => self.again(now, vec![Command::FindCoordinator]),
            Err(error) => self.fail(error.into()),
        }
    }

    fn on_done(&mut self, now: Instant) -> Vec<Command> {
        match self.step.take() {
            Some(Step::Revoking(partitions)) => self.owned.retain(|one| !partitions.contains(one)),
            Some(Step::Assigning(partitions)) => self.owned.extend(partitions),
            None => return Vec::new(),
        }
        self.unacknowledged = true;
        self.advance(now)
    }

    fn on_names(&mut self, names: &[(TopicId, Arc<str>)], now: Instant) -> Vec<Command> {
        self.names.extend(names.iter().cloned());
        self.advance(now)
    }

    fn on_counts(&mut self, _: &BTreeMap<Arc<str>, i32>, _: Instant) -> Vec<Command> {
        Vec::new()
    }

    fn leave(&mut self) -> Option<Outgoing> {
        let joined = self.epoch > JOIN_EPOCH || self.in_flight;
        self.lose();
        self.next_heartbeat = None;
        self.in_flight = false;
        self.subscription = None;
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let epoch = if self.settings.instance_id.is_some() { LEAVE_EPOCH_STATIC } else { LEAVE_EPOCH };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.settings.group)))
            .with_member_id(text(&self.member_id))
            .with_instance_id(self.settings.instance_id.as_deref().map(text))
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(-1)
            .with_topic_partitions(None);
        joined.then_some(Outgoing::ConsumerHeartbeat(request))
    }

    fn identity(&self) -> Option<(Arc<str>, i32)> {
        (self.epoch > JOIN_EPOCH).then(|| (Arc::clone(&self.member_id), self.epoch))
    }

    fn owned(&self) -> Vec<TopicPartition> {
        self.named(&self.owned)
    }
}

fn by_topic(partitions: &BTreeSet<Partition>) -> Vec<TopicPartitions> {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for (topic, partition) in partitions {
        match topics.last_mut().filter(|last| last.topic_id == topic.0) {
            Some(last) => last.partitions.push(*partition),
            None => topics
                .push(TopicPartitions::default().with_topic_id(topic.0).with_partitions(vec![*partition])),
        }
    }
    topics
}

fn partitions(assignment: Assignment) -> BTreeSet<Partition> {
    let of_topic =
        |topic: millrace_protocol::messages::consumer_group_heartbeat_response::TopicPartitions| {
            let id = TopicId(topic.topic_id);
            topic.partitions.into_iter().map(move |partition| (id, partition))
        };
    assignment.topic_partitions.into_iter().flat_map(of_topic).collect()
}

#[cfg(test)]
#[path = "consumer_tests.rs"]
mod tests;
