//! FindCoordinator (0 to 6): who coordinates a group or a transaction.
//!
//! A group's coordinator leads the partition of `__consumer_offsets` that holds the group's state, and a transaction's
//! that of `__transaction_state`.
//!
//! A key that is named several times is answered once: an answer is much longer than a key.

use hashbrown::HashSet;
use millrace_base::{BrokerId, TopicPartition};
use millrace_protocol::messages::find_coordinator_response::Coordinator;
use millrace_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::lookup::{self, NO_BROKER, WireBrokerId};
use crate::call::Call;
use crate::state::State;

/// From this version on one request asks for many keys (KIP-699).
const MANY_KEYS: i16 = 4;
/// From this version on the answer has a text.
const HAS_MESSAGE: i16 = 1;

/// What a key may name, by Kafka's numbers.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(crate) async fn handle(call: &Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if call.version >= MANY_KEYS {
        let mut response = FindCoordinatorResponse::default();
        let mut seen = HashSet::new();
        for key in request.coordinator_keys.into_iter().filter(|key| seen.insert(key.clone())) {
            let found = find(call, request.key_type, &key).await;
            response.coordinators.push(found.with_key(key));
        }
        return response;
    }
    let found = find(call, request.key_type, &request.key).await;
    let response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    if call.version < HAS_MESSAGE {
        return response;
    }
    // Kafka's text for success; of many keys it has none.
    let success = || StrBytes::from_static_str("NONE");
    let message = found.error_message.filter(|message| !message.is_empty());
    response.with_error_message(Some(message.unwrap_or_else(success)))
}

async fn find(call: &Call, key_type: i8, key: &str) -> Coordinator {
    let state = &call.state;
    let found = match key_type {
        GROUP => match state.groups.place_of(key).await {
            Ok(place) => led(state, place).await,
            Err(error) => Err((ErrorCode::CoordinatorNotAvailable, error.to_string())),
        },
        SHARE => {
            Err((ErrorCode::UnsupportedVersion, "share groups are not served by this broker".to_owned()))
        }
        TRANSACTION => match state.transactions.place_of(key).await {
            Ok(place) => led(state, place).await,
            Err(error) => Err((ErrorCode::CoordinatorNotAvailable, error.to_string())),
        },
        _ => Err((ErrorCode::InvalidRequest, "there is no coordinator of that type".to_owned())),
    };
    let image = state.metadata.image();
    let found = found.and_then(|id| {
        let unknown =
            || (ErrorCode::CoordinatorNotAvailable, "the coordinator has not registered yet".to_owned());
        image.broker(id).ok_or_else(unknown)
    });
    match found {
        Ok(broker) => Coordinator::default()
            .with_node_id(WireBrokerId(broker.registration.id.0))
            .with_host(StrBytes::from_string(broker.registration.host.clone()))
            .with_port(broker.registration.port.into()),
        Err((error, message)) => Coordinator::default()
            .with_error_code(call.fail(error))
            .with_error_message(Some(StrBytes::from_string(message)))
            .with_node_id(NO_BROKER)
            .with_port(-1),
    }
}

/// Who leads the partition that holds the state of what was asked for.
async fn led(state: &State, place: TopicPartition) -> Result<BrokerId, (ErrorCode, String)> {
    let image = lookup::served_image(state).await;
    let topic = image.topic(place.topic);
    let leader = topic.and_then(|topic| lookup::leader(state, topic, place.partition));
    leader
        .ok_or((ErrorCode::CoordinatorNotAvailable, "nobody leads the partition of its state now".to_owned()))
}
