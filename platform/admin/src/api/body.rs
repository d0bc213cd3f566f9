//! Receiving bodies: never more than a limit, and at a pace.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use millrace_protocol::plugins::from_json;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::refusal::Refusal;

const JSON_TYPE: &str = "application/json";
/// Larger than any definition that a person writes or a program makes.
const JSON_BYTES_MAX: usize = 1 << 20;
/// How long a sender may send nothing. What it sends earns time back, as [`BYTES_PER_SECOND_MIN`] says.
const STALL: Duration = Duration::from_secs(30);
/// A module's longest is some eight minutes.
const BYTES_PER_SECOND_MIN: u64 = 128 << 10;

/// The body as JSON.
pub(super) async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let body = receive(request, &[JSON_TYPE], JSON_BYTES_MAX).await?;
    from_json(&body).map_err(|error| Refusal::invalid(error.to_string()))
}

/// As [`json`]; without a body the default.
pub(super) async fn json_or_default<T: DeserializeOwned + Default>(request: Request) -> Result<T, Refusal> {
    let body = receive(request, &[JSON_TYPE], JSON_BYTES_MAX).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    from_json(&body).map_err(|error| Refusal::invalid(error.to_string()))
}

/// The whole body, of one of the media types `allowed` unless it is empty: none that a page's form can send.
pub(super) async fn receive(request: Request, allowed: &[&str], limit: usize) -> Result<Bytes, Refusal> {
    let (head, body) = request.into_parts();
    let announced = announced(&head.headers);
    if announced > limit {
        return Err(Refusal::too_large(limit));
    }
    let media_type = check_media_type(&head.headers, allowed);
    let mut received = BytesMut::with_capacity(announced);
    let mut stream = body.into_data_stream();
    let mut left = STALL;
    loop {
        let asked = Instant::now();
        let next = timeout(left, stream.next()).await;
        let Some(piece) = next.map_err(|_| Refusal::too_slow(STALL, BYTES_PER_SECOND_MIN))? else {
            return Ok(received.freeze());
        };
        left = left.saturating_sub(asked.elapsed());
        let piece = piece.map_err(|error| Refusal::invalid(format!("receive the body: {error}")))?;
        if !piece.is_empty() {
            media_type.as_ref().map_err(|found| Refusal::media_type(found, allowed))?;
        }
        if received.len() + piece.len() > limit {
            return Err(Refusal::too_large(limit));
        }
        received.extend_from_slice(&piece);
        let earned = Duration::from_micros(piece.len() as u64 * 1_000_000 / BYTES_PER_SECOND_MIN);
        left = STALL.min(left + earned);
    }
}

/// The length that the sender announces, if it does.
fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or_default()
}

/// The media type that is not allowed, as an error.
fn check_media_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), String> {
    let found =
        headers.get(header::CONTENT_TYPE).map_or("missing", |value| value.to_str().unwrap_or("garbled"));
    let essence = found.split(';').next().unwrap_or_default().trim();
    if allowed.iter().any(|allowed| essence.eq_ignore_ascii_case(allowed)) {
        Ok(())
    } else {
        Err(found.to_owned())
    }
}
