//! What a produce response means for each of the batches in its request.

use std::sync::Arc;
use std::time::Instant;

use millrace_protocol::ErrorCode;
use millrace_protocol::messages::ProduceResponse;
use millrace_protocol::messages::produce_response::PartitionProduceResponse;

use crate::error::{RequestError, SendError, TransactionError, describe};
use crate::producer::Shared;
use crate::producer::core::{Answer, Command, Outcome};
use crate::producer::lane::Part;
use crate::producer::partition::{Partition, Sent};

/// Hands each batch its answer and sends what became due by that.
pub(crate) fn apply(producer: &Shared, parts: Vec<Part>, response: Result<ProduceResponse, RequestError>) {
    match response {
        Ok(response) => {
            for part in parts {
                match find(&response, &part) {
                    Some(found) => apply_one(producer, &part, found),
                    None => {
                        let reason = "the broker's response leaves the partition out".to_owned();
                        producer.answer(&part, Answer::Again { reason, stale_metadata: false });
                    }
                }
            }
        }
        Err(error) => {
            let reason = error.to_string();
            for part in parts {
                producer.answer(&part, Answer::Again { reason: reason.clone(), stale_metadata: true });
            }
        }
    }
    producer.kick_all();
}

fn find<'a>(response: &'a ProduceResponse, part: &Part) -> Option<&'a PartitionProduceResponse> {
    // Newer versions name the topic by its id alone; a request rarely carries more than one topic.
    let by_name = |name: &str| name.is_empty() || *name == *part.partition.topic;
    let topics = &response.responses;
    let id = (topics.len() > 1).then(|| part.partition.state.lock().topic_id.0);
    topics
        .iter()
        .filter(|topic| {
            by_name(&topic.name.0) && id.is_none_or(|id| topic.topic_id.is_nil() || topic.topic_id == id)
        })
        .flat_map(|topic| &topic.partition_responses)
        .find(|partition| partition.index == part.partition.index)
}

fn apply_one(producer: &Shared, part: &Part, response: &PartitionProduceResponse) {
    let Some(code) = ErrorCode::try_from_code(response.error_code) else {
        producer.answer(part, Answer::Stored { base_offset: response.base_offset });
        return;
    };
    let reason = || {
        let (name, message, _) = describe(response.error_code, response.error_message.as_deref());
        format!("{name}: {message}")
    };
    match code {
        ErrorCode::DuplicateSequenceNumber if producer.idempotent => {
            producer.answer(part, Answer::Duplicate { reason: reason() });
        }
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch
            if producer.idempotent
                && (producer.standing.is_none() || code == ErrorCode::OutOfOrderSequenceNumber) =>
        {
            producer.answer(part, Answer::SequenceBroken { reason: reason() });
        }
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge if producer.split(part) => {}
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::KafkaStorageError
        | ErrorCode::ReplicaNotAvailable => {
            producer.answer(part, Answer::Again { reason: reason(), stale_metadata: true });
        }
        code if code.is_retriable() => {
            producer.answer(part, Answer::Again { reason: reason(), stale_metadata: false });
        }
        _ => {
            let (name, message, retriable) = describe(response.error_code, response.error_message.as_deref());
            if let Some(standing) = &producer.standing {
                let transactional_id = standing.transactional_id.to_string();
                standing.fail(match code {
                    ErrorCode::ProducerFenced => TransactionError::Fenced { transactional_id },
                    _ => TransactionError::Failed { transactional_id, reason: format!("{name}: {message}") },
                });
            }
            producer.reject(
                part,
                SendError::Rejected {
                    topic: part.partition.topic.to_string(),
                    partition: part.partition.index,
                    code: response.error_code,
                    name,
                    message,
                    retriable,
                },
            );
        }
    }
}

impl Shared {
    /// Tells the core and carries out what it says.
    pub(crate) fn answer(&self, part: &Part, answer: Answer) {
        let commands = part.partition.state.lock().core.on_answer(part.id, answer, Instant::now());
        self.execute(&part.partition, commands, None);
    }

    /// Fails a batch for good, with the error that its deliveries are to show.
    pub(crate) fn reject(&self, part: &Part, error: SendError) {
        let commands = part.partition.state.lock().core.on_answer(part.id, Answer::Rejected, Instant::now());
        self.execute(&part.partition, commands, Some(error));
    }

    pub(crate) fn execute(
        &self,
        partition: &Arc<Partition>,
        commands: Vec<Command<Arc<Sent>>>,
        rejection: Option<SendError>,
    ) {
        for command in commands {
            match command {
                Command::Complete { batch, outcome } => {
                    self.budget.release(batch.reserved);
                    if let Some((_, bytes)) = batch.wire.lock().take() {
                        self.buffers.give_back(bytes);
                    }
                    batch.delivery.complete(match outcome {
                        Outcome::Stored { base_offset } => Ok(base_offset),
                        Outcome::Rejected => Err(rejection.clone().unwrap_or(SendError::Closed)),
                        Outcome::Expired { reason } => Err(self.given_up(partition, reason)),
                    });
                }
                Command::RefreshMetadata => self.refresh_metadata(),
                Command::WakeAt(_) => self.watch(partition),
                Command::NewIdentity { after } => {
                    self.watch(partition);
                    if let Some(identity) = self.identity_after(after) {
                        partition.state.lock().core.on_identity(identity);
                    }
                }
            }
        }
        // Something may have become due: a place in flight is free, or nothing is in flight any more.
        self.enqueue(partition);
    }

    /// Late, or of a transaction that has failed by it or was aborted before.
    pub(crate) fn given_up(&self, partition: &Partition, reason: String) -> SendError {
        let error = self.expired(partition, reason);
        if let Some(standing) = &self.standing {
            let transactional_id = standing.transactional_id.to_string();
            standing.fail(TransactionError::Failed { transactional_id, reason: error.to_string() });
        }
        error
    }

    pub(crate) fn expired(&self, partition: &Partition, reason: String) -> SendError {
        SendError::Expired {
            topic: partition.topic.to_string(),
            partition: partition.index,
            after: self.pace.delivery_timeout,
            reason,
        }
    }
}
