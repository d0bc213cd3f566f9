//! OffsetForLeaderEpoch (2 to 4): where an epoch ends, so that a log that went another way finds the fork
//! (KIP-101, KIP-320).

use millrace_base::{LeaderEpoch, Offset};
use millrace_metadata::Image;
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use millrace_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use millrace_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::lookup;
use crate::call::Call;

/// The answer where no epoch is that old.
const UNDEFINED: (LeaderEpoch, Offset) = (LeaderEpoch::UNKNOWN, -1);

pub(crate) async fn handle(
    call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = call.state.metadata.image();
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let mut answer = OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone());
        for partition in topic.partitions {
            let found = find(call, &image, &topic.topic, &partition);
            let code = call.code(&found);
            let (LeaderEpoch(epoch), end) = found.unwrap_or(UNDEFINED);
            answer.partitions.push(
                EpochEndOffset::default()
                    .with_error_code(code)
                    .with_partition(partition.partition)
                    .with_leader_epoch(epoch)
                    .with_end_offset(end),
            );
        }
        response.topics.push(answer);
    }
    response
}

fn find(
    call: &Call,
    image: &Image,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(LeaderEpoch, Offset), ErrorCode> {
    let topic = lookup::by_name(image, topic)?;
    let current = LeaderEpoch(asked.current_leader_epoch);
    let partition = lookup::led_here(&call.state, topic, asked.partition, current)?;
    let shared = partition.shared_end(LeaderEpoch(asked.leader_epoch));
    Ok(shared.map_or(UNDEFINED, |shared| (shared.epoch, shared.end)))
}
