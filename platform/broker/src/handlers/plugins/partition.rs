//! PartitionRecords: a producer asks the topic's partitioner where its records belong.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::limits::{BATCH_BYTES_MAX, KIB};
use millrace_protocol::plugins::{PartitionRecords, PluginError, PluginService};

use super::undecodable;

/// A batch, the topic's name and a few numbers.
pub(super) const BODY_BYTES_MAX: usize = BATCH_BYTES_MAX + KIB;

pub(super) async fn answer(service: Arc<dyn PluginService>, body: Bytes) -> Result<Bytes, PluginError> {
    let request = PartitionRecords::decode(body).map_err(|error| undecodable(&error))?;
    let partitions = service.partition(request).await?;
    Ok(PartitionRecords::encode_answer(&Ok(partitions)))
}

pub(super) fn refuse(error: PluginError) -> Bytes {
    PartitionRecords::encode_answer(&Err(error))
}
