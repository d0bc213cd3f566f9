//! The plugin of one worker, whatever its kind, and what its failures mean.

use std::sync::Arc;
use std::time::Duration;

use millrace_plugin_host::packing::OutputBatch;
use millrace_plugin_host::{
    Call, Delivery, Deployment, Failure, Kind, LoadError, Sink, SinkFailure, SinkFault, Transform, Usage,
};
use millrace_protocol::batch::Batch;

use super::batch_run::FailureClass;

/// The longest pause that the outside is granted: what it asks for may be a mistake, or meant ill.
const PAUSE_ASKED_MAX: Duration = Duration::from_mins(5);

pub(crate) enum Guest {
    Transform(Transform),
    Sink(Sink),
}

/// A call that gave nothing.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub class: FailureClass,
    pub error: String,
    /// The first so many records that were given are delivered all the same.
    pub delivered: usize,
    /// The pause that the outside asks for.
    pub pause_min: Duration,
    pub backtrace: Option<String>,
    /// Too many instances are alive.
    pub busy: bool,
}

impl Guest {
    /// `None` for a partitioner, which has no input to be driven with.
    pub fn new(deployment: Arc<Deployment>, partition: i32) -> Option<Self> {
        let partition = u32::try_from(partition).unwrap_or(0);
        match deployment.kind() {
            Kind::Transform => Some(Self::Transform(Transform::new(deployment, partition))),
            Kind::Sink => Some(Self::Sink(Sink::new(deployment, partition))),
            Kind::Partitioner => None,
        }
    }

    /// Gives the batch to the plugin. A sink's output is empty.
    pub async fn call(&mut self, batch: &Batch, token: &str) -> (Result<Vec<OutputBatch>, Failed>, Usage) {
        match self {
            Self::Transform(transform) => {
                let Call { result, usage } = transform.transform(batch).await;
                (result.map_err(|failure| Failed::of(&failure, Kind::Transform)), usage)
            }
            Self::Sink(sink) => {
                let Call { result, usage } = sink.deliver(batch, token).await;
                let delivered = match result {
                    Ok(Delivery::Delivered) => Ok(Vec::new()),
                    Ok(Delivery::Failed(failure)) => Err(Failed::told(failure)),
                    Err(failure) => Err(Failed::of(&failure, Kind::Sink)),
                };
                (delivered, usage)
            }
        }
    }

    pub const fn is_live(&self) -> bool {
        match self {
            Self::Transform(transform) => transform.is_live(),
            Self::Sink(sink) => sink.is_live(),
        }
    }

    pub fn release(&mut self) {
        match self {
            Self::Transform(transform) => transform.release(),
            Self::Sink(sink) => sink.release(),
        }
    }
}

impl Failed {
    fn told(failure: SinkFailure) -> Self {
        let class = match failure.kind {
            SinkFault::Retryable => FailureClass::Retryable,
            SinkFault::Record => FailureClass::Final,
            SinkFault::Target => FailureClass::Plugin,
        };
        let delivered = usize::try_from(failure.delivered).unwrap_or(usize::MAX);
        let pause_min = Duration::from_millis(failure.retry_after_ms.unwrap_or(0)).min(PAUSE_ASKED_MAX);
        Self { class, error: failure.message, delivered, pause_min, backtrace: None, busy: false }
    }

    /// The batch itself cannot be taken apart.
    pub const fn unreadable(error: String) -> Self {
        Self::here(FailureClass::Unreadable, error)
    }

    /// The call has given what nobody takes.
    pub const fn refused(error: String) -> Self {
        Self::here(FailureClass::Final, error)
    }

    const fn here(class: FailureClass, error: String) -> Self {
        Self { class, error, delivered: 0, pause_min: Duration::ZERO, backtrace: None, busy: false }
    }

    fn of(failure: &Failure, kind: Kind) -> Self {
        let class = match failure {
            Failure::Busy(_) | Failure::Load(LoadError::Read { .. }) => FailureClass::Passing,
            Failure::Load(_) | Failure::StartRefused(_) => FailureClass::Plugin,
            Failure::Input(_) => FailureClass::Unreadable,
            // A sink's time goes by waiting for others, who may be quicker later.
            Failure::Elapsed { .. } if kind == Kind::Sink => FailureClass::Retryable,
            _ => FailureClass::Final,
        };
        Self {
            class,
            error: failure.to_string(),
            delivered: 0,
            pause_min: Duration::ZERO,
            backtrace: failure.backtrace().map(str::to_owned),
            busy: matches!(failure, Failure::Busy(_)),
        }
    }
}
