//! A request on its way through its handler.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use millrace_base::Payload;
use millrace_protocol::frame::{EncodeError, decode_body, encode_response};
use millrace_protocol::layout::Guarded;
use millrace_protocol::{ApiKey, Encodable, ErrorCode, HeaderVersion};
use millrace_transport::CloseReason;

use crate::metrics::ApiMetrics;
use crate::state::State;

/// See the module's text.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) state: Arc<State>,
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client: Arc<Client>,
    pub(crate) metrics: Arc<ApiMetrics>,
}

/// Who asks, as it calls itself.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) address: IpAddr,
}

impl Client {
    /// The same peer under the name that its latest request has.
    pub(crate) fn named(self: &Arc<Self>, id: Option<&str>) -> Arc<Self> {
        let id = id.unwrap_or_default();
        if self.id == id {
            return Arc::clone(self);
        }
        Arc::new(Self { id: id.to_owned(), address: self.address })
    }
}

impl Call {
    /// Counts an error and gives its number on the wire.
    pub(crate) fn fail(&self, error: ErrorCode) -> i16 {
        self.state.metrics.error(&self.metrics, error);
        error.code()
    }

    /// The error's number on the wire, 0 for success.
    pub(crate) fn code<T>(&self, result: &Result<T, ErrorCode>) -> i16 {
        result.as_ref().err().map_or(0, |error| self.fail(*error))
    }

    /// Decodes the request's body, all of it.
    pub(crate) fn decode<T: Guarded>(&self, mut body: Bytes) -> Result<T, CloseReason> {
        decode_body(&mut body, self.version).map_err(|error| {
            CloseReason::MalformedRequest(format!("{:?} version {}: {error}", self.key, self.version))
        })
    }

    /// Encodes the response.
    pub(crate) fn encode<T: Encodable + HeaderVersion>(&self, response: &T) -> Result<Payload, CloseReason> {
        encode_response(self.correlation_id, self.key, self.version, response)
            .map_err(|error| CloseReason::Service(error.to_string()))
    }

    /// Encodes a response that was waited for, when it is too late to close the connection.
    pub(crate) fn encode_later<T: Encodable + HeaderVersion>(&self, response: &T) -> Payload {
        self.or_empty(encode_response(self.correlation_id, self.key, self.version, response))
    }

    /// That a response cannot be encoded would be a bug here; the client then gets nothing.
    pub(crate) fn or_empty(&self, encoded: Result<Payload, EncodeError>) -> Payload {
        encoded.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot encode a response");
            Payload::new()
        })
    }
}

/// Why a connection ends on which an API is asked for that nobody serves.
pub(crate) fn unknown_api(api_key: i16) -> CloseReason {
    CloseReason::Service(format!("API {api_key} is not served here"))
}
