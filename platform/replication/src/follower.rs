//! What a follower keeps: whom it follows and how far the current round has come.
//!
//! A round is: fetch, append (or cut the log), wait until that is durable, fetch from there. So a fetch offset says what is
//! durable.

use millrace_base::{BrokerId, Offset};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// What the log holds is not all durable yet.
    Syncing,
    /// An answer is awaited.
    Fetching { offset: Offset },
    /// The answer's records are with the driver.
    Appending { offset: Offset },
    /// The log is being cut to where it may agree with the leader's, or begun anew at the leader's start.
    Cutting { resets: bool },
    /// The last fetch failed; the next one begins then.
    Pausing { until_ms: i64 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    pub(crate) leader: BrokerId,
    /// As the leader said last.
    pub(crate) leader_high_watermark: Offset,
    pub(crate) leader_log_start: Offset,
    pub(crate) round: Round,
}
