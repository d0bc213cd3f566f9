//! The leader has answered this follower's fetch, or nobody has.

use millrace_base::{LeaderEpoch, Offset};

use crate::command::Command;
use crate::follower::Round;
use crate::history::{Divergence, History, cut};
use crate::replica::{Replica, Role};

/// An answer to [`Command::FetchFrom`], with what it was asked with: a late one is told by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    pub leader_epoch: LeaderEpoch,
    pub offset: Offset,
    pub outcome: FetchOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// Whole batches from the offset up to `end`, none if they are equal.
    Records {
        end: Offset,
        high_watermark: Offset,
        log_start: Offset,
    },
    Diverging(Divergence),
    /// The offset is outside of the leader's log.
    OutOfRange {
        log_start: Offset,
        log_end: Offset,
    },
    /// No answer, a refusal, or records that the log would not take: the same is tried again later.
    Failed,
}

impl Replica {
    pub fn on_fetch_answer(
        &mut self,
        answer: &FetchAnswer,
        log: &impl History,
        now_ms: i64,
        out: &mut Vec<Command>,
    ) {
        let Role::Follower(follower) = &mut self.role else { return };
        let asked = follower.round == Round::Fetching { offset: answer.offset };
        let appending = follower.round == Round::Appending { offset: answer.offset };
        let fits = asked || appending && answer.outcome == FetchOutcome::Failed;
        if answer.leader_epoch != self.assignment.leader_epoch || !fits {
            return;
        }
        match answer.outcome {
            FetchOutcome::Records { end, high_watermark, log_start } => {
                follower.leader_high_watermark = high_watermark;
                follower.leader_log_start = log_start;
                if end > answer.offset {
                    follower.round = Round::Appending { offset: answer.offset };
                    out.push(Command::AppendFetched);
                } else {
                    follower.round = Round::Syncing;
                    self.fetch_if_synced(log, out);
                }
            }
            FetchOutcome::Diverging(divergence) => self.truncate(cut(log, divergence), log, now_ms, out),
            FetchOutcome::OutOfRange { log_start, .. } if log_start > answer.offset => {
                self.reset(log_start, out);
            }
            FetchOutcome::OutOfRange { log_end, .. } => self.truncate(log_end, log, now_ms, out),
            FetchOutcome::Failed => self.pause(now_ms, out),
        }
    }

    fn truncate(&mut self, to: Offset, log: &impl History, now_ms: i64, out: &mut Vec<Command>) {
        if to >= self.pointers.log_end {
            // Nothing to cut: the leader's answer and this log do not fit, which only time can change.
            self.pause(now_ms, out);
            return;
        }
        if to < log.log_start() {
            self.reset(to, out);
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        follower.round = Round::Cutting { resets: false };
        out.push(Command::Truncate { to });
    }

    fn reset(&mut self, start: Offset, out: &mut Vec<Command>) {
        let Role::Follower(follower) = &mut self.role else { return };
        follower.round = Round::Cutting { resets: true };
        out.push(Command::Reset { start });
    }

    pub(crate) fn pause(&mut self, now_ms: i64, out: &mut Vec<Command>) {
        let Role::Follower(follower) = &mut self.role else { return };
        let until_ms = now_ms + self.timing.retry_ms;
        follower.round = Round::Pausing { until_ms };
        out.push(Command::WakeAt(until_ms));
    }
}
