//! Why a plugin could not do its work.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

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

/// Whose fault it is that a batch was not delivered, and so what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody's for long: what is not delivered comes again after a pause.
    Retryable,
    /// A record's, which will never be taken: the deployment's failure policy deals with it.
    Record,
    /// The target's or the deployment's own, whatever the records are: the deployment stops where it is.
    Target,
}

/// Why a sink did not deliver a batch.
///
/// ```
/// # use {millrace_plugin::DeliveryError, std::time::Duration};
/// DeliveryError::retryable("the receiver is busy").delivered(38).after(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryError {
    fault: Fault,
    delivered: usize,
    retry_after: Option<Duration>,
    message: String,
}

impl DeliveryError {
    fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, delivered: 0, retry_after: None, message: message.into() }
    }

    /// A failure that goes away by itself.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new(Fault::Retryable, message)
    }

    /// A failure of a record that the next attempt would meet again.
    pub fn record(message: impl Into<String>) -> Self {
        Self::new(Fault::Record, message)
    }

    /// A failure that every record would meet, until somebody mends the target or the deployment.
    pub fn target(message: impl Into<String>) -> Self {
        Self::new(Fault::Target, message)
    }

    /// With the first `records` of the batch delivered: they do not come again.
    #[must_use]
    pub const fn delivered(mut self, records: usize) -> Self {
        self.delivered = records;
        self
    }

    /// With the pause that the target asks for before the next attempt.
    #[must_use]
    pub const fn after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        self.fault
    }

    /// Whether what is not delivered comes again.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.fault, Fault::Retryable)
    }

    /// How many of the batch's first records have arrived.
    pub const fn delivered_records(&self) -> usize {
        self.delivered
    }

    /// The pause that the target asks for.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// A record that cannot be understood will not be understood next time: plain errors are a record's fault.
impl From<Error> for DeliveryError {
    fn from(error: Error) -> Self {
        Self::record(error.0)
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
