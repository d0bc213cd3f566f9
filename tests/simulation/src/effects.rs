//! What a host does to the world: messages, alarms, and what invariants get to see.

use millrace_base::{BrokerId, LeaderEpoch, Offset, TopicPartition};

use crate::agenda::Time;
use crate::message::{Asked, Label, Message, Seen};
use crate::network::Host;
use millrace_replication::IsrProposal;

/// A broker's alarms; they end with the life that set them.
#[derive(Clone, Debug)]
pub enum Alarm {
    /// The disk has done what it was given.
    Disk,
    Checkpoint,
    Heartbeat,
    Wake(TopicPartition),
    /// Fetches have waited for records.
    Release(TopicPartition),
    /// No answer has come to a fetch.
    Unfetched(TopicPartition, Asked),
    /// No answer has come to a proposal.
    Unanswered(TopicPartition, IsrProposal),
    /// It starts again after a power cut.
    Start,
}

/// Something that an invariant may be about.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A client was told that its batch is stored.
    Acknowledged {
        by: BrokerId,
        epoch: LeaderEpoch,
        partition: TopicPartition,
        base_offset: Offset,
        labels: Vec<Label>,
    },
    /// These records are below the broker's high watermark now.
    Committed {
        by: BrokerId,
        partition: TopicPartition,
        records: Vec<Seen>,
    },
    HighWatermark {
        by: BrokerId,
        epoch: LeaderEpoch,
        leads: bool,
        partition: TopicPartition,
        to: Offset,
    },
    /// A broker has opened its log again after a power cut. `kept` was durable before, `checkpointed` was the
    /// high watermark of a checkpoint.
    Reopened {
        by: BrokerId,
        partition: TopicPartition,
        durable_end: Offset,
        high_watermark: Offset,
        kept: Offset,
        checkpointed: Offset,
    },
    /// Readers got these.
    Read {
        reader: usize,
        partition: TopicPartition,
        records: Vec<Seen>,
    },
    /// A group was told that its offset is committed, by a coordinator that knew of this leader epoch.
    OffsetCommitted {
        by: BrokerId,
        epoch: LeaderEpoch,
        group: String,
        offset: Offset,
    },
    /// A group was told where it is.
    OffsetRead {
        by: BrokerId,
        epoch: LeaderEpoch,
        group: String,
        offset: Offset,
    },
    /// The core's own rules do not hold.
    Broken(String),
}

#[derive(Default)]
pub struct Effects {
    pub sent: Vec<(Host, Message)>,
    pub alarms: Vec<(Time, Alarm)>,
    pub facts: Vec<Fact>,
}

impl Effects {
    pub fn send(&mut self, to: Host, message: Message) {
        self.sent.push((to, message));
    }

    pub fn alarm(&mut self, after: Time, alarm: Alarm) {
        self.alarms.push((after, alarm));
    }
}
