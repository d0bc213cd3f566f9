//! FindCoordinator (0 to 6): who coordinates a group or a transaction.
//!
//! Nobody does yet. The answer is `UNSUPPORTED_VERSION`, which clients report to their user, with a text
//! that says what is missing; the retriable `COORDINATOR_NOT_AVAILABLE` would have them try for ever.

use millrace_protocol::messages::find_coordinator_response::Coordinator;
use millrace_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::lookup::NO_BROKER;
use crate::dispatch::Call;

/// From this version on one request asks for many keys (KIP-699).
const MANY_KEYS: i16 = 4;
/// From this version on the answer has a text.
const HAS_MESSAGE: i16 = 1;

pub(crate) async fn handle(call: &Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let (error, message) = match request.key_type {
        0 => (ErrorCode::UnsupportedVersion, "consumer groups are not served by this broker yet"),
        1 => (ErrorCode::UnsupportedVersion, "transactions are not served by this broker yet"),
        2 => (ErrorCode::UnsupportedVersion, "share groups are not served by this broker"),
        _ => (ErrorCode::InvalidRequest, "there is no coordinator of that type"),
    };
    let message = Some(StrBytes::from_static_str(message));
    if call.version < MANY_KEYS {
        let response = FindCoordinatorResponse::default()
            .with_error_code(call.fail(error))
            .with_node_id(NO_BROKER)
            .with_port(-1);
        return if call.version < HAS_MESSAGE { response } else { response.with_error_message(message) };
    }
    let nobody = |key: StrBytes| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(NO_BROKER)
            .with_port(-1)
            .with_error_code(call.fail(error))
            .with_error_message(message.clone())
    };
    FindCoordinatorResponse::default()
        .with_coordinators(request.coordinator_keys.into_iter().map(nobody).collect())
}
