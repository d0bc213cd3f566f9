//! What is kept in partitions by those who run on a broker, and how they reach the partitions.
//!
//! [`Partitions`] is the one port to them. It ships with a conformance suite, `tests/partitions`, which the broker's
//! implementation and the double that other crates test with both pass.
//!
//! It never knows the metadata, the log engine or the wire.

mod partitions;

pub use partitions::{
    Acknowledged, AppendFailure, Appended, Bounds, Partitions, ReadFailure, TopicFailure, TopicShape,
};
