//! Kafka as the control: the same requests go to Kafka and to Millrace, and their answers are compared field
//! by field. Where Millrace means to differ stands in [`intended`], each with its reason.

mod compare;
pub mod intended;
mod kafka;
mod peer;
mod tree;

pub use compare::{Compared, Pair};
pub use intended::Difference;
pub use kafka::Kafka;
pub use peer::{Answer, Peer};
