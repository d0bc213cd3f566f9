//! WriteTxnMarkers (1): a coordinator ends transactions in partitions that are led here.

use millrace_coordinator::MarkerFailure;
use millrace_protocol::ErrorCode;
use millrace_protocol::StrBytes;
use millrace_protocol::batch::{TransactionMarker, TransactionResult};
use millrace_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use millrace_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use crate::call::Call;
use crate::local_markers;

pub(crate) async fn handle(call: &Call, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let mut response = WriteTxnMarkersResponse::default();
    for asked in request.markers {
        let marker = TransactionMarker {
            producer_id: asked.producer_id.0,
            producer_epoch: asked.producer_epoch,
            coordinator_epoch: asked.coordinator_epoch,
            result: if asked.transaction_result {
                TransactionResult::Commit
            } else {
                TransactionResult::Abort
            },
        };
        let mut result = WritableTxnMarkerResult::default().with_producer_id(asked.producer_id);
        for topic in asked.topics {
            let mut answers = WritableTxnMarkerTopicResult::default()
                .with_name(StrBytes::from_string(topic.name.to_string()).into());
            for index in topic.partition_indexes {
                let written = local_markers::write(&call.state, &topic.name, index, marker).await;
                let code = written.err().map_or(0, |(code, _): (ErrorCode, MarkerFailure)| call.fail(code));
                answers.partitions.push(
                    WritableTxnMarkerPartitionResult::default()
                        .with_partition_index(index)
                        .with_error_code(code),
                );
            }
            result.topics.push(answers);
        }
        response.markers.push(result);
    }
    response
}
