//! How far each deployment is: committed offsets of the group `plugin.<deployment>`, as those of consumer groups, so
//! that its lag shows where lag shows.

use std::sync::Arc;

use millrace_base::{Offset, TopicId};
use millrace_coordinator::{
    Acknowledged, AppendFailure, Committed, CommittedOffsets, OFFSETS_TOPIC, OffsetKey, OffsetsFailure,
};
use millrace_metadata::Metadata;

/// See the module's text.
pub(crate) struct Offsets {
    committed: Arc<CommittedOffsets>,
    metadata: Metadata,
}

impl Offsets {
    pub const fn new(committed: Arc<CommittedOffsets>, metadata: Metadata) -> Self {
        Self { committed, metadata }
    }

    /// Where the group is in a partition; `None` if it has committed nothing there, or only in an earlier topic
    /// of that name.
    pub async fn committed(&self, key: &OffsetKey, topic: TopicId) -> Result<Option<Offset>, OffsetsFailure> {
        Ok(offset_in(topic, self.committed.committed(key, topic).await?))
    }

    /// The same without waiting; `None` as well if nothing was read back yet.
    pub fn known(&self, key: &OffsetKey, topic: TopicId) -> Option<Offset> {
        offset_in(topic, self.committed.known(key, topic))
    }

    /// Commits; the answer completes when the commit is on all replicas.
    pub async fn commit(
        &self,
        key: &OffsetKey,
        topic: TopicId,
        offset: Offset,
        leader_epoch: i32,
    ) -> Result<Acknowledged, AppendFailure> {
        self.committed.commit(key, topic, offset, leader_epoch).await
    }

    /// Forgets what the group has committed, as far as `which` says so. What cannot be written down now is
    /// forgotten when the broker starts again and no deployment has it any more.
    pub async fn forget(&self, group: &str, which: impl Fn(&OffsetKey, &Committed) -> bool) {
        if !self.exists() {
            return;
        }
        if let Err(error) = self.committed.forget(group, which).await {
            tracing::warn!(group, %error, "cannot forget a plugin's committed offsets");
        }
    }

    /// All groups that have committed anything.
    pub async fn groups(&self) -> Result<Vec<String>, OffsetsFailure> {
        self.committed.groups().await
    }

    /// Whether the topic exists, without which nothing was ever committed.
    pub fn exists(&self) -> bool {
        self.metadata.image().topic_by_name(OFFSETS_TOPIC).is_some()
    }
}

/// The offset, if it is of the topic with this id, which was the metadata of a commit before there was a place for it.
fn offset_in(topic: TopicId, committed: Option<Committed>) -> Option<Offset> {
    let of_topic =
        |committed: &Committed| committed.topic.is_some() || committed.metadata == topic.to_string();
    committed.filter(of_topic).map(|committed| committed.offset)
}
