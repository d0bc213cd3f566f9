//! One group: its members, its generation, and the rules that need no time and answer nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::error::GroupError;
use super::super::format::classic::GroupRecord;
use super::member::Member;
use super::timers::Timer;
use super::{JoinedMember, MemberName, MemberProtocol};

/// Where a group is between two generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum State {
    /// It has no members.
    Empty,
    /// Members join; at first there were none if `is_initial`.
    PreparingRebalance {
        is_initial: bool,
    },
    /// All have joined, and wait for what the leader assigns.
    CompletingRebalance,
    Stable,
}

impl State {
    /// Its name in Kafka.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance { .. } => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }

    pub const fn is_preparing(self) -> bool {
        matches!(self, Self::PreparingRebalance { .. })
    }
}

/// About what a group takes in memory without its name and its members.
const GROUP_BYTES: usize = 512;
/// About what somebody takes who was given an id, without the id.
const PENDING_BYTES: usize = 256;

/// See the module's text.
#[derive(Debug)]
pub(in crate::groups) struct Group {
    pub state: State,
    pub protocol_type: Option<String>,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub state_since_ms: i64,
    pub members: BTreeMap<String, Member>,
    /// Member ids by instance id.
    pub(super) instances: BTreeMap<String, String>,
    /// Ids that were given, and until when they are waited for.
    pub(super) pending: BTreeMap<String, Timer>,
    /// How many members have each protocol.
    supported: BTreeMap<String, usize>,
    /// How many members wait for the join phase to end.
    joining: usize,
    pub(super) join_timer: Timer,
    pub(super) sync_timer: Timer,
    /// Of the first rebalance: somebody joined since it was last looked at, and how much longer it may be put off.
    pub(super) grew: bool,
    pub(super) delay_left: Duration,
    /// The record says what is here, or nothing has to be said.
    pub(super) is_stored: bool,
    /// About what all of it takes in memory.
    pub(super) bytes: usize,
}

impl Group {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            state: State::Empty,
            protocol_type: None,
            generation: 0,
            protocol: None,
            leader: None,
            state_since_ms: now_ms,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            supported: BTreeMap::new(),
            joining: 0,
            join_timer: Timer::default(),
            sync_timer: Timer::default(),
            grew: false,
            delay_left: Duration::ZERO,
            is_stored: true,
            bytes: GROUP_BYTES,
        }
    }

    /// As its record has it.
    pub(super) fn restored(record: &GroupRecord) -> Self {
        let mut group = Self::new(record.state_since_ms);
        group.protocol_type = Some(record.protocol_type.clone()).filter(|kind| !kind.is_empty());
        group.generation = record.generation;
        group.protocol.clone_from(&record.protocol);
        let protocol = record.protocol.as_deref().unwrap_or_default();
        for member in &record.members {
            group.add(member.id.clone(), Member::restored(member, protocol));
        }
        group.leader = record.leader.clone().filter(|leader| group.members.contains_key(leader));
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group
    }

    pub(super) fn record(&self) -> GroupRecord {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        GroupRecord {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.state_since_ms,
            members: self.members.iter().map(|(id, member)| member.record(id, protocol)).collect(),
        }
    }

    /// Whether forgetting it loses nothing that its record does not say.
    pub(super) fn is_vacant(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty() && self.is_stored
    }

    pub(super) fn enter(&mut self, state: State, now_ms: i64) {
        self.state = state;
        self.state_since_ms = now_ms;
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(super) fn add(&mut self, id: String, member: Member) {
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.count(&member, true);
        self.members.insert(id, member);
    }

    /// Somebody was given an id, and has until then to join with it.
    pub(super) fn expect(&mut self, id: String, timer: Timer) {
        self.bytes += pending_bytes(&id);
        self.pending.insert(id, timer);
    }

    /// Whoever was given the id has come, or is not waited for any more. The timer is the caller's to stop.
    pub(super) fn expect_no_more(&mut self, id: &str) -> Option<Timer> {
        let timer = self.pending.remove(id)?;
        self.bytes -= pending_bytes(id);
        Some(timer)
    }

    /// Whoever waited for the member is the caller's to answer.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.count(&member, false);
        if let Some(instance) = &member.instance
            && self.instances.get(instance).is_some_and(|known| known == id)
        {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// The same member under another id; its leadership goes with it.
    pub(super) fn rename(&mut self, id: &str, new: &str) {
        let was_leader = self.is_leader(id);
        let Some(member) = self.remove(id) else { return };
        self.add(new.to_owned(), member);
        if was_leader {
            self.leader = Some(new.to_owned());
        }
    }

    pub(super) fn set_protocols(&mut self, id: &str, protocols: Vec<MemberProtocol>) {
        self.change(id, |member| member.protocols = protocols);
    }

    /// Changes what is counted about a member.
    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut Member)) {
        let Some(mut member) = self.members.remove(id) else { return };
        self.count(&member, false);
        change(&mut member);
        self.count(&member, true);
        self.members.insert(id.to_owned(), member);
    }

    fn count(&mut self, member: &Member, is_added: bool) {
        if is_added {
            self.bytes += member.bytes();
            self.joining += usize::from(member.joining.is_some());
        } else {
            self.bytes -= member.bytes();
            self.joining -= usize::from(member.joining.is_some());
        }
        for protocol in &member.protocols {
            let count = self.supported.entry(protocol.name.clone()).or_default();
            *count = if is_added { *count + 1 } else { *count - 1 };
            if *count == 0 {
                self.supported.remove(&protocol.name);
            }
        }
    }

    pub(super) const fn joining(&self) -> usize {
        self.joining
    }

    pub(super) fn all_joined(&self) -> bool {
        self.joining == self.members.len() && self.pending.is_empty()
    }

    /// Whether somebody with these protocols may join those who are there.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[MemberProtocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let everyone = |name: &str| self.supported.get(name) == Some(&self.members.len());
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| everyone(&protocol.name))
    }

    /// What all support and most like best.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let everyone = |name: &str| self.supported.get(name) == Some(&self.members.len());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let best = member.protocols.iter().find(|protocol| everyone(&protocol.name))?;
            *votes.entry(&best.name).or_default() += 1;
        }
        let (name, _) = votes.into_iter().max_by_key(|(_, count)| *count)?;
        Some(name.to_owned())
    }

    /// The longest that a member takes to join.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Everyone, as the leader has to know them.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter();
        let joined = members.map(|(id, member)| JoinedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol).to_vec(),
        });
        joined.collect()
    }

    /// Whether the name is a member's.
    pub(in crate::groups) fn check_member(&self, name: &MemberName) -> Result<(), GroupError> {
        let Some(instance) = &name.instance else {
            return self.members.contains_key(&name.id).then_some(()).ok_or(GroupError::UnknownMember);
        };
        match self.instances.get(instance) {
            None => Err(GroupError::UnknownMember),
            Some(id) if *id != name.id => Err(GroupError::FencedInstance),
            Some(_) => Ok(()),
        }
    }
}

/// The id stands in the group, and twice among its timers.
const fn pending_bytes(id: &str) -> usize {
    PENDING_BYTES + 3 * id.len()
}
