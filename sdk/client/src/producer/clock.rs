//! The time that records get when their senders give them none.

use millrace_base::{Clock, SystemClock};
use rustix::time::{ClockId, clock_gettime};

/// Times of one batch's records: they never go back.
pub(crate) struct BatchClock {
    last_ms: i64,
}

impl BatchClock {
    pub(crate) fn start() -> Self {
        Self { last_ms: SystemClock.now_ms() }
    }

    /// The time, exact for a batch's first record. The clock is half the cost of a small record, so those that
    /// follow take the system's coarse one (a few milliseconds), which does not go back behind the first.
    pub(crate) fn now_ms(&mut self, first: bool) -> i64 {
        if !first {
            let now = clock_gettime(ClockId::RealtimeCoarse);
            let now_ms = now.tv_sec * 1000 + now.tv_nsec / 1_000_000;
            self.last_ms = self.last_ms.max(now_ms);
        }
        self.last_ms
    }
}
