//! AddPartitionsToTxn (0 to 5): partitions become a transaction's. Clients ask for one transaction (0 to 3); brokers for
//! many, and may only ask whether the partitions are in it (4 and 5, KIP-890).

use std::collections::BTreeSet;

use millrace_coordinator::{ProducerEpoch, TransactionError, TransactionPartitions};
use millrace_metadata::Image;
use millrace_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use millrace_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use millrace_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::code_since;
use crate::call::Call;

/// From this version on brokers ask, for many transactions.
const MANY: i16 = 4;
const KNOWS_FENCED: i16 = 2;
/// By `transaction.version`: who adds partitions itself has no epoch for each transaction, and for whom a broker does has.
const CLIENT_ADDS: i16 = 0;
const BROKER_ADDS: i16 = 2;

pub(crate) async fn handle(call: &Call, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let mut response = AddPartitionsToTxnResponse::default();
    if call.version < MANY {
        let producer = ProducerEpoch {
            id: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        };
        let (id, topics) = (&request.v3_and_below_transactional_id, &request.v3_and_below_topics);
        let how = How::Add(CLIENT_ADDS);
        response.results_by_topic_v3_and_below = outcome(call, id, producer, topics, how).await;
        return response;
    }
    for transaction in request.transactions {
        let producer = ProducerEpoch { id: transaction.producer_id.0, epoch: transaction.producer_epoch };
        let how = if transaction.verify_only { How::Verify } else { How::Add(BROKER_ADDS) };
        let id = &transaction.transactional_id;
        let topics = outcome(call, id, producer, &transaction.topics, how).await;
        let result = AddPartitionsToTxnResult::default()
            .with_transactional_id(StrBytes::from_string(id.to_string()).into())
            .with_topic_results(topics);
        response.results_by_transaction.push(result);
    }
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Add(i16),
    Verify,
}

async fn outcome(
    call: &Call,
    id: &str,
    producer: ProducerEpoch,
    topics: &[AddPartitionsToTxnTopic],
    how: How,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let image = call.state.metadata.image();
    let all_exist = topics.iter().all(|topic| topic.partitions.iter().all(|of| exists(&image, topic, *of)));
    let added = match how {
        How::Add(_) if !all_exist => None,
        How::Add(client_version) => {
            let mut partitions = TransactionPartitions::new();
            for topic in topics {
                partitions.entry(topic.name.to_string()).or_default().extend(&topic.partitions);
            }
            let transactions = &call.state.transactions;
            Some(transactions.add_partitions(id, producer, &partitions, client_version).await)
        }
        How::Verify => None,
    };
    let mut results = Vec::with_capacity(topics.len());
    for topic in topics {
        let mut result = AddPartitionsToTxnTopicResult::default()
            .with_name(StrBytes::from_string(topic.name.to_string()).into());
        for partition in &topic.partitions {
            let code = match (&added, how) {
                (Some(added), _) => code(call, added),
                (None, How::Verify) => {
                    let one = [(topic.name.to_string(), BTreeSet::from([*partition]))].into();
                    code(call, &call.state.transactions.verify(id, producer, &one).await)
                }
                (None, How::Add(_)) if exists(&image, topic, *partition) => {
                    call.fail(ErrorCode::OperationNotAttempted)
                }
                (None, How::Add(_)) => call.fail(ErrorCode::UnknownTopicOrPartition),
            };
            result.results_by_partition.push(
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*partition)
                    .with_partition_error_code(code),
            );
        }
        results.push(result);
    }
    results
}

fn exists(image: &Image, topic: &AddPartitionsToTxnTopic, partition: i32) -> bool {
    let found = image.topic_by_name(&topic.name);
    found.is_some_and(|found| (0..found.partition_count()).contains(&partition))
}

fn code(call: &Call, outcome: &Result<(), TransactionError>) -> i16 {
    outcome.as_ref().err().map_or(0, |error| call.fail(code_since(error, call.version, KNOWS_FENCED)))
}
