//! Frames: a length prefix, a header, and the body of one request or response.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use millrace_base::Payload;

use crate::layout::Guarded;

/// A length prefix that no frame may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {len} bytes is announced; a length is not negative")]
    Negative { len: i32 },
    #[error("a frame of {len} bytes is announced; the limit is {max} bytes")]
    TooLarge { len: usize, max: usize },
}

/// A request or response that cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the message ends {missing} bytes early")]
    Truncated { missing: usize },
    #[error("a length of {len} is not possible here")]
    BadLength { len: i64 },
    #[error("decoding {frame} bytes would take more than {budget} bytes of memory")]
    OverBudget { frame: usize, budget: usize },
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// A response or request that cannot be expressed in the version asked for.
#[derive(Debug, thiserror::Error)]
#[error("encode {api} version {version}: {reason}")]
pub struct EncodeError {
    pub api: &'static str,
    pub version: i16,
    pub reason: String,
}

/// Length of the frame that `prefix` announces, at most `max` bytes.
pub fn frame_len(prefix: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let len = i32::from_be_bytes(prefix);
    let len = usize::try_from(len).map_err(|_| FrameError::Negative { len })?;
    if len > max { Err(FrameError::TooLarge { len, max }) } else { Ok(len) }
}

/// A request with its header decoded and its body not yet.
#[derive(Clone, Debug)]
pub struct RequestFrame {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<StrBytes>,
    pub body: Bytes,
}

impl RequestFrame {
    /// Decodes the header of `frame`, which comes without its length prefix. An unknown API is taken to
    /// have header v1, so that it can be answered with an error.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let _ = frame;
        unimplemented!()
    }
}

/// Decodes a body of `version`, after checking that none of its lengths lies. Takes what it reads from
/// `body`'s front; strings and records stay slices of it.
pub fn decode_body<T: Guarded>(body: &mut Bytes, version: i16) -> Result<T, DecodeError> {
    let _ = (body, version);
    unimplemented!()
}

/// A response with its length prefix and header.
pub fn encode_response<T: Encodable + HeaderVersion>(
    correlation_id: i32,
    key: ApiKey,
    version: i16,
    response: &T,
) -> Result<Payload, EncodeError> {
    let _ = (correlation_id, key, version, response);
    unimplemented!()
}

/// A request with its length prefix and header.
pub fn encode_request<T: Request>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &T,
) -> Result<Payload, EncodeError> {
    let _ = (correlation_id, client_id, version, request);
    unimplemented!()
}

/// Splits a response, which comes without its length prefix, into correlation id and body.
pub fn decode_response_header(frame: Bytes, key: ApiKey, version: i16) -> Result<(i32, Bytes), DecodeError> {
    let _ = (frame, key, version);
    unimplemented!()
}
