//! What hosts say to each other. The wire's forms are left out: their codecs have suites of their own.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::{BrokerId, LeaderEpoch, Offset, TopicPartition};
use millrace_metadata::Command;
use millrace_replication::{Divergence, IsrAnswer, IsrProposal, ReplicaFetch};

/// What a fetch was asked with; a late answer is told by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub leader_epoch: LeaderEpoch,
    pub offset: Offset,
}

/// What a leader gives a follower.
#[derive(Clone, Debug)]
pub enum Given {
    Records { batches: Bytes, high_watermark: Offset, log_start: Offset },
    Diverging(Divergence),
    OutOfRange { log_start: Offset, log_end: Offset },
    Refused,
}

/// A record as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: Offset,
    pub epoch: LeaderEpoch,
    pub label: Label,
}

/// Who sent a record, and as which of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    pub producer: u64,
    pub number: u64,
}

/// Who sends the records of a coordinator: their numbers tell only one from the other.
pub const COORDINATOR: u64 = u64::MAX;

/// How far a group is in the first partition of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub group: String,
    pub offset: Offset,
}

#[derive(Clone, Debug)]
pub enum Message {
    Register {
        directory: u64,
    },
    Registered {
        epoch: i64,
    },
    Heartbeat {
        epoch: i64,
        applied: u64,
    },
    /// Commands after the first `known`; `alive`: the broker is who it says and not fenced.
    Commands {
        known: u64,
        commands: Vec<Arc<Command>>,
        alive: bool,
    },
    /// There is to be a topic, if there is none of that name.
    MakeTopic {
        name: String,
        partitions: i32,
    },
    ProposeIsr {
        epoch: i64,
        partition: TopicPartition,
        proposal: IsrProposal,
    },
    IsrAnswered {
        partition: TopicPartition,
        proposal: IsrProposal,
        answer: IsrAnswer,
    },
    Fetch {
        partition: TopicPartition,
        fetch: ReplicaFetch,
    },
    Fetched {
        partition: TopicPartition,
        asked: Asked,
        given: Given,
    },
    Produce {
        request: u64,
        partition: TopicPartition,
        batch: Bytes,
    },
    /// Where the batch is, or why it is not known to be anywhere.
    Produced {
        request: u64,
        outcome: Result<Offset, String>,
    },
    Read {
        request: u64,
        partition: TopicPartition,
        offset: Offset,
    },
    /// Committed records from the offset on; `None`: ask another broker.
    Answered {
        request: u64,
        records: Option<Vec<Seen>>,
    },
    CommitOffset {
        request: u64,
        commit: Commit,
    },
    /// Whether the offset is committed, as far as is known.
    OffsetCommitted {
        request: u64,
        done: bool,
    },
    FetchOffset {
        request: u64,
        group: String,
    },
    /// `None`: ask another broker. A group that has committed nothing is at -1.
    OffsetFetched {
        request: u64,
        offset: Option<Offset>,
    },
    WhoLeads {
        partition: TopicPartition,
    },
    Leads {
        partition: TopicPartition,
        leader: Option<BrokerId>,
    },
}
