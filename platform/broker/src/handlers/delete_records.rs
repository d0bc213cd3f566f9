//! DeleteRecords (0 to 2): forgets everything below an offset.

use std::sync::Arc;
use std::time::Duration;

use millrace_base::{LeaderEpoch, Offset};
use millrace_metadata::Image;
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use millrace_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::lookup;
use crate::call::Call;
use crate::error_map::ToErrorCode;
use crate::partition::{Partition, PendingAcks, Safe};

/// Everything below the high watermark.
const ALL: Offset = -1;
const NO_OFFSET: Offset = -1;

pub(crate) async fn handle(call: &Call, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let image = call.state.metadata.image();
    let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut response = DeleteRecordsResponse::default();
    for topic in request.topics {
        let mut answer = DeleteRecordsTopicResult::default().with_name(topic.name.clone());
        for partition in topic.partitions {
            let deleted = match find(call, &image, &topic.name, partition.partition_index) {
                Ok(found) => delete(found, partition.offset, patience).await,
                Err(error) => Err(error),
            };
            let code = call.code(&deleted);
            answer.partitions.push(
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code)
                    .with_low_watermark(deleted.unwrap_or(NO_OFFSET)),
            );
        }
        response.topics.push(answer);
    }
    response
}

fn find(call: &Call, image: &Image, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
    let topic = lookup::by_name(image, topic)?;
    let partition = lookup::led_here(&call.state, topic, index, LeaderEpoch::UNKNOWN)?;
    if lookup::is_written_by_brokers_only(&topic.name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    // A compacted topic is a state, of which a part cannot be forgotten.
    if !partition.role().config.cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    Ok(partition)
}

/// Gives the new log start. A record that was acknowledged with acks=1 may not be committed yet: it is waited
/// for, up to `patience`.
async fn delete(partition: Arc<Partition>, before: Offset, patience: Duration) -> Result<Offset, ErrorCode> {
    let before = if before == ALL { partition.high_watermark() } else { before };
    if before < 0 || before > partition.log().log_end_offset() {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if before > partition.high_watermark() {
        let committed = PendingAcks::new(1);
        let epoch = partition.leading(LeaderEpoch::UNKNOWN)?;
        partition.acknowledge_at((epoch, before), Safe::Replicated, &committed, 0);
        // What counts is where the high watermark is afterwards.
        let _ = tokio::time::timeout(patience, committed.wait()).await;
        if before > partition.high_watermark() {
            return Err(ErrorCode::RequestTimedOut);
        }
    }
    let id = partition.id();
    let delete = tokio::task::spawn_blocking(move || partition.log().delete_records(before));
    match delete.await {
        Ok(Ok(start)) => Ok(start),
        Ok(Err(error)) => {
            tracing::error!(partition = %id, %error, "cannot delete records");
            Err(error.to_error_code())
        }
        Err(error) => {
            tracing::error!(partition = %id, %error, "deleting records failed");
            Err(ErrorCode::UnknownServerError)
        }
    }
}
