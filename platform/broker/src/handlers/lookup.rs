//! From what a request names to the partition that this broker leads.

use std::sync::Arc;
use std::time::Duration;

use millrace_base::{BrokerId, LeaderEpoch, TopicId};
use millrace_metadata::{Image, Topic};
pub(crate) use millrace_protocol::messages::BrokerId as WireBrokerId;
use millrace_protocol::messages::TopicName;
use millrace_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use crate::partition::Partition;
use crate::state::State;

/// A topic by its name.
pub(crate) fn by_name<'a>(image: &'a Image, name: &str) -> Result<&'a Arc<Topic>, ErrorCode> {
    image.topic_by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// A topic by its id.
pub(crate) fn by_id(image: &Image, id: Uuid) -> Result<&Arc<Topic>, ErrorCode> {
    image.topic(TopicId(id)).ok_or(ErrorCode::UnknownTopicId)
}

/// A partition of `topic` that is led here; `epoch` is what the client takes for its leader epoch.
pub(crate) fn led_here(
    state: &State,
    topic: &Topic,
    index: i32,
    epoch: LeaderEpoch,
) -> Result<Arc<Partition>, ErrorCode> {
    if usize::try_from(index).map_or(true, |index| index >= topic.partitions.len()) {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let partition = state.partitions.find(topic.id, index).ok_or(ErrorCode::NotLeaderOrFollower)?;
    partition.check_leader(epoch)?;
    Ok(partition)
}

/// The image to answer from where leaders are named: this broker's logs have caught up with it, or cannot for
/// the moment. A client that is sent here at once is refused, and what it sends next might not be.
pub(crate) async fn served_image(state: &State) -> Arc<Image> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let image = state.metadata.image();
    // What fails is tried again by the task that follows the metadata.
    let _ = tokio::time::timeout(PATIENCE, state.partitions.has_applied(image.applied_index())).await;
    image
}

/// Who leads a partition of `topic`, by the metadata. This broker names itself only for what it serves.
pub(crate) fn leader(state: &State, topic: &Topic, index: i32) -> Option<BrokerId> {
    let leader = topic.partitions.get(usize::try_from(index).ok()?)?.leader?;
    (leader != state.node_id || led_here(state, topic, index, LeaderEpoch::UNKNOWN).is_ok()).then_some(leader)
}

/// A topic's name as a response carries it.
pub(crate) fn wire_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A text as a response carries it.
pub(crate) fn wire_text(text: impl Into<String>) -> Option<StrBytes> {
    Some(StrBytes::from_string(text.into()))
}

pub(crate) fn wire_brokers(ids: &[BrokerId]) -> Vec<WireBrokerId> {
    ids.iter().map(|id| WireBrokerId(id.0)).collect()
}

/// Kafka's number for "no broker".
pub(crate) const NO_BROKER: WireBrokerId = WireBrokerId(-1);

/// Internal topics are the brokers' own; clients and tools treat them apart.
pub(crate) fn is_internal(name: &str) -> bool {
    is_written_by_brokers_only(name) || matches!(name, "__share_group_state" | "__plugin_logs")
}

/// Settings of an internal topic that may change without harm to what is kept in it; of any other topic all may.
pub(crate) fn may_change(topic: &str, setting: &str) -> bool {
    match topic {
        // What is read from it is whole only while nothing but compaction ever takes a record out, and its commits
        // are taken whatever their size and time.
        _ if is_written_by_brokers_only(topic) => matches!(setting, "compression.type" | "segment.bytes"),
        _ if is_internal(topic) => matches!(
            setting,
            "compression.type" | "retention.bytes" | "retention.ms" | "segment.bytes" | "segment.ms"
        ),
        _ => true,
    }
}

/// Topics in which a client's record, or their deletion, would corrupt the state of coordinators.
pub(crate) fn is_written_by_brokers_only(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state")
}
