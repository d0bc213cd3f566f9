//! Producer ids (KIP-98): handed out one by one from blocks that the metadata quorum reserves, so that no
//! two brokers, and no broker before and after a restart, give out the same.

use millrace_base::{BrokerId, ProducerId};
use millrace_metadata::{Command, Metadata, Outcome, SubmitError};
use tokio::sync::Mutex;

/// Ids reserved at a time: one quorum write a thousand producers. What is left of a block is lost when the
/// broker stops, which 63 bits can bear.
const BLOCK: i64 = 1_000;

/// The block in use: its next id, and where it ends.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<std::ops::Range<i64>>,
}

impl ProducerIds {
    /// An id that nobody else has or will get.
    pub(crate) async fn next(
        &self,
        metadata: &Metadata,
        broker: BrokerId,
    ) -> Result<ProducerId, SubmitError> {
        let mut block = self.block.lock().await;
        if block.is_empty() {
            let command = Command::AllocateProducerIds { broker, count: BLOCK };
            let Outcome::ProducerIds { first, count } = metadata.submit(command).await? else {
                let reason =
                    "the metadata answered a request for producer ids with something else".to_owned();
                return Err(SubmitError::Shutdown { reason });
            };
            *block = first.0..first.0 + count;
        }
        let id = block.start;
        block.start += 1;
        Ok(ProducerId(id))
    }
}
