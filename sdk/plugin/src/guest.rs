//! What the attribute macros' exports call. Compiled for guests only.

use std::cell::RefCell;
use std::rc::Rc;

use crate::bindings::sink::millrace::plugin::types;
pub use crate::bindings::{partitioner, sink, transform};
use crate::context::Context;
use crate::error::{DeliveryError, Fault};
use crate::partitioner::{Partitioner, PartitionerInstance};
use crate::sink::{Sink, SinkInstance};
use crate::transform::{Transform, TransformInstance};

/// Where the one instance of a guest lives.
pub type Slot<T> = RefCell<Option<T>>;

const NOT_STARTED: &str = "the plugin was not started";

fn context(from: types::Context) -> Context {
    Context {
        deployment: from.deployment,
        version: from.version,
        topic: from.topic,
        partition: from.partition,
        outputs: Rc::from(from.outputs),
        config: from.config.into_iter().collect(),
        block_bytes_max: from.block_bytes_max,
    }
}

pub fn start_transform<T: Transform>(
    slot: &Slot<TransformInstance<T>>,
    from: types::Context,
) -> Result<(), String> {
    let started = TransformInstance::start(&context(from)).map_err(crate::Error::into_message)?;
    *slot.borrow_mut() = Some(started);
    Ok(())
}

pub fn transform_batch<T: Transform>(
    slot: &Slot<TransformInstance<T>>,
    batch: Vec<u8>,
) -> Result<(), String> {
    let mut slot = slot.borrow_mut();
    slot.as_mut().ok_or(NOT_STARTED)?.run(batch).map_err(crate::Error::into_message)
}

pub fn start_partitioner<T: Partitioner>(
    slot: &Slot<PartitionerInstance<T>>,
    from: types::Context,
) -> Result<(), String> {
    let started = PartitionerInstance::start(&context(from)).map_err(crate::Error::into_message)?;
    *slot.borrow_mut() = Some(started);
    Ok(())
}

pub fn partition<T: Partitioner>(
    slot: &Slot<PartitionerInstance<T>>,
    batch: &[u8],
    partitions: u32,
) -> Result<Vec<u32>, String> {
    let slot = slot.borrow();
    slot.as_ref().ok_or(NOT_STARTED)?.run(batch, partitions).map_err(crate::Error::into_message)
}

pub fn start_sink<T: Sink>(slot: &Slot<SinkInstance<T>>, from: types::Context) -> Result<(), String> {
    let started = SinkInstance::start(&context(from)).map_err(crate::Error::into_message)?;
    *slot.borrow_mut() = Some(started);
    Ok(())
}

pub fn deliver<T: Sink>(
    slot: &Slot<SinkInstance<T>>,
    batch: &[u8],
    token: &str,
) -> Result<(), types::DeliveryError> {
    let mut slot = slot.borrow_mut();
    let started = slot.as_mut().ok_or_else(|| to_host(DeliveryError::target(NOT_STARTED)))?;
    started.run(batch, token).map_err(to_host)
}

fn to_host(error: DeliveryError) -> types::DeliveryError {
    types::DeliveryError {
        fault: match error.fault() {
            Fault::Retryable => types::Fault::Retryable,
            Fault::Record => types::Fault::Record,
            Fault::Target => types::Fault::Target,
        },
        delivered: u32::try_from(error.delivered_records()).unwrap_or(u32::MAX),
        retry_after_ms: error.retry_after().map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        message: error.message().to_owned(),
    }
}
