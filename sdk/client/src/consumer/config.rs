//! A consumer's settings, each with its default and the reason for it.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::consumer::Consumer;
use crate::group::{Assignor, GroupProtocol, GroupSettings};

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The first record that is still there.
    Beginning,
    /// After the last record: only what comes from now on.
    End,
    Offset(i64),
    /// The first record with this timestamp (milliseconds since the Unix epoch) or a later one; the end if
    /// there is none.
    Timestamp(i64),
}

/// Which records of transactions are returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    #[default]
    ReadUncommitted,
    /// Only up to the last stable offset, without aborted records.
    ReadCommitted,
}

/// What to do when a position lies outside of what the partition holds, or is one in a topic that has since been
/// deleted and made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutOfRange {
    /// Report [`crate::FetchError::OutOfRange`] or [`crate::FetchError::Recreated`], until the next seek.
    #[default]
    Fail,
    Beginning,
    End,
}

/// Collects a consumer's settings; [`ConsumerBuilder::build`] makes the consumer.
#[derive(Clone)]
pub struct ConsumerBuilder {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) fetch_min_bytes: usize,
    pub(crate) fetch_max_wait: Duration,
    pub(crate) fetch_max_bytes: usize,
    pub(crate) partition_max_bytes: usize,
    pub(crate) prefetch_bytes: usize,
    pub(crate) isolation: Isolation,
    pub(crate) check_crc: bool,
    pub(crate) on_out_of_range: OnOutOfRange,
    pub(crate) rack: Option<String>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) group_protocol: GroupProtocol,
    pub(crate) group_instance_id: Option<Arc<str>>,
    pub(crate) server_assignor: Option<String>,
    pub(crate) assignors: Vec<Assignor>,
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) max_poll_interval: Duration,
    pub(crate) auto_commit: Option<Duration>,
    pub(crate) start_without_commit: Option<StartAt>,
}

impl ConsumerBuilder {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 16 << 20,
            partition_max_bytes: 4 << 20,
            prefetch_bytes: 32 << 20,
            isolation: Isolation::ReadUncommitted,
            check_crc: false,
            on_out_of_range: OnOutOfRange::Fail,
            rack: None,
            group: None,
            group_protocol: GroupProtocol::Auto,
            group_instance_id: None,
            server_assignor: None,
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            auto_commit: None,
            start_without_commit: None,
        }
    }

    pub(crate) fn group_settings(&self, group: Arc<str>) -> GroupSettings {
        GroupSettings {
            group,
            instance_id: self.group_instance_id.clone(),
            rack: self.rack.clone(),
            server_assignor: self.server_assignor.clone(),
            assignors: self.assignors.clone(),
            session_timeout: self.session_timeout,
            heartbeat_interval: self.heartbeat_interval,
            rebalance_timeout: self.max_poll_interval,
        }
    }

    /// Bytes that the broker collects before it answers, unless `fetch_max_wait` passes. Default 1.
    pub fn fetch_min_bytes(mut self, bytes: usize) -> Self {
        self.fetch_min_bytes = bytes;
        self
    }

    /// How long the broker may hold a fetch back when there is nothing to return. Default 500 ms.
    pub fn fetch_max_wait(mut self, wait: Duration) -> Self {
        self.fetch_max_wait = wait;
        self
    }

    /// Largest answer to one fetch; a first batch larger than that is returned nevertheless. Default 16 MiB.
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.fetch_max_bytes = bytes;
        self
    }

    /// Largest share of one partition in an answer. Default 4 MiB.
    pub fn partition_max_bytes(mut self, bytes: usize) -> Self {
        self.partition_max_bytes = bytes;
        self
    }

    /// Bytes fetched ahead of the application; beyond it fetching pauses. Default 32 MiB.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// Default [`Isolation::ReadUncommitted`], as Kafka's.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Whether every batch's CRC-32C is checked here too. Default false on QUIC and TLS, whose own integrity
    /// check covers the way from the broker's memory; the broker checks when it takes a batch in.
    pub fn check_crc(mut self, check: bool) -> Self {
        self.check_crc = check;
        self
    }

    /// Default [`OnOutOfRange::Fail`]: skipping records is a decision for the application.
    pub fn on_out_of_range(mut self, then: OnOutOfRange) -> Self {
        self.on_out_of_range = then;
        self
    }

    /// This consumer's rack (KIP-392), for reading from a near replica. Default none.
    pub fn rack(mut self, rack: impl Into<String>) -> Self {
        self.rack = Some(rack.into());
        self
    }

    /// The group that the consumer commits for, and whose member [`Consumer::subscribe`] makes it. Default none.
    pub fn group(mut self, id: impl Into<Arc<str>>) -> Self {
        self.group = Some(id.into());
        self
    }

    /// Default [`GroupProtocol::Auto`]: KIP-848 where the brokers serve it.
    pub fn group_protocol(mut self, protocol: GroupProtocol) -> Self {
        self.group_protocol = protocol;
        self
    }

    /// Makes the member static (KIP-345): one that comes back under this id within the session timeout has its
    /// partitions again, without a rebalance. Default none.
    pub fn group_instance_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.group_instance_id = Some(id.into());
        self
    }

    /// How the brokers assign with KIP-848: `uniform` or `range`. Default: the brokers' first, `uniform`.
    pub fn server_assignor(mut self, name: impl Into<String>) -> Self {
        self.server_assignor = Some(name.into());
        self
    }

    /// How members assign with the classic protocol, the preferred one first. Cooperative only if all are. Default
    /// range and cooperative-sticky, as Kafka's Java consumer, so that mixed groups have one in common.
    pub fn assignors(mut self, assignors: &[Assignor]) -> Self {
        self.assignors = assignors.to_vec();
        self
    }

    /// How long a member of a classic group may be silent. Default 45 s, as Kafka's; with KIP-848 the brokers decide.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// Time between a classic member's heartbeats. Default 3 s, as Kafka's; with KIP-848 the brokers decide.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// Longest time between polls. A member that takes longer leaves its group, so that others read on, and takes part
    /// again with its next poll. Default 5 minutes, as Kafka's.
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.max_poll_interval = interval;
        self
    }

    /// Commits by itself at this interval, and before partitions are given up, the positions of what was returned by
    /// polls before the present one. Default none: when a record is done is the application's to say.
    pub fn auto_commit(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.auto_commit = interval.into();
        self
    }

    /// Where a group begins in a partition that it has committed nothing for. Default none, which is an error: skipping
    /// records, or reading all again, is a decision for the application.
    pub fn start_without_commit(mut self, start: StartAt) -> Self {
        self.start_without_commit = Some(start);
        self
    }

    /// Makes the consumer; nothing is read before [`Consumer::assign`] or [`Consumer::subscribe`].
    pub fn build(self) -> Consumer {
        Consumer::new(self)
    }
}
