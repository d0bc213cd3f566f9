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
    /// It may work later, with the same token.
    Retryable(String),
    /// It never will.
    Permanent(String),
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
enum DeliveryError {
    #[component(name = "retryable")]
    Retryable(String),
    #[component(name = "permanent")]
    Permanent(String),
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
        let call = self.0.run(
            work,
            |live| {
                Box::pin(async move {
                    let export =
                        live.export.typed::<(&[u8], &str), (Result<(), DeliveryError>,)>(&live.store)?;
                    Ok(export.call_async(&mut live.store, (&input, &token)).await?.0)
                })
            },
            |returned, _| {
                Ok(match returned {
                    Ok(()) => Delivery::Delivered,
                    Err(DeliveryError::Retryable(reason)) => Delivery::Retryable(reason),
                    Err(DeliveryError::Permanent(reason)) => Delivery::Permanent(reason),
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
