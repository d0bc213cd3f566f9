//! Sinks: a batch is delivered to the outside.

use std::sync::Arc;

use millrace_protocol::batch::Batch;
use wasmtime::component::{ComponentType, Lift};

use super::{given, refused};
use crate::Deployment;
use crate::run::{Call, Instance};

/// What became of a batch. Anything else that went wrong is the call's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    Failed(SinkFailure),
}

/// Why a sink did not deliver a batch, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct SinkFailure {
    #[component(name = "fault")]
    pub kind: SinkFault,
    /// The first so many records of the batch have arrived; never more than it has.
    pub delivered: u32,
    /// How long the target asks to be left alone. A wish of somebody outside, which nothing bounds.
    #[component(name = "retry-after-ms")]
    pub retry_after_ms: Option<u64>,
    pub message: String,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum SinkFault {
    /// It may work later.
    #[component(name = "retryable")]
    Retryable,
    /// A record's, which will never be taken.
    #[component(name = "record")]
    Record,
    /// The target's own, whatever the records are.
    #[component(name = "target")]
    Target,
}

/// A sink at one input partition.
pub struct Sink(Instance);

impl Sink {
    pub fn new(deployment: Arc<Deployment>, partition: u32) -> Self {
        Self(Instance::new(deployment, partition))
    }

    /// Delivers `batch`. The token of a batch is the same for each attempt, and no other batch's.
    pub async fn deliver(&mut self, batch: &Batch, token: &str) -> Call<Delivery> {
        let (input, work) = match given(self.0.deployment(), batch) {
            Ok(given) => given,
            Err(failure) => return refused(failure),
        };
        let token = token.to_owned();
        let records = u32::try_from(batch.header.record_count).unwrap_or(0);
        let call = self.0.run(
            work,
            |live| {
                Box::pin(async move {
                    let export =
                        live.export.typed::<(&[u8], &str), (Result<(), SinkFailure>,)>(&live.store)?;
                    Ok(export.call_async(&mut live.store, (&input, &token)).await?.0)
                })
            },
            |returned, _| {
                Ok(match returned {
                    Ok(()) => Delivery::Delivered,
                    Err(failure) => {
                        let delivered = failure.delivered.min(records);
                        Delivery::Failed(SinkFailure { delivered, ..failure })
                    }
                })
            },
        );
        call.await
    }

    /// Whether it holds an instance.
    pub const fn is_live(&self) -> bool {
        self.0.is_live()
    }

    /// Gives back the instance; the next batch starts another.
    pub fn release(&mut self) {
        self.0.release();
    }

    pub const fn partition(&self) -> u32 {
        self.0.partition()
    }
}
