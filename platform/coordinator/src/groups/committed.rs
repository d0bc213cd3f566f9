//! Committed offsets, in the internal topic `__consumer_offsets` and Kafka's format: how far a group is in each
//! partition of a topic.
//!
//! An offset means nothing in another topic of the same name, so the id of its topic is committed with it.

use std::sync::Arc;

use futures::future::try_join_all;
use millrace_base::{Clock, TopicId, TopicPartition};

use super::format::offsets::{Committed, OffsetKey};
use super::state::GroupState;
use crate::state_log::{Proposal, StateLog, StateRecord, Unavailable};
use crate::state_topic::{StateTopic, TopicSpec};
use crate::{Acknowledged, AppendFailure, Partitions, TopicFailure};

pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

const TOPIC: TopicSpec = TopicSpec {
    name: OFFSETS_TOPIC,
    // Kafka's `offsets.topic.num.partitions`.
    partitions: 50,
    settings: &[("cleanup.policy", "compact"), ("segment.bytes", "104857600")],
};

/// Offsets that cannot be read back. All of it passes, but for a topic that nobody can make.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OffsetsFailure {
    #[error(transparent)]
    Topic(#[from] TopicFailure),
    #[error("read '{OFFSETS_TOPIC}': {0}")]
    Unavailable(#[from] Unavailable),
}

impl OffsetsFailure {
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Topic(failure) => failure.retryable(),
            Self::Unavailable(_) => true,
        }
    }
}

impl From<OffsetsFailure> for AppendFailure {
    fn from(failure: OffsetsFailure) -> Self {
        match failure {
            OffsetsFailure::Unavailable(unavailable) => unavailable.into(),
            OffsetsFailure::Topic(failure) if failure.retryable() => Self::Passing(failure.to_string()),
            OffsetsFailure::Topic(failure) => Self::Refused(failure.to_string()),
        }
    }
}

/// See [`CommittedOffsets::all_known`].
#[derive(Debug, Default)]
pub struct KnownOffsets {
    pub offsets: Vec<(OffsetKey, Committed)>,
    /// How many more there are.
    pub left_out: usize,
}

/// See the module's text.
pub struct CommittedOffsets(StateTopic<GroupState>);

impl CommittedOffsets {
    pub fn new(partitions: Arc<dyn Partitions>, clock: Arc<dyn Clock>) -> Self {
        Self(StateTopic::new(TOPIC, partitions, clock))
    }

    /// Where the group is in a partition of the topic with this id; `None` if it has committed nothing there. What it
    /// has committed in a former topic of that name does not count.
    pub async fn committed(
        &self,
        key: &OffsetKey,
        topic: TopicId,
    ) -> Result<Option<Committed>, OffsetsFailure> {
        let log = self.0.log_of(&key.group).await?;
        log.ready().await?;
        let home = log.read(|state| state.find(key).cloned())?;
        let committed = match home {
            Some(committed) => Some(committed),
            None => self.strayed(key).await?,
        };
        Ok(committed.filter(|committed| committed.is_of(topic)))
    }

    /// What was committed while the topic had fewer partitions, of which no client can make more, is not where the
    /// group is now. Of several the last counts.
    async fn strayed(&self, key: &OffsetKey) -> Result<Option<Committed>, OffsetsFailure> {
        let found = self.here(|state| state.find(key).cloned()).await?;
        Ok(found.into_iter().flatten().max_by_key(|committed| committed.timestamp_ms))
    }

    /// The same without waiting; `None` as well if nothing is read back yet.
    pub fn known(&self, key: &OffsetKey, topic: TopicId) -> Option<Committed> {
        let known = self.0.known_log_of(&key.group)?.read(|state| state.find(key).cloned());
        known.ok()?.filter(|committed| committed.is_of(topic))
    }

    /// What is committed in partitions that are led here and read back, without waiting: at most so many, in the order of
    /// the groups in each.
    pub fn all_known(&self, most: usize) -> KnownOffsets {
        let mut known = KnownOffsets::default();
        for log in self.known_logs() {
            // What is not led or not read back has nothing to tell.
            let _ = log.read(|state| {
                let taken = state.all_offsets().take(most - known.offsets.len());
                let before = known.offsets.len();
                known.offsets.extend(taken.map(|(key, committed)| (key.clone(), committed.clone())));
                known.left_out += state.all_offsets().len() - (known.offsets.len() - before);
            });
        }
        known
    }

    /// Commits; the answer completes when the commit is on all in-sync replicas, and no reader sees it before.
    pub async fn commit(
        &self,
        key: &OffsetKey,
        topic: TopicId,
        offset: i64,
        leader_epoch: i32,
    ) -> Result<Acknowledged, AppendFailure> {
        let log = self.ready_log_of(&key.group).await?;
        let key = key.encode();
        log.propose(|_, now_ms| {
            let committed = Committed {
                topic: Some(topic),
                ..Committed::new(offset, leader_epoch, String::new(), now_ms)
            };
            Proposal { records: vec![StateRecord { key, value: Some(committed.encode()) }], reply: () }
        })
    }

    /// Forgets what the group has committed, as far as `which` says so, and returns when that is on all in-sync
    /// replicas.
    pub async fn forget(
        &self,
        group: &str,
        which: impl Fn(&OffsetKey, &Committed) -> bool,
    ) -> Result<(), AppendFailure> {
        // First, so that a group that is not here is told so.
        self.ready_log_of(group).await?;
        let logs = self.0.current().await.map_err(OffsetsFailure::from)?;
        let mut forgotten = Vec::new();
        for log in logs.iter() {
            match log.ready().await {
                // Others' affair.
                Err(Unavailable::NotLed) => continue,
                ready => ready?,
            }
            let records = |state: &GroupState| -> Vec<StateRecord> {
                let wanted = state.of_group(group).filter(|(key, committed)| which(key, committed));
                wanted.map(|(key, _)| StateRecord { key: key.encode(), value: None }).collect()
            };
            forgotten.push(log.propose(|state, _| Proposal { records: records(state), reply: () })?);
        }
        try_join_all(forgotten).await.map(drop)
    }

    /// All groups that have committed anything in partitions that are led here.
    pub async fn groups(&self) -> Result<Vec<String>, OffsetsFailure> {
        let mut groups = self.here(GroupState::committers).await?.concat();
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// Where the group's state is; makes the topic if there is none.
    pub(super) async fn place_of(&self, group: &str) -> Result<TopicPartition, OffsetsFailure> {
        Ok(self.0.place_of(group).await?)
    }

    /// The logs that are at hand, whoever leads them.
    pub(super) fn known_logs(&self) -> Vec<StateLog<GroupState>> {
        self.0.known_logs().map(|logs| logs.to_vec()).unwrap_or_default()
    }

    /// The logs that are led here, read back.
    pub(super) async fn ready_logs(&self) -> Result<Vec<StateLog<GroupState>>, OffsetsFailure> {
        let mut ready = Vec::new();
        for log in self.0.current().await?.iter() {
            match log.ready().await {
                Ok(()) => ready.push(log.clone()),
                Err(Unavailable::NotLed) => {}
                Err(unavailable) => return Err(unavailable.into()),
            }
        }
        Ok(ready)
    }

    pub(super) async fn ready_log_of(&self, group: &str) -> Result<StateLog<GroupState>, OffsetsFailure> {
        let log = self.0.log_of(group).await?;
        log.ready().await?;
        Ok(log)
    }

    /// Looks at every partition that is led here.
    async fn here<R>(&self, look: impl Fn(&GroupState) -> R) -> Result<Vec<R>, OffsetsFailure> {
        let mut found = Vec::new();
        for log in self.ready_logs().await? {
            match log.read(&look) {
                Ok(looked) => found.push(looked),
                Err(Unavailable::NotLed) => {}
                Err(unavailable) => return Err(unavailable.into()),
            }
        }
        Ok(found)
    }
}
