//! What a consumer is to its group: two protocols, each a core that does no I/O, and the offsets that a group keeps.
//!
//! A core ([`member`]) is told what came back, what the application has done, and the time; it says what to send, and
//! what the application has to give up and may take. It never gives a partition to the application before its group
//! has said that it is this member's, and never tells the group that one is given up before the application has.

mod classic;
mod consumer;
pub(crate) mod member;
pub(crate) mod offsets;
mod types;

pub(crate) use classic::ClassicMember;
pub(crate) use classic::subscription::decode_assignment;
pub(crate) use consumer::ConsumerMember;
pub use types::{Assignor, CommitOffset, Committed, GroupMetadata, GroupProtocol, TopicPartition};
pub(crate) use types::{GroupSettings, Subscription};
