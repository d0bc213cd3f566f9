//! Look-ups in the replica's log, and the one rule by which two logs are compared (KIP-101, KIP-279, KIP-595).

use millrace_base::{LeaderEpoch, Offset};

use crate::command::Refused;

/// What the core asks of its replica's log. Look-ups only: nothing changes, nothing blocks.
pub trait History {
    fn log_start(&self) -> Offset;

    /// The offset after the last record that a crash would keep.
    fn durable_end(&self) -> Offset;

    fn log_end(&self) -> Offset;

    /// The leader epoch of the record at `offset`; `None` if it is not known.
    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch>;

    /// The largest epoch at or below `epoch` that the log knows, and the offset at which the next one begins or the
    /// log ends. An epoch below all that are known ends where the first of them begins. `None`: `epoch` is newer than
    /// all, or none is known.
    fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)>;
}

/// A point of a leader's history that a fetcher's log does not share: the largest epoch at or below that of the
/// fetcher's last record, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

/// Where a log that goes up to `offset`, its last record being of `last_epoch`, leaves this one; `None`: it is a prefix.
/// A fetcher that does not tell the epoch is believed.
pub fn divergence(
    log: &impl History,
    last_epoch: LeaderEpoch,
    offset: Offset,
) -> Result<Option<Divergence>, Refused> {
    if last_epoch == LeaderEpoch::UNKNOWN {
        return Ok(None);
    }
    let shared = shared_end(log, last_epoch).ok_or(Refused::UnknownHistory(last_epoch))?;
    Ok((shared.epoch < last_epoch || shared.end < offset).then_some(shared))
}

/// What OffsetForLeaderEpoch answers, and what [`divergence`] compares with: the furthest point up to which a log whose
/// last record is of `epoch` may agree with this one. `None`: there is none, or it is not known.
pub fn shared_end(log: &impl History, epoch: LeaderEpoch) -> Option<Divergence> {
    log.end_of_epoch(epoch).map(|(epoch, end)| Divergence { epoch, end })
}

/// Where a follower cuts its log after its leader has named a divergence: the last point up to which both may agree.
/// Asking again from there finds out (KIP-279: every round goes back at least one epoch).
pub(crate) fn cut(log: &impl History, leader: Divergence) -> Offset {
    let own_end = shared_end(log, leader.epoch).map_or(log.log_end(), |own| own.end);
    own_end.min(leader.end).max(log.log_start())
}

/// The epoch of the record before `end`, which a follower tells its leader; unknown where the log has none.
pub(crate) fn last_epoch(log: &impl History, end: Offset) -> LeaderEpoch {
    if end <= log.log_start() {
        return LeaderEpoch::UNKNOWN;
    }
    log.epoch_at(end - 1).unwrap_or(LeaderEpoch::UNKNOWN)
}
