//! EndTxn (0 to 5): a producer commits or aborts. From version 5 on each transaction has an epoch of its own, and the answer
//! tells the next one (KIP-890).

use millrace_coordinator::{NO_PRODUCER_ID, ProducerEpoch};
use millrace_protocol::batch::TransactionResult;
use millrace_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId};

use super::code_since;
use crate::call::Call;

const EPOCH_EACH: i16 = 5;
const KNOWS_FENCED: i16 = 2;

pub(crate) async fn handle(call: &Call, request: EndTxnRequest) -> EndTxnResponse {
    let producer = ProducerEpoch { id: request.producer_id.0, epoch: request.producer_epoch };
    let result = if request.committed { TransactionResult::Commit } else { TransactionResult::Abort };
    let client_version = if call.version >= EPOCH_EACH { 2 } else { 0 };
    let id = &request.transactional_id;
    let ended = call.state.transactions.end(id, producer, result, client_version).await;
    let response = EndTxnResponse::default();
    match ended {
        Ok(next) if call.version >= EPOCH_EACH => {
            response.with_producer_id(ProducerId(next.id)).with_producer_epoch(next.epoch)
        }
        Ok(_) => response,
        Err(error) => response
            .with_error_code(call.fail(code_since(&error, call.version, KNOWS_FENCED)))
            .with_producer_id(ProducerId(NO_PRODUCER_ID))
            .with_producer_epoch(-1),
    }
}
