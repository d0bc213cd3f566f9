//! FindCoordinator (0 to 6): who coordinates a group or a transaction.
//!
//! Groups have no coordinator yet. Their answer is `UNSUPPORTED_VERSION`, which clients report to their user,
//! with a text that says what is missing; the retriable `COORDINATOR_NOT_AVAILABLE` would have them try for
//! ever. A transaction is sent to this broker, whose InitProducerId refuses it: librdkafka asks for a
//! coordinator again and again in silence whatever the error, but reports one of InitProducerId.
//!
//! A key that is named several times is answered once: an answer is much longer than a key.

use hashbrown::HashSet;
use millrace_protocol::messages::find_coordinator_response::Coordinator;
use millrace_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::lookup::{NO_BROKER, WireBrokerId};
use crate::call::Call;

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
        let mut seen = HashSet::new();
        let once = request.coordinator_keys.into_iter().filter(|key| seen.insert(key.clone()));
        let find = |key: StrBytes| find(call, request.key_type).with_key(key);
        return FindCoordinatorResponse::default().with_coordinators(once.map(find).collect());
    }
    let found = find(call, request.key_type);
    let response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    if call.version < HAS_MESSAGE { response } else { response.with_error_message(found.error_message) }
}

fn find(call: &Call, key_type: i8) -> Coordinator {
    let (error, message) = match key_type {
        GROUP => (ErrorCode::UnsupportedVersion, "consumer groups are not served by this broker yet"),
        SHARE => (ErrorCode::UnsupportedVersion, "share groups are not served by this broker"),
        TRANSACTION => {
            let image = call.state.metadata.image();
            if let Some(broker) = image.broker(call.state.node_id) {
                return Coordinator::default()
                    .with_node_id(WireBrokerId(broker.registration.id.0))
                    .with_host(StrBytes::from_string(broker.registration.host.clone()))
                    .with_port(broker.registration.port.into());
            }
            (ErrorCode::CoordinatorNotAvailable, "this broker has not registered yet")
        }
        _ => (ErrorCode::InvalidRequest, "there is no coordinator of that type"),
    };
    Coordinator::default()
        .with_error_code(call.fail(error))
        .with_error_message(Some(StrBytes::from_static_str(message)))
        .with_node_id(NO_BROKER)
        .with_port(-1)
}
