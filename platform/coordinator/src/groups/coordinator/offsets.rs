//! Requests about committed offsets.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_base::{Offset, TopicId};

use super::super::classic::MemberName;
use super::super::consumer::check_commit;
use super::super::error::GroupError;
use super::super::format::offsets::{Committed, OffsetKey};
use super::super::subscription;
use super::{GroupCoordinator, Home, Inner, Lead};
use crate::state_log::{Proposal, Replied, StateRecord};

/// One for each of the offsets that were asked for.
pub type Outcomes = Vec<Result<(), GroupError>>;

/// How far somebody says that its group is.
#[derive(Clone, Debug)]
pub struct NewOffset {
    pub topic: String,
    pub topic_id: TopicId,
    pub partition: i32,
    pub offset: Offset,
    pub leader_epoch: i32,
    pub metadata: String,
}

#[derive(Clone, Debug)]
pub struct CommitRequest {
    pub group: String,
    pub member: MemberName,
    /// -1 for who is in no group.
    pub generation: i32,
    pub offsets: Vec<NewOffset>,
}

impl GroupCoordinator {
    /// Commits; returns when all of it is on all in-sync replicas, with the outcome of each offset.
    pub async fn commit(&self, request: CommitRequest) -> Result<Outcomes, GroupError> {
        let home = self.inner.home(&request.group).await?;
        let longest = self.inner.parts.settings.offset_metadata_bytes_max;
        let is_short = |offset: &NewOffset| offset.metadata.len() <= longest;
        let outcomes = request
            .offsets
            .iter()
            .map(|offset| is_short(offset).then_some(()).ok_or(GroupError::MetadataTooLarge));
        let outcomes = outcomes.collect();
        let CommitRequest { group, member, generation, offsets } = request;
        let taken: Vec<NewOffset> = offsets.into_iter().filter(is_short).collect();
        let stored = self.inner.start_commit(&home, &group, (&member, generation), taken)?;
        stored.await?;
        Ok(outcomes)
    }

    /// What the group has committed in the given partitions, in their order.
    pub async fn committed(
        &self,
        group: &str,
        partitions: &[(String, i32)],
    ) -> Result<Vec<Option<Committed>>, GroupError> {
        let home = self.inner.home(group).await?;
        let found = home.log.read(|state| {
            let find = |(topic, partition): &(String, i32)| {
                let key = OffsetKey { group: group.to_owned(), topic: topic.clone(), partition: *partition };
                state.find(&key).filter(|committed| self.inner.is_current(&key, committed)).cloned()
            };
            partitions.iter().map(find).collect()
        });
        found.map_err(GroupError::from)
    }

    /// All that the group has committed.
    pub async fn all_committed(&self, group: &str) -> Result<Vec<(OffsetKey, Committed)>, GroupError> {
        let home = self.inner.home(group).await?;
        let found = home.log.read(|state| {
            let current =
                state.of_group(group).filter(|(key, committed)| self.inner.is_current(key, committed));
            current.map(|(key, committed)| (key.clone(), committed.clone())).collect()
        });
        found.map_err(GroupError::from)
    }

    /// Forgets what the group has committed in these partitions. A group that has members must not be subscribed to
    /// the topic.
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[(String, i32)],
    ) -> Result<Outcomes, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let home = self.inner.home(group).await?;
        let (outcomes, stored) = self.inner.start_deletion(&home, group, partitions)?;
        stored.await?;
        Ok(outcomes)
    }
}

impl Inner {
    /// Whether the offset is of the topic that has this name now.
    fn is_current(&self, key: &OffsetKey, committed: &Committed) -> bool {
        self.parts.topics.id_of(&key.topic).is_some_and(|topic| committed.is_of(topic))
    }

    fn start_commit(
        self: &Arc<Self>,
        home: &Arc<Home>,
        group: &str,
        (member, generation): (&MemberName, i32),
        offsets: Vec<NewOffset>,
    ) -> Result<Replied<()>, GroupError> {
        let mut lead = home.lead.lock();
        self.catch_up(home, &mut lead)?;
        let step = self.moment();
        let checked = home.log.decide(|_, latest| {
            if let Some(known) = latest.consumer(group) {
                return check_commit(known, &member.id, generation);
            }
            if generation >= 0 && !latest.knows(group) && lead.live.find(group).is_none() {
                return Err(GroupError::GroupIdNotFound);
            }
            lead.live.on_commit(group, member, generation, latest.classic(group), step)
        });
        checked??;
        let records = move |now_ms: i64| {
            let encode = |offset: NewOffset| {
                let key =
                    OffsetKey { group: group.to_owned(), topic: offset.topic, partition: offset.partition };
                let committed = Committed {
                    topic: Some(offset.topic_id).filter(|id| *id != TopicId::ZERO),
                    ..Committed::new(offset.offset, offset.leader_epoch, offset.metadata, now_ms)
                };
                StateRecord { key: key.encode(), value: Some(committed.encode()) }
            };
            offsets.into_iter().map(encode).collect()
        };
        // Under the lock, so that no later generation is in the log before it.
        Ok(home.log.propose(|_, now_ms| Proposal { records: records(now_ms), reply: () })?)
    }

    fn start_deletion(
        self: &Arc<Self>,
        home: &Arc<Home>,
        group: &str,
        partitions: &[(String, i32)],
    ) -> Result<(Outcomes, Replied<()>), GroupError> {
        let mut lead = home.lead.lock();
        self.catch_up(home, &mut lead)?;
        let reads = subscriptions(&lead, group)?;
        let mut read: BTreeSet<&str> = BTreeSet::new();
        home.log.decide(|_, latest| {
            let known = latest.consumer(group);
            let is_read = |topic: &str| reads(topic) || known.is_some_and(|known| known.is_subscribed(topic));
            read.extend(partitions.iter().map(|(topic, _)| topic.as_str()).filter(|topic| is_read(topic)));
        })?;
        let is_subscribed = |topic: &str| read.contains(topic);
        let is_known = home.log.decide(|_, latest| latest.knows(group))?;
        if !is_known && lead.live.find(group).is_none() {
            return Err(GroupError::GroupIdNotFound);
        }
        let outcome = |(topic, _): &(String, i32)| {
            if is_subscribed(topic) { Err(GroupError::SubscribedToTopic) } else { Ok(()) }
        };
        let outcomes: Outcomes = partitions.iter().map(outcome).collect();
        let stored = home.log.propose(|latest, _| {
            let wanted = partitions.iter().filter(|(topic, _)| !is_subscribed(topic));
            let keys = wanted.map(|(topic, partition)| OffsetKey {
                group: group.to_owned(),
                topic: topic.clone(),
                partition: *partition,
            });
            let known = keys.filter(|key| latest.find(key).is_some());
            let records = known.map(|key| StateRecord { key: key.encode(), value: None }).collect();
            Proposal { records, reply: () }
        })?;
        Ok((outcomes, stored))
    }
}

/// Which topics the group's members are subscribed to; refused for a group of whose members that is not known.
fn subscriptions(lead: &Lead, group: &str) -> Result<impl Fn(&str) -> bool + use<>, GroupError> {
    let mut topics = BTreeSet::new();
    if let Some(group) = lead.live.find(group).filter(|group| !group.members.is_empty()) {
        if group.protocol_type.as_deref() != Some(subscription::CONSUMER_PROTOCOL) {
            return Err(GroupError::NonEmptyGroup);
        }
        for member in group.members.values() {
            for protocol in &member.protocols {
                topics.extend(subscription::topics(&protocol.metadata).unwrap_or_default());
            }
        }
    }
    Ok(move |topic: &str| topics.contains(topic))
}
