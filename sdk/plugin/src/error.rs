//! Why a plugin could not do its work.

use std::error::Error as StdError;
use std::fmt;

/// What a plugin's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure as the deployment's log and a dead letter show it: one line of text.
///
/// Any error turns into it through `?`, together with its causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// A failure in the plugin's own words.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.0
    }

    /// The text, taken out.
    pub fn into_message(self) -> String {
        self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// `Error` is no `std::error::Error` itself: that would leave no room for this conversion.
impl<E: StdError> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self(message)
    }
}

/// Why a sink did not deliver a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryError {
    /// It may work later: the same batch comes again, with the same token, after a pause.
    Retryable(String),
    /// It never will: the deployment's failure policy deals with the batch.
    Permanent(String),
}

impl DeliveryError {
    /// A failure that goes away by itself.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::Retryable(message.into())
    }

    /// A failure that the next attempt would meet again.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::Permanent(message.into())
    }

    /// The text.
    pub fn message(&self) -> &str {
        match self {
            Self::Retryable(message) | Self::Permanent(message) => message,
        }
    }

    /// Whether the batch comes again.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Retryable(_))
    }
}

/// A record that cannot be understood will not be understood next time: plain errors are permanent.
impl From<Error> for DeliveryError {
    fn from(error: Error) -> Self {
        Self::Permanent(error.0)
    }
}

/// A batch that is not laid out as it must be. A host never sends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where in the batch.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "malformed batch: {} at byte {}", self.what, self.at)
    }
}

impl StdError for Malformed {}
