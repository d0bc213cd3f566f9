//! What the rows of the table check and turn values into.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use millrace_base::limits::FRAME_BYTES_MAX;

use crate::setting::Check;
use crate::value::Value;

/// Of the machine's memory, an eighth for recent records, up to 1 GiB: consumers that keep up are served
/// from it, and what is left over is the page cache's.
pub(super) fn tail_bytes_for(memory_bytes: u64) -> u64 {
    (memory_bytes / 8).min(1 << 30)
}

/// A sixteenth for requests in flight, between two full-sized requests and 1 GiB.
pub(super) fn request_memory_for(memory_bytes: u64) -> u64 {
    (memory_bytes / 16).clamp(2 * FRAME_BYTES_MAX as u64, 1 << 30)
}

pub(super) const NOT_EMPTY: Check = Check::Rule(|value| !value.text().is_empty(), "a text that is not empty");
pub(super) const ADVERTISED_HOST: Check = Check::Rule(
    |value| is_advertisable(value.text()),
    "a host name or an IP address that clients can connect to, without scheme or port (the port is \
     listen.advertised_port); 0.0.0.0 and :: say where to listen, and are nowhere to connect to",
);
pub(super) const PORT: Check = Check::Range(1, u16::MAX as i64);
pub(super) const SOME_TIME: Check = Check::Range(1, i64::MAX);

pub(super) fn duration(value: &Value) -> Duration {
    Duration::from_millis(value.unsigned())
}

/// Whether clients could connect to `host`: a specified address, or what can be a host name. The name need not
/// resolve here, only where the clients are.
fn is_advertisable(host: &str) -> bool {
    /// Longest name of the domain name system.
    const NAME_LEN_MAX: usize = 253;
    if let Ok(address) = host.parse::<IpAddr>() {
        return !address.to_canonical().is_unspecified();
    }
    let may_have = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    // Resolvers read `0` and `127.1` as addresses.
    let has_letter = host.contains(|letter: char| letter.is_ascii_alphabetic());
    has_letter && host.len() <= NAME_LEN_MAX && host.chars().all(may_have)
}

/// The check has parsed it; the fallback only spares a panic.
pub(super) fn address(value: &Value, fallback: SocketAddr) -> SocketAddr {
    value.text().parse().unwrap_or(fallback)
}

pub(super) fn path(value: &Value) -> PathBuf {
    PathBuf::from(value.text())
}
