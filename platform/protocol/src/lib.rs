//! Kafka's wire protocol as Millrace speaks it: frames, record batches, compression, served versions.
//!
//! Messages come from the `kafka-protocol` crate (generated from Kafka 4.1's schemas). Written by hand here
//! is what that crate leaves open: guarding its decoders against lengths that lie ([`layout`]), responses
//! and requests whose records are never copied ([`fetch`], [`produce`]), and the record batch ([`batch`]).
//!
//! Invariants: no I/O; bytes in, values out. Nothing decoded from the wire allocates more than a small
//! multiple of what arrived, or than the limit that the caller states.

pub mod api;
pub mod batch;
pub mod compression;
pub mod crc;
pub mod fetch;
pub mod frame;
pub mod key_hash;
pub mod layout;
pub mod plugins;
pub mod private;
pub mod produce;
mod varint;
mod wire;

pub use kafka_protocol::ResponseError as ErrorCode;
pub use kafka_protocol::messages;
pub use kafka_protocol::messages::ApiKey;
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
