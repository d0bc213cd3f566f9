//! Frames: a length prefix, a header, and the body of one request or response.
//!
//! Request headers have two versions in use: v1 (API key, API version, correlation id, client id) and v2,
//! which adds tagged fields. Response headers are v0 (correlation id) or v1 with tagged fields; an
//! ApiVersions response always has v0, so that a client of any age can read it.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use millrace_base::Payload;

use crate::layout::{self, Guarded};
use crate::private::{PRIVATE_VERSION, PrivateApi, is_private};

/// A length prefix that no frame may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {len} bytes is announced; a length is not negative")]
    Negative { len: i32 },
    #[error("a frame of {len} bytes is announced; the limit is {max} bytes")]
    TooLarge { len: usize, max: usize },
}

/// A request or response that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message ends {missing} bytes early")]
    Truncated { missing: usize },
    #[error("the length {len} of {field} is negative")]
    NegativeLength { field: &'static str, len: i32 },
    #[error("decoding {frame} bytes would take more than {budget} bytes of memory")]
    OverBudget { frame: usize, budget: usize },
    #[error("version {version} does not exist; {min} to {max} do")]
    UnsupportedVersion { version: i16, min: i16, max: i16 },
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// A response or request that cannot be expressed in the version asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("encode {api} version {version}: {reason}")]
pub struct EncodeError {
    pub api: String,
    pub version: i16,
    pub reason: String,
}

impl EncodeError {
    pub(crate) fn new(api_key: i16, version: i16, reason: String) -> Self {
        let api =
            ApiKey::try_from(api_key).map_or_else(|()| format!("API {api_key}"), |key| format!("{key:?}"));
        Self { api, version, reason }
    }
}

/// Length of the frame that `prefix` announces, at most `max` bytes.
pub fn frame_len(prefix: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let len = i32::from_be_bytes(prefix);
    let len = usize::try_from(len).map_err(|_| FrameError::Negative { len })?;
    if len > max { Err(FrameError::TooLarge { len, max }) } else { Ok(len) }
}

/// A request with its header decoded and its body not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub fn decode(mut frame: Bytes) -> Result<Self, DecodeError> {
        let api_key = frame.try_get_i16().map_err(truncated)?;
        let api_version = frame.try_get_i16().map_err(truncated)?;
        let correlation_id = frame.try_get_i32().map_err(truncated)?;
        let client_id = decode_client_id(&mut frame)?;
        if request_header_version(api_key, api_version) >= 2 {
            skip_tagged_fields(&mut frame)?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id, body: frame })
    }
}

fn request_header_version(api_key: i16, api_version: i16) -> i16 {
    match ApiKey::try_from(api_key) {
        Ok(key) => key.request_header_version(api_version),
        Err(()) if is_private(api_key) => 2,
        Err(()) => 1,
    }
}

/// The header's one string: never compact, -1 for null.
fn decode_client_id(frame: &mut Bytes) -> Result<Option<StrBytes>, DecodeError> {
    let len = frame.try_get_i16().map_err(truncated)?;
    if len == -1 {
        return Ok(None);
    }
    let len = usize::try_from(len)
        .map_err(|_| DecodeError::NegativeLength { field: "client_id", len: i32::from(len) })?;
    let text = split_to(frame, len)?;
    StrBytes::from_utf8(text).map(Some).map_err(|_| DecodeError::Malformed("client_id is not UTF-8".into()))
}

/// Header fields of later versions than ours: nothing in them is needed.
fn skip_tagged_fields(frame: &mut Bytes) -> Result<(), DecodeError> {
    for _ in 0..get_varint(frame)? {
        let _tag = get_varint(frame)?;
        let size = get_varint(frame)? as usize;
        split_to(frame, size)?;
    }
    Ok(())
}

fn get_varint(frame: &mut Bytes) -> Result<u32, DecodeError> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = frame.try_get_u8().map_err(truncated)?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DecodeError::Malformed("a variable-length integer has more than five bytes".into()))
}

fn split_to(frame: &mut Bytes, len: usize) -> Result<Bytes, DecodeError> {
    if len > frame.len() {
        return Err(DecodeError::Truncated { missing: len - frame.len() });
    }
    Ok(frame.split_to(len))
}

fn truncated(error: bytes::TryGetError) -> DecodeError {
    DecodeError::Truncated { missing: error.requested - error.available }
}

/// Decodes a body of `version`, after checking that none of its lengths lies (see [`crate::layout`]). Takes
/// what it reads from `body`'s front; strings and records stay slices of it.
pub fn decode_body<T: Guarded>(body: &mut Bytes, version: i16) -> Result<T, DecodeError> {
    let (min, max) = (T::VERSIONS.min, T::VERSIONS.max);
    if version < min || version > max {
        return Err(DecodeError::UnsupportedVersion { version, min, max });
    }
    let walked = layout::check(T::LAYOUT, body, version)?;
    let before = body.len();
    let message = T::decode(body, version).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    debug_assert_eq!(before - body.len(), walked, "the layout is not the decoder's");
    Ok(message)
}

/// A response with its length prefix and header.
pub fn encode_response<T: Encodable + HeaderVersion>(
    correlation_id: i32,
    key: ApiKey,
    version: i16,
    response: &T,
) -> Result<Payload, EncodeError> {
    let mut header = [0; 5];
    header[..4].copy_from_slice(&correlation_id.to_be_bytes());
    // Header v1 ends in the count of its tagged fields: none.
    let header = if key.response_header_version(version) >= 1 { &header[..] } else { &header[..4] };
    encode(key as i16, version, header, response)
}

/// A request with its length prefix and header.
pub fn encode_request<T: Request>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &T,
) -> Result<Payload, EncodeError> {
    let header = request_header(T::KEY, version, T::header_version(version), correlation_id, client_id)?;
    encode(T::KEY, version, &header, request)
}

fn request_header(
    api_key: i16,
    version: i16,
    header_version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Vec<u8>, EncodeError> {
    let client_id_len = client_id.map_or(Ok(-1), |id| i16::try_from(id.len()));
    let client_id_len = client_id_len.map_err(|_| {
        EncodeError::new(api_key, version, format!("a client id has at most {} bytes", i16::MAX))
    })?;
    let mut header = Vec::with_capacity(11 + client_id.map_or(0, str::len));
    header.extend_from_slice(&api_key.to_be_bytes());
    header.extend_from_slice(&version.to_be_bytes());
    header.extend_from_slice(&correlation_id.to_be_bytes());
    header.extend_from_slice(&client_id_len.to_be_bytes());
    header.extend_from_slice(client_id.unwrap_or_default().as_bytes());
    if header_version >= 2 {
        header.push(0);
    }
    Ok(header)
}

/// A request of Millrace's own with its length prefix and header; `body` is not copied.
pub fn encode_private_request(
    correlation_id: i32,
    client_id: Option<&str>,
    api: PrivateApi,
    body: Payload,
) -> Result<Payload, EncodeError> {
    let header = request_header(api.key(), PRIVATE_VERSION, 2, correlation_id, client_id)?;
    with_header(api, &header, body)
}

/// The answer to a request of Millrace's own with its length prefix and header; `body` is not copied.
pub fn encode_private_response(
    correlation_id: i32,
    api: PrivateApi,
    body: Payload,
) -> Result<Payload, EncodeError> {
    let mut header = [0; 5];
    header[..4].copy_from_slice(&correlation_id.to_be_bytes());
    with_header(api, &header, body)
}

/// A frame of a private API: the length prefix and `header`, then `body`.
fn with_header(api: PrivateApi, header: &[u8], body: Payload) -> Result<Payload, EncodeError> {
    let len = header.len() + body.len();
    let prefix = i32::try_from(len).map_err(|_| {
        EncodeError::new(api.key(), PRIVATE_VERSION, format!("{len} bytes do not fit into a frame"))
    })?;
    let mut front = Vec::with_capacity(4 + header.len());
    front.extend_from_slice(&prefix.to_be_bytes());
    front.extend_from_slice(header);
    let mut frame = Payload::from(Bytes::from(front));
    frame.append(body);
    Ok(frame)
}

fn encode<T: Encodable>(
    api_key: i16,
    version: i16,
    header: &[u8],
    message: &T,
) -> Result<Payload, EncodeError> {
    let failed = |reason: String| EncodeError::new(api_key, version, reason);
    let size = message.compute_size(version).map_err(|error| failed(error.to_string()))?;
    let len = header.len() + size;
    let prefix = i32::try_from(len).map_err(|_| failed(format!("{len} bytes do not fit into a frame")))?;
    let mut frame = Vec::with_capacity(4 + len);
    frame.extend_from_slice(&prefix.to_be_bytes());
    frame.extend_from_slice(header);
    message.encode(&mut frame, version).map_err(|error| failed(error.to_string()))?;
    debug_assert_eq!(frame.len(), 4 + len, "API {api_key} version {version} has another size than computed");
    Ok(Payload::from(Bytes::from(frame)))
}

/// Splits a response, which comes without its length prefix, into correlation id and body. `key` and
/// `version` are those of the request that the correlation id must belong to.
pub fn decode_response_header(
    mut frame: Bytes,
    key: ApiKey,
    version: i16,
) -> Result<(i32, Bytes), DecodeError> {
    let correlation_id = frame.try_get_i32().map_err(truncated)?;
    if key.response_header_version(version) >= 1 {
        skip_tagged_fields(&mut frame)?;
    }
    Ok((correlation_id, frame))
}

/// As [`decode_response_header`], for a request of Millrace's own.
pub fn decode_private_response_header(mut frame: Bytes) -> Result<(i32, Bytes), DecodeError> {
    let correlation_id = frame.try_get_i32().map_err(truncated)?;
    skip_tagged_fields(&mut frame)?;
    Ok((correlation_id, frame))
}
