//! Changes of the metadata on behalf of a client: submitted, or only tried.

use millrace_metadata::apply::apply;
use millrace_metadata::{Command, Image, Rejection, SubmitError};
use millrace_protocol::{ErrorCode, StrBytes};

use crate::error_map::ToErrorCode;
use crate::state::State;

/// Why a change was refused: Kafka's error, and a text for the person who asked.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The text as a response carries it.
    pub(crate) fn wire_message(self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.message))
    }
}

impl<E: ToErrorCode + std::fmt::Display> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::new(error.to_error_code(), error.to_string())
    }
}

/// Has the quorum carry out `command`, and this broker's logs follow before the client is answered, so
/// that it can use at once what it made. With `validate_only` the command is only tried on a copy.
pub(crate) async fn change(state: &State, command: Command, validate_only: bool) -> Result<(), Refusal> {
    if validate_only {
        return Ok(try_on_copy(&state.metadata.image(), &command)?);
    }
    Ok(submit(state, command).await?)
}

/// [`change`] without a trial, for callers that tell one refusal from another.
pub(crate) async fn submit(state: &State, command: Command) -> Result<(), SubmitError> {
    state.metadata.submit(command).await?;
    if let Err(error) = state.partitions.catch_up(state.metadata.image()).await {
        // The change stands; the task that follows the metadata tries again.
        tracing::error!(%error, "cannot apply a change of the metadata to this broker's logs");
    }
    Ok(())
}

fn try_on_copy(image: &Image, command: &Command) -> Result<(), Rejection> {
    let index = image.applied_index() + 1;
    apply(&mut image.clone(), index, command).map(|_| ())
}
