//! What a coordinator says of a produce request's transactions, before their records are taken (KIP-890): partitions are added
//! for clients that rely on it, and for others it is asked whether they were.
//!
//! A transaction that has begun in a partition is not asked about again. One that ends between the answer and the append is
//! noticed there: its last marker is another than it was before the question.

use std::collections::{BTreeSet, HashMap};

use millrace_base::{LeaderEpoch, Offset, ProducerId};
use millrace_coordinator::{ProducerEpoch, TransactionError, TransactionPartitions};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::BatchHeader;
use millrace_protocol::messages::ProduceRequest;

use crate::call::Call;
use crate::error_map::ToErrorCode;
use crate::handlers::lookup;

/// From this version on partitions are added for the client, and each transaction has an epoch of its own.
const ADDS_PARTITIONS: i16 = 12;
/// From this version on topics are named by their ids.
const NAMES_TOPICS_BY_ID: i16 = 13;

/// By a topic's position in the request, and the partition: where the producer's last marker was when its transaction was
/// asked about, or why its records are refused.
pub(crate) type Verified = HashMap<(usize, i32), Result<Offset, ErrorCode>>;

/// A transaction's batch in a request.
struct Asked {
    place: (usize, i32),
    topic: String,
    producer: ProducerEpoch,
}

/// Asks about the transactional batches of a request; those that are not in the answer are none.
pub(crate) async fn verify(call: &Call, request: &ProduceRequest) -> Verified {
    let (mut verified, mut asked) = (Verified::new(), Vec::new());
    let image = call.state.metadata.image();
    for (position, data) in request.topic_data.iter().enumerate() {
        for partition in &data.partition_data {
            let records = partition.records.as_deref().unwrap_or_default();
            let Ok(header) = BatchHeader::parse(records) else { continue };
            if !header.attributes.is_transactional() {
                continue;
            }
            let topic = match call.version < NAMES_TOPICS_BY_ID {
                true => lookup::by_name(&image, &data.name),
                false => lookup::by_id(&image, data.topic_id),
            };
            // Whoever is not here is refused for that.
            let Ok(topic) = topic else { continue };
            let found = lookup::led_here(&call.state, topic, partition.index, LeaderEpoch::UNKNOWN);
            let Ok(found) = found else { continue };
            let producer = ProducerEpoch { id: header.producer_id, epoch: header.producer_epoch };
            let place = (position, partition.index);
            let last_marker = found.log().last_marker(ProducerId(producer.id));
            verified.insert(place, Ok(last_marker));
            if found.log().open_epoch(ProducerId(producer.id)) != Some(producer.epoch) {
                asked.push(Asked { place, topic: topic.name.to_string(), producer });
            }
        }
    }
    if asked.is_empty() {
        return verified;
    }
    let Some(id) = request.transactional_id.as_ref().filter(|id| !id.is_empty()) else {
        let refused = |of: Asked| (of.place, Err(ErrorCode::TransactionalIdAuthorizationFailed));
        verified.extend(asked.into_iter().map(refused));
        return verified;
    };
    for (place, answer) in answers(call, id, asked).await {
        if let Err(error) = answer {
            verified.insert(place, Err(code(call, &error)));
        }
    }
    verified
}

async fn answers(
    call: &Call,
    id: &str,
    asked: Vec<Asked>,
) -> Vec<((usize, i32), Result<(), TransactionError>)> {
    let transactions = &call.state.transactions;
    let mut answers = Vec::with_capacity(asked.len());
    let first = asked[0].producer;
    if call.version >= ADDS_PARTITIONS && asked.iter().all(|of| of.producer == first) {
        let mut partitions = TransactionPartitions::new();
        for of in &asked {
            partitions.entry(of.topic.clone()).or_default().insert(of.place.1);
        }
        let added = transactions.add_partitions(id, first, &partitions, 2).await;
        answers.extend(asked.into_iter().map(|of| (of.place, added.clone())));
        return answers;
    }
    for of in asked {
        let partition = [(of.topic, BTreeSet::from([of.place.1]))].into();
        let answer = if call.version >= ADDS_PARTITIONS {
            transactions.add_partitions(id, of.producer, &partition, 2).await
        } else {
            transactions.verify(id, of.producer, &partition).await
        };
        answers.push((of.place, answer));
    }
    answers
}

/// What a producer is told: what it can mend by trying again it retries.
fn code(call: &Call, error: &TransactionError) -> ErrorCode {
    match error {
        TransactionError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        TransactionError::ConcurrentTransactions if call.version >= ADDS_PARTITIONS => {
            ErrorCode::ConcurrentTransactions
        }
        TransactionError::ConcurrentTransactions
        | TransactionError::NotCoordinator
        | TransactionError::CoordinatorLoadInProgress
        | TransactionError::CoordinatorNotAvailable(_) => ErrorCode::NotEnoughReplicas,
        error => error.to_error_code(),
    }
}
