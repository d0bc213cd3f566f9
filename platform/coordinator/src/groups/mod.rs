//! Groups of consumers, in the internal topic `__consumer_offsets` and in Kafka's formats: who is in them, and how far
//! they are.
//!
//! A group has all its state in one partition, found by its name. Whoever leads that partition coordinates the group:
//! the [`GroupCoordinator`] for clients, and [`CommittedOffsets`] for what runs on the broker itself. Both stand on the
//! same [`state`], since there is one log.

/// Names of the groups of plugins begin with it. What those have committed is theirs to forget, not time's.
pub const PLUGIN_GROUPS: &str = "plugin.";

mod assignor;
mod classic;
mod committed;
mod consumer;
mod coordinator;
mod error;
mod format;
mod state;
mod subscription;

pub use assignor::Assignment;
pub use classic::{
    ClassicSettings, JoinAnswer, JoinRefused, JoinRequest, Joined, JoinedMember, MemberName, MemberProtocol,
    SyncAnswer, SyncRequest, Synced,
};
pub use committed::{CommittedOffsets, KnownOffsets, OFFSETS_TOPIC, OffsetsFailure};
pub use consumer::{
    ConsumerBeat, ConsumerDescription, ConsumerHeartbeat, ConsumerMember, ConsumerSettings, Topics,
};
pub use coordinator::{
    CommitRequest, DescribedMember, GroupCoordinator, GroupDescription, GroupParts, GroupSettings,
    ListedGroup, NewOffset, TopicIds,
};
pub use error::GroupError;
pub use format::offsets::{Committed, OffsetKey};
