//! What users and the parts of this module say about groups.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A partition by its topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// How a consumer takes part in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// KIP-848 where the brokers serve it, otherwise the classic protocol.
    #[default]
    Auto,
    /// KIP-848: the brokers assign, and only partitions that move pause.
    Consumer,
    /// The classic protocol: a member assigns. For groups with members that know nothing else.
    Classic,
}

/// How the leader of a classic group assigns, by Kafka's names. All members must have one in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Each topic's partitions in ranges, so that equal numbers of several topics meet at one member.
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// As even as can be with as few moves as can be; what does not move is read on meanwhile.
    CooperativeSticky,
}

impl Assignor {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }
}

/// Where a group is to go on in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffset {
    pub partition: TopicPartition,
    /// The next record to read: one past the last that is done.
    pub offset: i64,
    /// -1 where it is not known.
    pub leader_epoch: i32,
    /// A note of the application's.
    pub metadata: String,
}

impl CommitOffset {
    pub fn new(partition: TopicPartition, offset: i64) -> Self {
        Self { partition, offset, leader_epoch: -1, metadata: String::new() }
    }
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub partition: TopicPartition,
    /// None where nothing is committed.
    pub offset: Option<i64>,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// Who a consumer is in its group, for a producer that commits its offsets within a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    pub group: Arc<str>,
    /// Empty outside of the group.
    pub member_id: Arc<str>,
    /// The classic generation or the member's epoch; -1 outside of the group.
    pub generation: i32,
    pub instance_id: Option<Arc<str>>,
}

impl GroupMetadata {
    /// Commits as nobody in particular: possible while the group has no members.
    pub(crate) fn outside(group: Arc<str>) -> Self {
        Self { group, member_id: Arc::from(""), generation: -1, instance_id: None }
    }
}

/// What a member wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    Topics(Vec<Arc<str>>),
    /// Topics whose whole names match; the brokers look for them (RE2 syntax).
    Pattern(Arc<str>),
}

/// A member's settings, as both protocols need them.
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    pub(crate) group: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) rack: Option<String>,
    pub(crate) server_assignor: Option<String>,
    pub(crate) assignors: Vec<Assignor>,
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    /// How long the group waits for a member to give up partitions: as long as it may go without polling.
    pub(crate) rebalance_timeout: Duration,
}
