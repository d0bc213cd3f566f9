//! Where a request's records are gone through: at once, or, where much is to be expanded or compressed, on a thread
//! that may take its time, so that other connections' requests do not wait behind it. The requests behind it on its
//! own connection do, as they would anyway.

use millrace_base::LeaderEpoch;
use millrace_config::CompressionType;
use millrace_metadata::Image;
use millrace_protocol::batch::BatchHeader;
use millrace_protocol::compression::Codec;
use millrace_protocol::messages::ProduceRequest;
use millrace_protocol::messages::produce_request::TopicProduceData;
use millrace_transport::CloseReason;

use super::response::Answers;
use super::{NAMES_TOPICS_BY_ID, Waiting, append_all, lookup};
use crate::call::Call;
use crate::handlers::transactions::verify::Verified;

/// From so many bytes on the way to another thread and back is little beside the work. Expanded they are a few
/// times as much, and never more than a batch's limit allows for each.
const ASIDE_BYTES_MIN: usize = 16 * 1024;

/// Appends everything that can be; the rest gets its error.
pub(super) async fn append_where_it_fits(
    call: &Call,
    request: ProduceRequest,
    verified: Verified,
    mut answers: Answers,
) -> Result<(Vec<Waiting>, Answers), CloseReason> {
    if !takes_long(call, &request) {
        let waiting = append_all(call, request, &verified, &mut answers);
        return Ok((waiting, answers));
    }
    let turn = call.state.codec_turns.clone().acquire_owned().await;
    let call = call.clone();
    let appended = tokio::task::spawn_blocking(move || {
        // Kept to the end, even if the connection is gone before.
        let _turn = turn;
        let waiting = append_all(&call, request, &verified, &mut answers);
        (waiting, answers)
    });
    appended.await.map_err(|error| CloseReason::Service(format!("a produce request failed: {error}")))
}

fn takes_long(call: &Call, request: &ProduceRequest) -> bool {
    let image = call.state.metadata.image();
    let mut bytes = 0;
    for topic in &request.topic_data {
        for data in &topic.partition_data {
            let records = data.records.as_deref().unwrap_or_default();
            let Ok(header) = BatchHeader::parse(records) else { continue };
            let len = records.len();
            if header.attributes.codec() != Ok(Codec::None)
                || len >= ASIDE_BYTES_MIN && is_encoded_anew(call, &image, topic, data.index)
            {
                bytes += len;
            }
            if bytes >= ASIDE_BYTES_MIN {
                return true;
            }
        }
    }
    false
}

fn is_encoded_anew(call: &Call, image: &Image, topic: &TopicProduceData, index: i32) -> bool {
    let found = if call.version < NAMES_TOPICS_BY_ID {
        lookup::by_name(image, &topic.name)
    } else {
        lookup::by_id(image, topic.topic_id)
    };
    let partition = found.and_then(|topic| lookup::led_here(&call.state, topic, index, LeaderEpoch::UNKNOWN));
    partition.is_ok_and(|partition| {
        let wanted = partition.role().config.compression_type;
        !matches!(wanted, CompressionType::Producer | CompressionType::Uncompressed)
    })
}
