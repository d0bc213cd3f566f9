//! What every other crate may name: identifiers, time, randomness, payloads and the limits of the platform.
//!
//! Admission rules: a type comes in only when two crates that must not know each other both need it;
//! nothing here does I/O (a [`payload::FileSource`] is read by others), knows a wire format or depends on
//! another crate of the platform.

pub mod clock;
pub mod ids;
pub mod limits;
pub mod monotonic;
pub mod payload;
pub mod random;

pub use clock::{Clock, ManualClock, SystemClock};
pub use ids::{BrokerId, LeaderEpoch, Offset, ProducerId, TopicId, TopicPartition};
pub use monotonic::Monotonic;
pub use payload::{FileSource, Payload, Piece};
pub use random::Random;
