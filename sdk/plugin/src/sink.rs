//! Sinks: they deliver batches to the outside.

use crate::batch::Batch;
use crate::context::Context;
use crate::error::{DeliveryError, Error, Result};

/// A sink. `#[millrace_plugin::sink]` on the implementation makes it the plugin.
pub trait Sink: Sized {
    /// Called once per instance, and an instance serves one partition. An error refuses the deployment.
    fn start(context: &Context) -> Result<Self>;

    /// Returns when every record of the batch has arrived. `token` is the same for each attempt at the same
    /// records and never that of others: it lets the receiver recognise repetitions. [`record_token`] makes one
    /// for a single record of it.
    fn deliver(&mut self, batch: &Batch<'_>, token: &str) -> Result<(), DeliveryError>;
}

/// The token of one record of a batch: the same for every attempt at it, however its batch was cut meanwhile.
pub fn record_token(token: &str, offset: i64) -> String {
    let place = token.rsplit_once('.').map_or(token, |(place, _)| place);
    format!("{place}.{offset}")
}

/// A started sink: what the guest's exports and the tests' harness drive.
#[derive(Debug)]
pub struct SinkInstance<T> {
    plugin: T,
}

impl<T: Sink> SinkInstance<T> {
    /// Starts the plugin.
    pub fn start(context: &Context) -> Result<Self> {
        Ok(Self { plugin: T::start(context)? })
    }

    /// Delivers a packed batch.
    pub fn run(&mut self, batch: &[u8], token: &str) -> Result<(), DeliveryError> {
        let batch = Batch::check(batch).map_err(Error::from)?;
        self.plugin.deliver(&batch, token)
    }
}
