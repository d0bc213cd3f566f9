//! ListOffsets (1 to 10): the first, the last and the offset for a time.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use millrace_base::{LeaderEpoch, Offset};
use millrace_log::TimestampOffset;
use millrace_metadata::Image;
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::list_offsets_request::ListOffsetsPartition;
use millrace_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use millrace_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::lookup;
use crate::call::Call;
use crate::error_map::ToErrorCode;
use crate::partition::Partition;

/// What may be asked for instead of a time, and the version that brought it.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: (i64, i16) = (-3, 7);
const EARLIEST_LOCAL: (i64, i16) = (-4, 8);
const LATEST_TIERED: (i64, i16) = (-5, 9);

const READ_COMMITTED: i8 = 1;
const NO_TIMESTAMP: i64 = -1;
const NO_OFFSET: Offset = -1;

/// What was found; nothing is an answer, too.
const NOTHING: TimestampOffset =
    TimestampOffset { timestamp_ms: NO_TIMESTAMP, offset: NO_OFFSET, leader_epoch: LeaderEpoch::UNKNOWN };

pub(crate) async fn handle(call: &Call, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let image = call.state.metadata.image();
    let read_committed = request.isolation_level == READ_COMMITTED;
    let mut repeated = repeated(&request);
    let mut response = ListOffsetsResponse::default();
    for topic in request.topics {
        let mut answer = ListOffsetsTopicResponse::default().with_name(topic.name.clone());
        for partition in topic.partitions {
            let found = match repeated.get_mut(&(topic.name.to_string(), partition.partition_index)) {
                // Refused, and answered once.
                Some(answered) if *answered => continue,
                Some(answered) => {
                    *answered = true;
                    Err(ErrorCode::InvalidRequest)
                }
                None => find(call, &image, &topic.name, &partition, read_committed).await,
            };
            answer.partitions.push(wire(call, partition.partition_index, found));
        }
        response.topics.push(answer);
    }
    response
}

fn wire(call: &Call, index: i32, found: Result<TimestampOffset, ErrorCode>) -> ListOffsetsPartitionResponse {
    /// From this version on the answer tells the epoch of the record.
    const TELLS_EPOCH: i16 = 4;
    let code = call.code(&found);
    let found = found.unwrap_or(NOTHING);
    let mut wire = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_timestamp(found.timestamp_ms)
        .with_offset(found.offset);
    if call.version >= TELLS_EPOCH {
        wire.leader_epoch = found.leader_epoch.0;
    }
    wire
}

/// The partitions that a request names more than once, none of them answered yet.
fn repeated(request: &ListOffsetsRequest) -> HashMap<(String, i32), bool> {
    let (mut seen, mut repeated) = (HashSet::new(), HashMap::new());
    for topic in &request.topics {
        for partition in &topic.partitions {
            if !seen.insert((&*topic.name, partition.partition_index)) {
                repeated.insert((topic.name.to_string(), partition.partition_index), false);
            }
        }
    }
    repeated
}

async fn find(
    call: &Call,
    image: &Image,
    topic: &str,
    asked: &ListOffsetsPartition,
    read_committed: bool,
) -> Result<TimestampOffset, ErrorCode> {
    // What cannot be asked for is refused before it is looked for.
    let since = |(special, version): (i64, i16)| asked.timestamp == special && call.version >= version;
    let is_special = asked.timestamp == LATEST || asked.timestamp == EARLIEST;
    if asked.timestamp < 0
        && !is_special
        && ![MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED].into_iter().any(since)
    {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let topic = lookup::by_name(image, topic)?;
    let epoch = LeaderEpoch(asked.current_leader_epoch);
    let partition = lookup::led_here(&call.state, topic, asked.partition_index, epoch)?;
    let end = if read_committed { partition.last_stable_offset() } else { partition.high_watermark() };
    let at = |offset| TimestampOffset { offset, ..NOTHING };
    match asked.timestamp {
        LATEST => Ok(TimestampOffset { leader_epoch: partition.role().standing.leader_epoch(), ..at(end) }),
        EARLIEST => Ok(earliest(&partition)),
        // There is no tiered storage yet: what is local is all there is.
        special if special == EARLIEST_LOCAL.0 => Ok(earliest(&partition)),
        special if special == LATEST_TIERED.0 => Ok(NOTHING),
        special if special == MAX_TIMESTAMP.0 => search(call, partition, None, end).await,
        timestamp_ms => search(call, partition, Some(timestamp_ms), end).await,
    }
}

/// Where the log starts, with the epoch that it starts in.
fn earliest(partition: &Partition) -> TimestampOffset {
    let offset = partition.log().log_start_offset();
    let leader_epoch = partition.log().epoch_at(offset).unwrap_or(LeaderEpoch::UNKNOWN);
    TimestampOffset { offset, leader_epoch, ..NOTHING }
}

/// The first record of that time or later, or the one of the latest time. Reads indexes and batches, so it
/// runs where it may block.
async fn search(
    call: &Call,
    partition: Arc<Partition>,
    timestamp_ms: Option<i64>,
    end: Offset,
) -> Result<TimestampOffset, ErrorCode> {
    let id = partition.id();
    let turn = call.state.codec_turns.clone().acquire_owned().await;
    let search = tokio::task::spawn_blocking(move || {
        // Kept to the end, even if the connection is gone before.
        let _turn = turn;
        match timestamp_ms {
            Some(timestamp_ms) => partition.log().offset_for_timestamp(timestamp_ms, end),
            None => partition.log().max_timestamp_offset(end),
        }
    });
    match search.await {
        Ok(Ok(found)) => Ok(found.unwrap_or(NOTHING)),
        Ok(Err(error)) => {
            tracing::error!(partition = %id, %error, "cannot look up an offset by time");
            Err(error.to_error_code())
        }
        Err(error) => {
            tracing::error!(partition = %id, %error, "looking up an offset by time failed");
            Err(ErrorCode::UnknownServerError)
        }
    }
}
