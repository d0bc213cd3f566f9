//! Compatibility with clients that were not written here, and with Kafka itself: what the tests under `tests/`
//! share.
//!
//! Each client is a test program of its own, so that one that cannot be installed is left out by name.
//! The programs beside them take the broker's address, so that each can be run against Kafka as it is.

pub mod control;
mod java;
pub mod stored;

pub use java::java;

/// The codecs of Kafka's record batches by the names that clients use.
pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Lines that compress well and tell each other apart.
pub fn lines(prefix: &str, count: usize) -> String {
    (0..count).map(|number| format!("{prefix} {number} {}\n", "and so on ".repeat(8))).collect()
}
