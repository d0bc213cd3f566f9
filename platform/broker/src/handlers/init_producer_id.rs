//! InitProducerId (0 to 5): an id for an idempotent producer (KIP-98).
//!
//! There are no transactions yet. A request with a transactional id gets `UNSUPPORTED_VERSION`, Kafka's
//! answer of a broker that has a feature switched off: clients report it to their user. An error that they
//! retry, such as `COORDINATOR_NOT_AVAILABLE`, would have them try in silence until their time is up.

use millrace_protocol::ErrorCode;
use millrace_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::call::Call;
use crate::error_map::ToErrorCode;

const NONE: i64 = -1;

pub(crate) async fn handle(call: &Call, request: InitProducerIdRequest) -> InitProducerIdResponse {
    match allocate(call, &request).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id.0)).with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(call.fail(error))
            .with_producer_id(ProducerId(NONE))
            .with_producer_epoch(-1),
    }
}

async fn allocate(
    call: &Call,
    request: &InitProducerIdRequest,
) -> Result<millrace_base::ProducerId, ErrorCode> {
    if let Some(id) = &request.transactional_id {
        // Kafka refuses the empty one whether or not it serves transactions.
        return Err(if id.is_empty() { ErrorCode::InvalidRequest } else { ErrorCode::UnsupportedVersion });
    }
    if (request.producer_id.0 == NONE) != (request.producer_epoch == -1) {
        return Err(ErrorCode::InvalidRequest);
    }
    let state = &call.state;
    let next = state.producer_ids.next(&state.metadata, state.node_id).await;
    next.map_err(|error| {
        tracing::warn!(%error, "cannot reserve producer ids");
        match error.to_error_code() {
            // What producers retry; the others are for admin clients.
            ErrorCode::NotController | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorLoadInProgress,
            other => other,
        }
    })
}
