//! What the attribute macros' code names. Not for plugins, and free to change.

pub use crate::partitioner::PartitionerInstance;
pub use crate::sink::SinkInstance;
pub use crate::transform::TransformInstance;

#[cfg(target_arch = "wasm32")]
pub use crate::guest::{
    Slot, deliver, partition, partitioner, sink, start_partitioner, start_sink, start_transform, transform,
    transform_batch,
};

use crate::error::{DeliveryError, Error};

/// What a plugin function may return: nothing, or a result of nothing.
pub trait Outcome<E> {
    /// As a result.
    fn into_result(self) -> Result<(), E>;
}

impl<E> Outcome<E> for () {
    fn into_result(self) -> Result<(), E> {
        Ok(())
    }
}

impl<E, F: Into<E>> Outcome<E> for Result<(), F> {
    fn into_result(self) -> Result<(), E> {
        self.map_err(Into::into)
    }
}

/// What a partitioner function may return: a number, or a result with one.
pub trait Choice {
    /// As a result.
    fn into_choice(self) -> Result<u32, Error>;
}

impl Choice for u32 {
    fn into_choice(self) -> Result<u32, Error> {
        Ok(self)
    }
}

impl<F: Into<Error>> Choice for Result<u32, F> {
    fn into_choice(self) -> Result<u32, Error> {
        self.map_err(Into::into)
    }
}

/// For functions whose result the macro turns around.
pub fn outcome<E>(outcome: impl Outcome<E>) -> Result<(), E> {
    outcome.into_result()
}

/// The same for sinks.
pub fn delivered(outcome: impl Outcome<DeliveryError>) -> Result<(), DeliveryError> {
    outcome.into_result()
}
