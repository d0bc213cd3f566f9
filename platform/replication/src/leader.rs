//! What a leader keeps: how far each follower is, and which in-sync set it has proposed.

use millrace_base::{BrokerId, LeaderEpoch, Offset};

use crate::assignment::{Identity, Member};

/// A follower as its leader sees it, in this leader epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) id: BrokerId,
    pub(crate) identity: Identity,
    /// Below it the follower has everything durably; -1 until it has fetched with a log that matches.
    pub(crate) end: Offset,
    /// It is in the in-sync set and does not have what it had acknowledged: it counts for nothing until it is out.
    pub(crate) lost: bool,
    /// When it had all that the leader had.
    pub(crate) caught_up_ms: i64,
    last_fetch_ms: i64,
    /// The leader's log end at that fetch.
    last_fetch_log_end: Offset,
}

impl Progress {
    pub(crate) fn new(member: &Member, caught_up_ms: i64) -> Self {
        Self {
            id: member.id,
            identity: member.identity,
            end: -1,
            lost: false,
            caught_up_ms,
            last_fetch_ms: caught_up_ms,
            last_fetch_log_end: Offset::MAX,
        }
    }

    /// The end that counts for the high watermark.
    pub(crate) fn trusted_end(&self) -> Offset {
        if self.lost { -1 } else { self.end }
    }

    /// It has fetched at `end` while the log ended at `log_end`. As in Kafka it has caught up if it is at the end now,
    /// or was by now where the end was at its last fetch.
    pub(crate) fn fetched(&mut self, end: Offset, log_end: Offset, now_ms: i64) {
        if end >= log_end {
            self.caught_up_ms = now_ms;
        } else if end >= self.last_fetch_log_end {
            self.caught_up_ms = self.caught_up_ms.max(self.last_fetch_ms);
        }
        self.end = end;
        self.last_fetch_ms = now_ms;
        self.last_fetch_log_end = log_end;
    }

    pub(crate) fn lags(&self, log_end: Offset, now_ms: i64, lag_max_ms: i64) -> bool {
        self.end != log_end && now_ms - self.caught_up_ms > lag_max_ms
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// The first epoch of this unbroken leadership: what was appended since then has never been truncated.
    pub(crate) led_since: LeaderEpoch,
    /// Where the log ended when the present epoch began.
    pub(crate) epoch_start: Offset,
    /// All replicas but this one; a handful, so that a scan beats a map.
    pub(crate) followers: Vec<Progress>,
    /// The in-sync set that the controller was asked for and may or may not have committed.
    pub(crate) proposed: Option<Vec<BrokerId>>,
    /// Nobody knows what became of the proposal: it is made again at the next wake-up.
    pub(crate) ask_again: bool,
    pub(crate) wake_at_ms: Option<i64>,
}

impl Leader {
    pub(crate) fn follower(&mut self, id: BrokerId) -> Option<&mut Progress> {
        self.followers.iter_mut().find(|follower| follower.id == id)
    }

    /// Whether `id` is in sync by what is committed or by what may be: the maximal set (KIP-497).
    pub(crate) fn may_be_in_sync(&self, committed: &[BrokerId], id: BrokerId) -> bool {
        committed.contains(&id) || self.proposed.as_ref().is_some_and(|proposed| proposed.contains(&id))
    }
}
