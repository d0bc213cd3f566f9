//! Produce (3 to 13): appends record batches and answers when they are as safe as the producer asked.
//!
//! `acks=0` has no answer; when it fails the connection is closed, which is all that such a producer can
//! notice; its records may be lost without a word. `acks=1` is answered when this broker has the records on
//! its disk, `acks=all` when every replica in sync has, that is when the high watermark has passed them; where
//! this broker alone is in sync both say the same, and what is acknowledged can be read. On a topic with a
//! relaxed flush policy neither waits for this broker's disk. The commit thread completes the request's
//! [`PendingAcks`], nothing polls in between.
//!
//! What a producer takes for "stored": error 0 of `acks=1` and `acks=all`, for records appended now or, as a
//! duplicate of one of the producer's last five batches, before (then it waits for those).
//! DUPLICATE_SEQUENCE_NUMBER, which clients count as stored as well, is never answered.

mod append;
mod aside;
mod response;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_base::{LeaderEpoch, Offset, Payload};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::ProduceRequest;
use millrace_transport::{CloseReason, Reply};

use super::lookup;
use super::transactions::verify::{Verified, verify};
use crate::call::Call;
use crate::checked_append::Failure;
use crate::partition::{Partition, PendingAcks, Safe};
use append::append;
use aside::append_where_it_fits;
use response::{Answers, Place};

/// From this version on topics are named by their ids.
const NAMES_TOPICS_BY_ID: i16 = 13;

/// Partitions of one request; beyond, its answer would take more memory than its records.
const PARTITIONS_MAX: usize = 100_000;

const ACKS_NONE: i16 = 0;
const ACKS_LEADER: i16 = 1;
const ACKS_ALL: i16 = -1;

/// An append that waits for disks, and where its answer stands.
struct Waiting {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    end: Offset,
    place: Place,
}

pub(crate) async fn start(call: Call, body: Bytes) -> Result<Reply, CloseReason> {
    let bytes = body.len();
    let request: ProduceRequest = call.decode(body)?;
    let partitions: usize = request.topic_data.iter().map(|topic| topic.partition_data.len()).sum();
    if partitions > PARTITIONS_MAX {
        let message = format!("a produce request for {partitions} partitions: the limit is {PARTITIONS_MAX}");
        return Err(CloseReason::Service(message));
    }
    call.state.log.admit(bytes).await;
    let (acks, timeout_ms) = (request.acks, request.timeout_ms);
    let answers = Answers::new(&call, request.topic_data.len());
    let verified = verify(&call, &request).await;
    let (waiting, answers) = append_where_it_fits(&call, request, verified, answers).await?;
    if acks == ACKS_NONE {
        return answers.first_failure().map_or(Ok(Reply::None), |failure| {
            Err(CloseReason::Service(format!("a produce request with acks=0 failed: {failure}")))
        });
    }
    if waiting.is_empty() {
        return call.encode(&answers.into_response()).map(Reply::Ready);
    }
    let safe = if acks == ACKS_LEADER { Safe::Here } else { Safe::Replicated };
    let acks = PendingAcks::new(waiting.len());
    let mut places = Vec::with_capacity(waiting.len());
    for (part, waiting) in waiting.into_iter().enumerate() {
        waiting.partition.acknowledge_at((waiting.epoch, waiting.end), safe, &acks, part);
        places.push(waiting.place);
    }
    let timeout = Duration::from_millis(timeout_ms.max(0).unsigned_abs().into());
    Ok(Reply::Later(Box::pin(answer_when_safe(call, answers, acks, places, timeout))))
}

/// Completes when every part is as safe as asked, or the producer's patience ends: then the parts that are
/// that safe are acknowledged and the others fail.
async fn answer_when_safe(
    call: Call,
    mut answers: Answers,
    acks: Arc<PendingAcks>,
    places: Vec<Place>,
    timeout: Duration,
) -> Payload {
    // What is waited for tells by itself how far it got.
    let _ = tokio::time::timeout(timeout, acks.wait()).await;
    for (part, place) in places.into_iter().enumerate() {
        let error = match acks.outcome(part) {
            None => Some(ErrorCode::RequestTimedOut),
            Some(code) => ErrorCode::try_from_code(code),
        };
        if let Some(error) = error {
            answers.fail_at(place, error);
        }
    }
    call.encode_later(&answers.into_response())
}

/// Appends everything that can be; the rest gets its error.
fn append_all(
    call: &Call,
    request: ProduceRequest,
    verified: &Verified,
    answers: &mut Answers,
) -> Vec<Waiting> {
    let image = call.state.metadata.image();
    let mut waiting = Vec::with_capacity(1);
    for (position, data) in request.topic_data.into_iter().enumerate() {
        let topic = if call.version < NAMES_TOPICS_BY_ID {
            lookup::by_name(&image, &data.name)
        } else {
            lookup::by_id(&image, data.topic_id)
        };
        answers.begin_topic(&data.name, data.topic_id, data.partition_data.len());
        for data in data.partition_data {
            let index = data.index;
            let appended = match topic {
                Err(error) => Err(Failure::from(error)),
                Ok(topic) => {
                    let verified = verified.get(&(position, index)).copied();
                    append(call, topic, index, data.records, request.acks, verified)
                }
            };
            match appended {
                Ok((partition, epoch, appended)) => {
                    let place = answers.appended(index, &appended);
                    waiting.push(Waiting { partition, epoch, end: appended.last_offset + 1, place });
                }
                Err(failure) => answers.failed(index, topic.ok(), &image, failure),
            }
        }
    }
    waiting
}
