//! HTTP requests, to hosts that the operator granted.
//!
//! ```no_run
//! # use millrace_plugin::{DeliveryError, http::Request};
//! # fn example() -> Result<(), DeliveryError> {
//! let response = Request::post("https://hooks.example.com/orders")
//!     .header("content-type", "application/json")
//!     .body(r#"{"id":7}"#)
//!     .send()?
//!     .accepted()?;
//! # let _ = response;
//! # Ok(()) }
//! ```

mod retry_after;
#[cfg(target_arch = "wasm32")]
mod wasi;

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::error::DeliveryError;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::http as host;
#[cfg(target_arch = "wasm32")]
use wasi as host;

/// What a request may take from its first byte to the response's last, unless it says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Bytes of a response that are kept unless a request says otherwise.
const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a refusal's body that its error message quotes.
const QUOTED_MAX: usize = 300;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, …
    pub method: String,
    /// `http://` or `https://`, authority, path and query.
    pub url: String,
    /// The headers, but for those that the host sets: `host` and `content-length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// For the whole exchange, from connecting to the response's last byte.
    pub timeout: Duration,
    /// Bytes of the response's body that are read; it is cut there.
    pub response_bytes_max: usize,
}

impl Request {
    /// A request of any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: TIMEOUT_DEFAULT,
            response_bytes_max: RESPONSE_BYTES_MAX,
        }
    }

    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// A `PUT`.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// With this header too.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With this timeout.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the request and waits for the whole response, whatever its status.
    pub fn send(&self) -> Result<Response, Error> {
        host::send(self)
    }
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body was longer than the request wanted, and ends early.
    pub is_cut: bool,
}

impl Response {
    /// The first header of this name, given in lower case, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        str::from_utf8(value).ok()
    }

    /// The response if its status says success. What passes by itself (408, 425, 429 and the 5xx that do
    /// not mean "never") is retryable, with the pause that `retry-after` asks for. What speaks of the request's
    /// content (400, 409, 413, 414, 422, 431) is a record's fault. Every other status is the target's: leaving
    /// records out would not mend it, and would lose them.
    pub fn accepted(self) -> Result<Self, DeliveryError> {
        let status = self.status;
        if (200..300).contains(&status) {
            return Ok(self);
        }
        let quoted = String::from_utf8_lossy(&self.body[..self.body.len().min(QUOTED_MAX)]);
        let message = format!("HTTP status {status}: {}", quoted.trim());
        let error = match status {
            400 | 409 | 413 | 414 | 422 | 431 => DeliveryError::record(message),
            501 | 505 => DeliveryError::target(message),
            408 | 425 | 429 | 500.. => DeliveryError::retryable(message),
            _ => DeliveryError::target(message),
        };
        let pause = self.header("retry-after").and_then(|text| retry_after::pause(text, SystemTime::now()));
        Err(match pause {
            Some(pause) if error.is_retryable() => error.after(pause),
            _ => error,
        })
    }
}

/// A request without a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request cannot be sent: its URL or a header is wrong, or its host was not granted.
    Refused(String),
    /// The other side could not be reached or did not answer properly.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(message) => write!(formatter, "request refused: {message}"),
            Self::Failed(message) => write!(formatter, "request failed: {message}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for DeliveryError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Refused(_) => Self::target(message),
            Error::Failed(_) => Self::retryable(message),
        }
    }
}

/// Scheme, authority, and path with query of a URL.
pub fn split_url(url: &str) -> Result<(&str, &str, &str), Error> {
    let wrong = |what: &str| Error::Refused(format!("`{url}` is no URL: {what}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
    if scheme != "http" && scheme != "https" {
        return Err(wrong("its scheme is neither http nor https"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.contains('@') {
        return Err(wrong("its host is missing, or it names a user"));
    }
    let path = path.split('#').next().unwrap_or_default();
    Ok((scheme, authority, if path.is_empty() { "/" } else { path }))
}
