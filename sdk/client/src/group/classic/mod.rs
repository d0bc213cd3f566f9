//! A member of a classic group: it joins, one of the members assigns, all are told, and heartbeats keep it. Pure.
//!
//! Rules:
//! - With eager assignors everything is given up before joining again; with cooperative ones only what an assignment
//!   takes away, after which the member joins again, so that others get it.
//! - A member that the group does not know (any more) has lost all and joins as a new one.

mod assign;
pub(crate) mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_base::TopicId;
use millrace_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use millrace_protocol::messages::leave_group_request::MemberIdentity;
use millrace_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use millrace_protocol::messages::{
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupResponse,
};
use millrace_protocol::{ErrorCode, StrBytes};

use super::member::{Backoff, Command, Incoming, Member, Outgoing};
use super::types::{Assignor, GroupSettings, Subscription, TopicPartition};
use crate::error::{GroupError, RequestError, refused};
use assign::{Members, assign};
use subscription::{
    MemberSubscription, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};

const PROTOCOL_TYPE: &str = "consumer";
const NO_GENERATION: i32 = -1;

/// What the application is at.
#[derive(Debug)]
enum Step {
    /// Gives up all before joining.
    Preparing,
    /// Gives up these, then takes those.
    Revoking(BTreeSet<TopicPartition>, BTreeSet<TopicPartition>),
    Assigning(BTreeSet<TopicPartition>),
}

/// This member leads: what it assigns, as soon as it knows how many partitions there are.
#[derive(Debug)]
struct Leading {
    assignor: Assignor,
    members: Members,
    /// None while they are asked for.
    counts: Option<BTreeMap<Arc<str>, i32>>,
}

#[derive(Debug)]
pub(crate) struct ClassicMember {
    settings: GroupSettings,
    member_id: Arc<str>,
    generation: i32,
    protocol: Option<StrBytes>,
    topics: Option<BTreeSet<Arc<str>>>,
    owned: BTreeSet<TopicPartition>,
    step: Option<Step>,
    leading: Option<Leading>,
    /// To be joined (again) as soon as nothing stands in the way.
    rejoin: bool,
    /// Between the answer to a join and that to its sync.
    syncing: bool,
    in_flight: bool,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    next_heartbeat: Option<Instant>,
    backoff: Backoff,
}

impl ClassicMember {
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            member_id: Arc::from(""),
            generation: NO_GENERATION,
            protocol: None,
            topics: None,
            owned: BTreeSet::new(),
            step: None,
            leading: None,
            rejoin: false,
            syncing: false,
            in_flight: false,
            not_before: None,
            next_heartbeat: None,
            backoff: Backoff::default(),
        }
    }

    fn is_cooperative(&self) -> bool {
        self.settings.assignors.iter().all(|assignor| *assignor == Assignor::CooperativeSticky)
    }

    fn advance(&mut self, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.in_flight || self.topics.is_none() || self.not_before.is_some_and(|at| at > now) {
            return commands;
        }
        self.not_before = None;
        if self.rejoin && self.step.is_none() {
            if !self.is_cooperative() && !self.owned.is_empty() {
                self.step = Some(Step::Preparing);
                commands.push(Command::Revoke(self.owned.iter().cloned().collect()));
            } else {
                self.rejoin = false;
                self.syncing = true;
                self.send(Outgoing::Join(self.join()), &mut commands);
                return commands;
            }
        }
        if self.generation != NO_GENERATION
            && !self.syncing
            && self.next_heartbeat.is_some_and(|at| at <= now)
        {
            self.send(Outgoing::Heartbeat(self.heartbeat()), &mut commands);
        }
        commands
    }

    fn send(&mut self, request: Outgoing, commands: &mut Vec<Command>) {
        self.in_flight = true;
        commands.push(Command::Send(request));
    }

    fn join(&self) -> JoinGroupRequest {
        let subscription = MemberSubscription {
            topics: self.topics.clone().unwrap_or_default(),
            owned: self.owned.clone(),
            generation: self.generation,
        };
        let metadata = encode_subscription(&subscription, self.settings.rack.as_deref());
        let protocol = |assignor: &Assignor| {
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(assignor.name()))
                .with_metadata(metadata.clone())
        };
        JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(self.settings.session_timeout))
            .with_rebalance_timeout_ms(millis(self.settings.rebalance_timeout))
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(self.settings.assignors.iter().map(protocol).collect())
    }

    fn heartbeat(&self) -> HeartbeatRequest {
        HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
    }

    fn sync(&self, assignments: Vec<SyncGroupRequestAssignment>) -> SyncGroupRequest {
        SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(self.protocol.clone())
            .with_assignments(assignments)
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(&self.settings.group))
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.settings.instance_id.as_deref().map(text)
    }

    fn on_joined(&mut self, response: JoinGroupResponse, now: Instant) -> Vec<Command> {
        let code = ErrorCode::try_from_code(response.error_code);
        if code == Some(ErrorCode::MemberIdRequired) {
            self.member_id = Arc::from(&*response.member_id);
            return self.join_again(now);
        }
        if let Some(code) = code {
            return self.on_error("JoinGroup", code, now);
        }
        self.member_id = Arc::from(&*response.member_id);
        self.generation = response.generation_id;
        self.protocol = response.protocol_name;
        self.leading = None;
        if *response.leader != *self.member_id || response.skip_assignment {
            let mut commands = Vec::new();
            self.send(Outgoing::Sync(self.sync(Vec::new())), &mut commands);
            return commands;
        }
        let chosen = self.protocol.as_deref().unwrap_or_default();
        let assignor = self.settings.assignors.iter().copied().find(|one| one.name() == chosen);
        let Some(assignor) = assignor else {
            let reason = format!("its coordinator has chosen the assignor '{chosen}', which was not offered");
            return self.fail(GroupError::Settings { group: self.settings.group.to_string(), reason });
        };
        let mut members = Members::new();
        for member in response.members {
            // One whose subscription cannot be read gets nothing.
            let read = decode_subscription(member.metadata).unwrap_or_default();
            members.insert(Arc::from(&*member.member_id), read);
        }
        let topics: BTreeSet<Arc<str>> =
            members.values().flat_map(|member| member.topics.iter().cloned()).collect();
        self.leading = Some(Leading { assignor, members, counts: None });
        vec![Command::CountPartitions(topics.into_iter().collect())]
    }

    fn on_synced(&mut self, response: SyncGroupResponse, now: Instant) -> Vec<Command> {
        if let Some(code) = ErrorCode::try_from_code(response.error_code) {
            return self.on_error("SyncGroup", code, now);
        }
        let Some(target) = decode_assignment(response.assignment) else {
            let reason = "its leader's assignment is not in the format of Kafka's consumers".to_owned();
            return self.fail(GroupError::Settings { group: self.settings.group.to_string(), reason });
        };
        self.backoff.reset();
        self.syncing = false;
        self.next_heartbeat = Some(now + self.settings.heartbeat_interval);
        let revoked: BTreeSet<TopicPartition> = self.owned.difference(&target).cloned().collect();
        let added: BTreeSet<TopicPartition> = target.difference(&self.owned).cloned().collect();
        if revoked.is_empty() {
            return self.take(added, now);
        }
        // Others wait for these.
        self.rejoin = true;
        let command = Command::Revoke(revoked.iter().cloned().collect());
        self.step = Some(Step::Revoking(revoked, added));
        vec![command]
    }

    fn take(&mut self, added: BTreeSet<TopicPartition>, now: Instant) -> Vec<Command> {
        if added.is_empty() {
            return self.advance(now);
        }
        let command = Command::Assign(added.iter().cloned().collect());
        self.step = Some(Step::Assigning(added));
        vec![command]
    }

    fn on_heartbeat(&mut self, response: &HeartbeatResponse, now: Instant) -> Vec<Command> {
        self.next_heartbeat = Some(now + self.settings.heartbeat_interval);
        match ErrorCode::try_from_code(response.error_code) {
            None => {
                self.backoff.reset();
                self.advance(now)
            }
            Some(code) => self.on_error("Heartbeat", code, now),
        }
    }

    fn on_error(&mut self, api: &'static str, code: ErrorCode, now: Instant) -> Vec<Command> {
        match code {
            ErrorCode::RebalanceInProgress => self.join_again(now),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                if code == ErrorCode::UnknownMemberId {
                    self.member_id = Arc::from("");
                }
                let mut commands = self.lose();
                commands.extend(self.join_again(now));
                commands
            }
            ErrorCode::FencedInstanceId => self.fail(GroupError::InstanceFenced {
                group: self.settings.group.to_string(),
                instance: self.settings.instance_id.as_deref().unwrap_or_default().to_owned(),
            }),
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.pause(now, vec![Command::FindCoordinator])
            }
            code if code.is_retriable() => self.pause(now, Vec::new()),
            ErrorCode::InconsistentGroupProtocol => {
                let names: Vec<&str> = self.settings.assignors.iter().map(|one| one.name()).collect();
                let reason = format!(
                    "its members have no assignor in common with this one's ({}), or it is no group of consumers; \
                     name theirs with ConsumerBuilder::assignors",
                    names.join(", ")
                );
                self.fail(GroupError::Settings { group: self.settings.group.to_string(), reason })
            }
            _ => {
                let what = format!("group '{}'", self.settings.group);
                self.fail(refused(api, what, code.code(), None).into())
            }
        }
    }

    fn join_again(&mut self, now: Instant) -> Vec<Command> {
        self.rejoin = true;
        self.syncing = false;
        self.advance(now)
    }

    /// What was interrupted goes on after a pause: a heartbeat as such, everything else by joining again.
    fn pause(&mut self, now: Instant, commands: Vec<Command>) -> Vec<Command> {
        self.rejoin |= self.syncing;
        self.syncing = false;
        self.not_before = Some(self.backoff.next(now));
        if self.generation != NO_GENERATION {
            self.next_heartbeat = self.not_before;
        }
        commands
    }

    fn lose(&mut self) -> Vec<Command> {
        let mut lost = std::mem::take(&mut self.owned);
        match self.step.take() {
            Some(Step::Assigning(partitions) | Step::Revoking(_, partitions)) => lost.extend(partitions),
            Some(Step::Preparing) | None => {}
        }
        self.generation = NO_GENERATION;
        self.leading = None;
        self.next_heartbeat = None;
        self.syncing = false;
        if lost.is_empty() { Vec::new() } else { vec![Command::Lose(lost.into_iter().collect())] }
    }

    fn fail(&mut self, error: GroupError) -> Vec<Command> {
        let mut commands = self.lose();
        self.topics = None;
        self.rejoin = false;
        commands.push(Command::Fail(error));
        commands
    }
}

impl Member for ClassicMember {
    fn subscribe(&mut self, subscription: Subscription, now: Instant) -> Vec<Command> {
        match subscription {
            Subscription::Topics(topics) => self.topics = Some(topics.into_iter().collect()),
            Subscription::Pattern(pattern) => {
                let reason = format!(
                    "the pattern '{pattern}' is matched by the brokers, which the classic protocol does not have; \
                     subscribe to topics by name or use GroupProtocol::Consumer"
                );
                return self.fail(GroupError::Settings { group: self.settings.group.to_string(), reason });
            }
        }
        self.rejoin = true;
        self.advance(now)
    }

    fn on_time(&mut self, now: Instant) -> Vec<Command> {
        self.advance(now)
    }

    fn deadline(&self) -> Option<Instant> {
        if self.in_flight {
            return None;
        }
        let heartbeat = self.next_heartbeat.filter(|_| !self.syncing);
        self.not_before.or(heartbeat)
    }

    fn on_answer(&mut self, answer: Result<Incoming, RequestError>, now: Instant) -> Vec<Command> {
        self.in_flight = false;
        if self.topics.is_none() {
            return Vec::new();
        }
        match answer {
            Ok(Incoming::Join(response)) => self.on_joined(response, now),
            Ok(Incoming::Sync(response)) => self.on_synced(response, now),
            Ok(Incoming::Heartbeat(response)) => self.on_heartbeat(&response, now),
            Ok(_) => Vec::new(),
            Err(error) if error.is_retriable() => self.pause(now, vec![Command::FindCoordinator]),
            Err(error) => self.fail(error.into()),
        }
    }

    fn on_done(&mut self, now: Instant) -> Vec<Command> {
        match self.step.take() {
            Some(Step::Preparing) => self.owned.clear(),
            Some(Step::Revoking(revoked, added)) => {
                self.owned.retain(|one| !revoked.contains(one));
                return self.take(added, now);
            }
            Some(Step::Assigning(added)) => self.owned.extend(added),
            None => {}
        }
        self.advance(now)
    }

    fn on_names(&mut self, _: &[(TopicId, Arc<str>)], _: Instant) -> Vec<Command> {
        Vec::new()
    }

    /// For the assignment that waits for them; afterwards, a change is a reason to assign anew.
    fn on_counts(&mut self, counts: &BTreeMap<Arc<str>, i32>, now: Instant) -> Vec<Command> {
        let Some(leading) = &mut self.leading else { return Vec::new() };
        if let Some(known) = &leading.counts {
            if known == counts || self.syncing || self.rejoin {
                return Vec::new();
            }
            leading.counts = Some(counts.clone());
            return self.join_again(now);
        }
        leading.counts = Some(counts.clone());
        let assignments = assign(leading.assignor, &leading.members, counts);
        let assignment = |(member, partitions): (&Arc<str>, &BTreeSet<TopicPartition>)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(Bytes::clone(&encode_assignment(partitions)))
        };
        let request = self.sync(assignments.iter().map(assignment).collect());
        let mut commands = Vec::new();
        self.send(Outgoing::Sync(request), &mut commands);
        commands
    }

    fn leave(&mut self) -> Option<Outgoing> {
        let joined = !self.member_id.is_empty();
        self.lose();
        self.topics = None;
        self.rejoin = false;
        self.in_flight = false;
        self.not_before = None;
        let member_id = std::mem::replace(&mut self.member_id, Arc::from(""));
        // A static member keeps its place until its session ends.
        if !joined || self.settings.instance_id.is_some() {
            return None;
        }
        let member = MemberIdentity::default().with_member_id(text(&member_id));
        let request = LeaveGroupRequest::default().with_group_id(self.group_id()).with_members(vec![member]);
        Some(Outgoing::Leave(request))
    }

    fn identity(&self) -> Option<(Arc<str>, i32)> {
        (self.generation != NO_GENERATION).then(|| (Arc::clone(&self.member_id), self.generation))
    }

    fn owned(&self) -> Vec<TopicPartition> {
        self.owned.iter().cloned().collect()
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
