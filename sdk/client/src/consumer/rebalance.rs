//! A consumer as a member of its group: subscriptions, commits, and what a poll does for the group.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::assignment::{Key, State};
use super::membership::{Event, Membership, Place};
use super::{Consumer, record::ConsumerRecord};
use crate::error::{FetchError, GroupError};
use crate::group::{CommitOffset, Committed, GroupMetadata, Subscription, TopicPartition, offsets};

/// Is told what a consumer gains and loses in its group, in order, on the consumer's own polls.
pub trait RebalanceListener: Send {
    /// These are read from the next poll on.
    fn assigned(&mut self, _partitions: &[TopicPartition]) {}

    /// These go to others. What is returned is committed first, over what the consumer commits by itself; positions
    /// that it does not name are only committed with [`auto commit`](crate::ConsumerBuilder::auto_commit).
    fn revoked(&mut self, _partitions: &[TopicPartition]) -> Vec<CommitOffset> {
        Vec::new()
    }

    /// These are others' by now: nothing can be committed for them any more.
    fn lost(&mut self, _partitions: &[TopicPartition]) {}
}

impl Consumer {
    /// Joins the consumer's group to read these topics, in the place of what was subscribed to before. Polls bring
    /// the records of the partitions that the group gives to this consumer.
    pub fn subscribe(&mut self, topics: &[&str]) -> Result<(), GroupError> {
        self.subscribe_to(Subscription::Topics(topics.iter().map(|topic| Arc::from(*topic)).collect()))
    }

    /// As [`Consumer::subscribe`], to all topics whose names match a regular expression (RE2) as a whole, also those
    /// that are made later. The brokers match it, which only KIP-848 has.
    pub fn subscribe_pattern(&mut self, pattern: &str) -> Result<(), GroupError> {
        self.subscribe_to(Subscription::Pattern(Arc::from(pattern)))
    }

    fn subscribe_to(&mut self, subscription: Subscription) -> Result<(), GroupError> {
        self.membership.as_mut().ok_or(GroupError::NoGroup)?.subscribe(subscription);
        Ok(())
    }

    /// Who is told of rebalances; set it before subscribing to hear of all.
    pub fn on_rebalance(&mut self, listener: impl RebalanceListener + 'static) {
        self.listener = Some(Box::new(listener));
    }

    /// Commits the positions of everything that was returned, and waits until the group has them.
    pub async fn commit(&mut self) -> Result<(), GroupError> {
        let offsets = self.positions();
        self.commit_offsets(offsets).await
    }

    /// As [`Consumer::commit`], without waiting. Commits are made in the order in which they are asked for.
    pub fn commit_async(&mut self) -> Result<(), GroupError> {
        let offsets = self.positions();
        drop(self.membership()?.committer.commit(offsets));
        Ok(())
    }

    /// Commits these offsets, each one past the last record that is done.
    pub async fn commit_offsets(&mut self, offsets: Vec<CommitOffset>) -> Result<(), GroupError> {
        let committed = self.membership()?.committer.commit(offsets);
        committed.await
    }

    /// What the group has committed for `partitions`.
    pub async fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Committed>, GroupError> {
        let group = self.membership()?.state.identity().group;
        offsets::fetch(&self.shared.cluster, &group, Some(partitions), true).await
    }

    /// Where reading stands in every assigned partition: what [`Consumer::commit`] commits.
    pub fn positions(&self) -> Vec<CommitOffset> {
        let partitions: Vec<Key> = self.shared.state.lock().assigned.keys().cloned().collect();
        self.positions_of(partitions.iter())
    }

    fn positions_of<'a>(&self, partitions: impl Iterator<Item = &'a Key>) -> Vec<CommitOffset> {
        let position = |(topic, partition): &Key| {
            let offset = self.position(topic, *partition)?;
            Some(CommitOffset::new(
                TopicPartition { topic: Arc::clone(topic), partition: *partition },
                offset,
            ))
        };
        partitions.filter_map(position).collect()
    }

    /// Who this consumer is in its group at the moment, for [`Transaction::send_offsets`].
    ///
    /// [`Transaction::send_offsets`]: crate::producer::Transaction::send_offsets
    pub fn group_metadata(&self) -> Result<GroupMetadata, GroupError> {
        Ok(self.membership()?.state.identity())
    }

    fn membership(&self) -> Result<&Membership, GroupError> {
        self.membership.as_ref().ok_or(GroupError::NoGroup)
    }

    /// Does what the group asks for, before a poll looks for records.
    pub(super) fn poll_group(&mut self, cx: &mut Context<'_>) -> Result<(), FetchError> {
        loop {
            let Some(membership) = self.membership.as_mut().filter(|membership| membership.active) else {
                return Ok(());
            };
            if let Some(error) = &membership.failed {
                return Err(error.clone().into());
            }
            let Poll::Ready(Some(event)) = membership.events.poll_recv(cx) else { return Ok(()) };
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Assigned { places, done } => {
                self.take(places);
                let _ = done.send(());
            }
            Event::Revoke { partitions, done } => {
                let offsets = self.give_up(&partitions);
                let _ = done.send(offsets);
            }
            Event::Lost { partitions } => self.lose(&partitions),
            Event::CommitDue => {
                let offsets = self.positions();
                if let Some(membership) = &self.membership {
                    drop(membership.committer.commit(offsets));
                    membership.commit_is_done();
                }
            }
            Event::Failed(error) => {
                if let Some(membership) = &mut self.membership {
                    membership.failed = Some(error);
                }
            }
        }
    }

    fn take(&mut self, places: Vec<Place>) {
        let partitions: Vec<TopicPartition> = places.iter().map(|place| place.partition.clone()).collect();
        {
            let mut state = self.shared.state.lock();
            for Place { partition, topic_id, start } in places {
                let key: Key = (partition.topic, partition.partition);
                state.start_at(key.clone(), topic_id, *start.as_ref().unwrap_or(&0));
                if let Err(error) = start {
                    state.halt(&key, 0, error);
                }
            }
        }
        self.shared.adopt_leaders();
        self.shared.wanted.send_replace(());
        if let Some(listener) = &mut self.listener {
            listener.assigned(&partitions);
        }
    }

    /// Has the listener know, stops reading, and says what is to be committed.
    pub(super) fn give_up(&mut self, partitions: &[TopicPartition]) -> Vec<CommitOffset> {
        let keys: Vec<Key> = partitions.iter().map(|one| (Arc::clone(&one.topic), one.partition)).collect();
        let mut offsets = match self.shared.settings.auto_commit {
            Some(_) => self.positions_of(keys.iter()),
            None => Vec::new(),
        };
        if let Some(listener) = &mut self.listener {
            let named = listener.revoked(partitions);
            offsets.retain(|offset| named.iter().all(|named| named.partition != offset.partition));
            offsets.extend(named);
        }
        self.stop_reading(&keys);
        offsets
    }

    /// Only what was not given up meanwhile is news to the application.
    fn lose(&mut self, partitions: &[TopicPartition]) {
        let mut lost = partitions.to_vec();
        {
            let state = self.shared.state.lock();
            lost.retain(|one| state.assigned.contains_key(&(Arc::clone(&one.topic), one.partition)));
        }
        let keys: Vec<Key> = lost.iter().map(|one| (Arc::clone(&one.topic), one.partition)).collect();
        self.stop_reading(&keys);
        if let Some(listener) = self.listener.as_mut().filter(|_| !lost.is_empty()) {
            listener.lost(&lost);
        }
    }

    fn stop_reading(&mut self, keys: &[Key]) {
        let mut state = self.shared.state.lock();
        keys.iter().for_each(|key| State::remove(&mut state, key));
        drop(state);
        let is_gone = |record: &ConsumerRecord| {
            keys.iter()
                .any(|(topic, partition)| **topic == *record.topic() && *partition == record.partition())
        };
        self.current.retain(|record| !is_gone(record));
        self.shared.wanted.send_replace(());
    }

    /// Gives everything up in good order: the listener is told, offsets are committed, the group is left.
    pub(super) async fn leave_group(&mut self) {
        if self.membership.as_ref().is_none_or(|membership| !membership.active) {
            return;
        }
        let owned: Vec<TopicPartition> = self
            .assignment()
            .into_iter()
            .map(|(topic, partition)| TopicPartition::new(topic, partition))
            .collect();
        let offsets = if owned.is_empty() { Vec::new() } else { self.give_up(&owned) };
        let Some(membership) = &mut self.membership else { return };
        if let Err(error) = membership.committer.commit(offsets).await {
            tracing::warn!(%error, "commit before leaving the group: records are read again from the last commit");
        }
        membership.leave().await;
        // What the task had told before concerns nothing that is still read.
        while membership.events.try_recv().is_ok() {}
    }

    /// Leaves the group without closing; a later [`Consumer::subscribe`] joins anew.
    pub async fn unsubscribe(&mut self) {
        self.leave_group().await;
    }
}
