//! One file a world of the contract. Each value serves one input partition, one batch at a time; its
//! instance is started with the first batch, and given back with [`release`](Transform::release) when idle.

mod partitioner;
mod sink;
mod transform;

pub use partitioner::Partitioner;
pub use sink::{Delivery, Sink, SinkFailure, SinkFault};
pub use transform::Transform;

use std::sync::Arc;

use millrace_protocol::batch::Batch;

use crate::Deployment;
use crate::packing;
use crate::run::{Call, Failure, Usage, Work};

/// What `batch` is to a guest, and the work that it is.
fn given(deployment: &Arc<Deployment>, batch: &Batch) -> Result<(bytes::Bytes, Work), Failure> {
    let input = packing::uncompressed(batch, deployment.limits().input_bytes).map_err(Failure::Input)?;
    let work = Work {
        now_ms: batch.header.max_timestamp,
        base_offset: batch.header.base_offset,
        input_bytes: input.len(),
    };
    Ok((input, work))
}

/// A call that ended before it began.
fn refused<T>(failure: Failure) -> Call<T> {
    Call { result: Err(failure), usage: Usage::default() }
}
