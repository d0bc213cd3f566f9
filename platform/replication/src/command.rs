//! What leaves the core: commands for its driver, and refusals for whoever asked.

use millrace_base::{BrokerId, LeaderEpoch, Offset};

/// What the driver has to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// This replica leads from now on: the log notes that the epoch begins at its end, and fences older appends.
    BeginEpoch(LeaderEpoch),
    /// Another replica leads, or none: the log fences appends of older epochs.
    FollowEpoch(LeaderEpoch),
    /// Remove every record from `to` on, and the whole batch that `to` lies in, durably; then report with
    /// [`Replica::on_cut`](crate::Replica::on_cut).
    Truncate { to: Offset },
    /// Remove every record and go on at `start`, durably; then report with
    /// [`Replica::on_cut`](crate::Replica::on_cut).
    Reset { start: Offset },
    /// The leader has deleted what is below: delete it here, too.
    RaiseLogStart { to: Offset },
    /// Records below are committed: keep it beside the log, answer who waits for it, wake readers. It is below the
    /// last one only after a truncation below that.
    PublishHighWatermark(Offset),
    /// Answer these waiters at once; waiting readers look again.
    Fail { who: Waiters, why: Refused },
    /// Append the records of the fetch answer that was just handed in, and report with
    /// [`Replica::on_append_fetched`](crate::Replica::on_append_fetched).
    AppendFetched,
    /// Fetch from the leader: everything below `offset` is durable here. Exactly one
    /// [`Replica::on_fetch_answer`](crate::Replica::on_fetch_answer) follows, a failure if no answer came.
    FetchFrom {
        leader: BrokerId,
        leader_epoch: LeaderEpoch,
        offset: Offset,
        /// Epoch of the record before `offset`; unknown where the log is empty.
        last_fetched_epoch: LeaderEpoch,
    },
    /// Ask the controller. Exactly one [`Replica::on_isr_answer`](crate::Replica::on_isr_answer) follows.
    ProposeIsr(IsrProposal),
    /// Call [`Replica::on_time`](crate::Replica::on_time) at this time or later.
    WakeAt(i64),
}

/// Who waits on a leader's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiters {
    /// Producers that wait for the in-sync replicas (`acks=all`).
    Replicated,
    /// Those, and the ones that wait for this replica alone (`acks=1`).
    All,
}

/// Other replicas in sync (AlterPartition). The controller applies it only to the partition as these epochs name it,
/// and only if each member's broker still has its epoch (KIP-903).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// Members with their broker epochs, in the order of the assignment.
    pub isr: Vec<(BrokerId, i64)>,
}

/// Why something was not done. The driver maps it to the wire's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this replica does not lead the partition")]
    NotLeader,
    /// KIP-320: who asks has missed an election.
    #[error("leader epoch {given} is older than {current}")]
    FencedEpoch { given: LeaderEpoch, current: LeaderEpoch },
    /// KIP-320: this replica has missed one.
    #[error("leader epoch {given} is newer than {current}")]
    UnknownEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("{in_sync} replicas are in sync, and min.insync.replicas asks for {least}")]
    NotEnoughReplicas { in_sync: usize, least: usize },
    /// The records are in the leader's log and may yet be committed.
    #[error(
        "the records are appended, but {in_sync} replicas are in sync and min.insync.replicas asks for {least}"
    )]
    NotEnoughReplicasAfterAppend { in_sync: usize, least: usize },
    #[error("broker {0} has no replica of the partition")]
    UnknownReplica(BrokerId),
    /// The process that asks has been replaced by a later one.
    #[error("broker epoch {given} is older than {current}")]
    StaleBroker { given: i64, current: i64 },
    #[error("offset {offset} is outside the log's {start}..={end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    /// The epoch of the fetcher's last record is one that this log has never heard of.
    #[error("leader epoch {0} is not in the log's history")]
    UnknownHistory(LeaderEpoch),
}
