//! Transforms: a batch becomes batches for the output topics.

use std::sync::Arc;

use millrace_protocol::batch::Batch;

use super::{given, refused};
use crate::Deployment;
use crate::packing::OutputBatch;
use crate::run::{Call, Failure, Instance};

/// A transform at one input partition.
pub struct Transform(Instance);

impl Transform {
    pub fn new(deployment: Arc<Deployment>, partition: u32) -> Self {
        Self(Instance::new(deployment, partition))
    }

    /// What `batch` becomes: batches in the order in which the guest emitted them, ready to be appended.
    /// Either all of them or none.
    pub async fn transform(&mut self, batch: &Batch) -> Call<Vec<OutputBatch>> {
        let (input, work) = match given(self.0.deployment(), batch) {
            Ok(given) => given,
            Err(failure) => return refused(failure),
        };
        let call = self.0.run(
            work,
            |live| {
                Box::pin(async move {
                    let export = live.export.typed::<(&[u8],), (Result<(), String>,)>(&live.store)?;
                    Ok(export.call_async(&mut live.store, (&input,)).await?.0)
                })
            },
            |returned, output| match returned {
                Ok(()) => Ok(output.into_batches()),
                Err(reason) => Err(Failure::Refused(reason)),
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
