//! Requests about groups from outside them: list, describe, delete.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::classic::{Group, State};
use super::super::consumer;
use super::super::error::GroupError;
use super::super::format::classic::{GroupRecord, encode_key};
use super::super::state::GroupState;
use super::super::subscription::CONSUMER_PROTOCOL;
use super::{GroupCoordinator, Home, Inner};
use crate::state_log::{Proposal, Replied, StateRecord};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group: String,
    /// Empty for a group that commits offsets and has no members.
    pub protocol_type: String,
    /// As Kafka calls it.
    pub state: &'static str,
    /// The coordinator assigns (KIP-848), and not the members.
    pub is_consumer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// As Kafka calls it.
    pub state: &'static str,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Both only of a group that is stable.
    pub metadata: Vec<u8>,
    pub assignment: Vec<u8>,
}

impl GroupCoordinator {
    /// All groups that this broker coordinates.
    pub async fn list(&self) -> Result<Vec<ListedGroup>, GroupError> {
        let mut listed = Vec::new();
        for log in self.inner.parts.offsets.ready_logs().await? {
            let home = self.inner.home_of(&log);
            let groups = self.inner.look(&home, |live, stored| {
                let mut groups = stored_groups(stored);
                for (id, group) in live.all() {
                    let protocol_type = group.protocol_type.clone().unwrap_or_default();
                    groups.insert(id.to_string(), (protocol_type, group.state.name(), false));
                }
                groups
            })?;
            listed.extend(groups.into_iter().map(|(group, (protocol_type, state, is_consumer))| {
                ListedGroup { group, protocol_type, state, is_consumer }
            }));
        }
        Ok(listed)
    }

    pub async fn describe(&self, group: &str) -> Result<GroupDescription, GroupError> {
        let home = self.inner.home(group).await?;
        self.inner.look(&home, |live, stored| {
            if stored.consumer(group).is_some() {
                return Err(GroupError::GroupIdNotFound);
            }
            let described = match live.find(group) {
                Some(live) => Some(describe_live(live)),
                None => stored.classic(group).map(|record| describe_stored(record)),
            };
            let described = described.or_else(|| stored.knows(group).then(describe_committer));
            described.ok_or(GroupError::GroupIdNotFound)
        })?
    }

    /// Deletes a group without members, with all that it has committed.
    pub async fn delete(&self, group: &str) -> Result<(), GroupError> {
        let home = self.inner.home(group).await?;
        let stored = self.inner.start_delete(&home, group)?;
        Ok(stored.await?)
    }
}

impl Inner {
    fn start_delete(self: &Arc<Self>, home: &Arc<Home>, group: &str) -> Result<Replied<()>, GroupError> {
        let mut lead = home.lead.lock();
        self.catch_up(home, &mut lead)?;
        let is_known = home.log.decide(|_, latest| latest.knows(group))?;
        if !is_known && lead.live.find(group).is_none() {
            return Err(GroupError::GroupIdNotFound);
        }
        let has_members = home
            .log
            .decide(|_, latest| latest.consumer(group).is_some_and(|known| !known.members().is_empty()))?;
        if has_members || !lead.live.forget(group) {
            return Err(GroupError::NonEmptyGroup);
        }
        Ok(home.log.propose(|latest, _| Proposal { records: forget(latest, group), reply: () })?)
    }
}

/// The records that forget a group.
pub(super) fn forget(latest: &GroupState, group: &str) -> Vec<StateRecord> {
    let offsets = latest.of_group(group).map(|(key, _)| StateRecord { key: key.encode(), value: None });
    let classic = latest.classic(group).map(|_| StateRecord { key: encode_key(group), value: None });
    let parts = latest.consumer(group).map(consumer::forget).unwrap_or_default();
    offsets.chain(classic).chain(super::consumer::records(group, parts)).collect()
}

fn stored_groups(stored: &GroupState) -> BTreeMap<String, (String, &'static str, bool)> {
    let committers = stored.committers().into_iter();
    let mut groups: BTreeMap<_, _> =
        committers.map(|group| (group, (String::new(), State::Empty.name(), false))).collect();
    for (group, record) in stored.all_classic() {
        groups.insert(group.clone(), (record.protocol_type.clone(), State::Empty.name(), false));
    }
    for (id, group) in stored.all_consumer() {
        groups.insert(id.clone(), (CONSUMER_PROTOCOL.to_owned(), group.state(), true));
    }
    groups
}

fn describe_live(group: &Group) -> GroupDescription {
    let is_stable = group.state == State::Stable;
    let protocol = group.protocol.as_deref().filter(|_| is_stable).unwrap_or_default();
    let members = group.members.iter().map(|(id, member)| DescribedMember {
        id: id.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: if is_stable { member.metadata(protocol).to_vec() } else { Vec::new() },
        assignment: if is_stable { member.assignment.clone() } else { Vec::new() },
    });
    GroupDescription {
        state: group.state.name(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol: protocol.to_owned(),
        members: members.collect(),
    }
}

/// A group that is not live has no members.
fn describe_stored(record: &GroupRecord) -> GroupDescription {
    GroupDescription { protocol_type: record.protocol_type.clone(), ..describe_committer() }
}

fn describe_committer() -> GroupDescription {
    GroupDescription {
        state: State::Empty.name(),
        protocol_type: String::new(),
        protocol: String::new(),
        members: Vec::new(),
    }
}
