//! InitProducerId (0 to 5): an id for an idempotent producer (KIP-98), and an epoch for one with transactions, whose last
//! one is ended first (KIP-360).

use millrace_coordinator::{NO_PRODUCER_ID, ProducerEpoch};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::call::Call;
use crate::error_map::ToErrorCode;

const NO_EPOCH: i16 = -1;
/// From this version on a producer knows what it means that another one has its id.
const KNOWS_FENCED: i16 = 4;

pub(crate) async fn handle(call: &Call, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let given = match &request.transactional_id {
        None => allocate(call, &request).await,
        Some(id) => init(call, id, &request).await,
    };
    match given {
        Ok(ProducerEpoch { id, epoch }) => {
            InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
        }
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(call.fail(error))
            .with_producer_id(ProducerId(NO_PRODUCER_ID))
            .with_producer_epoch(NO_EPOCH),
    }
}

/// What a producer that goes on takes itself for.
fn expected(request: &InitProducerIdRequest) -> Result<Option<ProducerEpoch>, ErrorCode> {
    let (id, epoch) = (request.producer_id.0, request.producer_epoch);
    match (id == NO_PRODUCER_ID, epoch == NO_EPOCH) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(ProducerEpoch { id, epoch })),
        _ => Err(ErrorCode::InvalidRequest),
    }
}

async fn allocate(call: &Call, request: &InitProducerIdRequest) -> Result<ProducerEpoch, ErrorCode> {
    expected(request)?;
    let state = &call.state;
    let next = state.producer_ids.next(&state.metadata, state.node_id).await;
    let id = next.map_err(|error| {
        tracing::warn!(%error, "cannot reserve producer ids");
        match error.to_error_code() {
            // What producers retry; the others are for admin clients.
            ErrorCode::NotController | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorLoadInProgress,
            other => other,
        }
    })?;
    Ok(ProducerEpoch { id: id.0, epoch: 0 })
}

async fn init(call: &Call, id: &str, request: &InitProducerIdRequest) -> Result<ProducerEpoch, ErrorCode> {
    // Kafka refuses the empty one whatever else is asked for.
    if id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let expected = expected(request)?;
    let given = call.state.transactions.init_producer(id, request.transaction_timeout_ms, expected).await;
    given.map_err(|error| match error.to_error_code() {
        ErrorCode::ProducerFenced if call.version < KNOWS_FENCED => ErrorCode::InvalidProducerEpoch,
        code => code,
    })
}
