//! Compacted topics: what clients that were not written here read of them, and what Kafka's cleaner makes of the same
//! batches.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

mod beside_kafka;
mod clients;
