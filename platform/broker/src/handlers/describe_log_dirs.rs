//! DescribeLogDirs (1 to 4): the data directory, its space and the size of the partitions in it.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use millrace_base::{TopicId, TopicPartition};
use millrace_log::Health;
use millrace_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use millrace_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use millrace_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::lookup::wire_name;
use crate::call::Call;
use crate::state::State;

/// From this version on the space of the directory is told (KIP-827).
const TELLS_SPACE: i16 = 4;
const UNKNOWN: i64 = -1;

pub(crate) async fn handle(call: &Call, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let state = &call.state;
    let dir = state.data_dir.display().to_string();
    let mut result = DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(dir));
    if let Health::Failed(_) = state.log.health() {
        result.error_code = call.fail(ErrorCode::KafkaStorageError);
    }
    result.topics = topics(state, request.topics.as_deref());
    if call.version >= TELLS_SPACE {
        (result.total_bytes, result.usable_bytes) = space(state).await;
    }
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn topics(state: &State, asked: Option<&[DescribableLogDirTopic]>) -> Vec<DescribeLogDirsTopic> {
    let image = state.metadata.image();
    let asked: Option<HashSet<TopicPartition>> = asked.map(|topics| {
        let partitions = topics.iter().filter_map(|topic| Some((image.topic_by_name(&topic.topic)?, topic)));
        let ids = partitions.flat_map(|(known, topic)| {
            topic.partitions.iter().map(|index| TopicPartition::new(known.id, *index))
        });
        ids.collect()
    });
    let mut topics: BTreeMap<TopicId, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in state.partitions.all() {
        let id = partition.id();
        if asked.as_ref().is_none_or(|asked| asked.contains(&id)) {
            topics.entry(id.topic).or_default().push(
                DescribeLogDirsPartition::default()
                    .with_partition_index(id.partition)
                    .with_partition_size(i64::try_from(partition.log().size_bytes()).unwrap_or(i64::MAX)),
            );
        }
    }
    let named = topics.into_iter().filter_map(|(id, mut partitions)| {
        partitions.sort_by_key(|partition| partition.partition_index);
        let name = wire_name(&image.topic(id)?.name);
        Some(DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions))
    });
    named.collect()
}

/// Size of the file system and what is left of it.
async fn space(state: &State) -> (i64, i64) {
    let dir = state.data_dir.clone();
    let stat = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&dir)).await;
    let Ok(Ok(stat)) = stat else { return (UNKNOWN, UNKNOWN) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    (bytes(stat.f_blocks), bytes(stat.f_bavail))
}
