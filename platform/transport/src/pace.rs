//! The pace that a peer must keep while something of it is held: a frame that has begun, replies that it is to read.
//!
//! A peer has so much time without progress, and each byte earns some of it back; only the time that the peer is
//! waited for is spent. So a short stop is borne, and neither a stalled peer nor one that sends a byte now and then
//! stays for long. There are two allowances: a generous one, and one that counts only while receive memory is short,
//! when the slowest are to leave first. Both are kept all the time, so that it is known at once who is slow.

use std::time::Duration;

use crate::limits::TransportLimits;

/// What a peer has left of its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    usual: Allowance,
    while_short: Allowance,
}

#[derive(Clone, Copy, Debug)]
struct Allowance {
    stall_timeout: Duration,
    bytes_per_second: usize,
    left: Duration,
}

impl Pace {
    /// All of the time that `limits` grant.
    pub(crate) fn new(limits: &TransportLimits) -> Self {
        Self {
            usual: Allowance::new(limits.stall_timeout, limits.bytes_per_second_min),
            while_short: Allowance::new(limits.short_stall_timeout, limits.short_bytes_per_second_min),
        }
    }

    /// As [`new`](Self::new), for replies: nobody has to read quicker than usual, but not to stop for as long.
    pub(crate) fn of_replies(limits: &TransportLimits) -> Self {
        Self {
            while_short: Allowance::new(limits.short_stall_timeout, limits.bytes_per_second_min),
            ..Self::new(limits)
        }
    }

    /// The peer was waited for, and `bytes` came of it.
    pub(crate) fn progress(&mut self, waited: Duration, bytes: usize) {
        self.usual.progress(waited, bytes);
        self.while_short.progress(waited, bytes);
    }

    /// How long the peer may be waited for from now on.
    pub(crate) fn left(&self, memory_is_short: bool) -> Duration {
        if memory_is_short { self.usual.left.min(self.while_short.left) } else { self.usual.left }
    }
}

impl Allowance {
    const fn new(stall_timeout: Duration, bytes_per_second: usize) -> Self {
        Self { stall_timeout, bytes_per_second, left: stall_timeout }
    }

    fn progress(&mut self, waited: Duration, bytes: usize) {
        let earned = Duration::from_micros(bytes as u64 * 1_000_000 / self.bytes_per_second as u64);
        self.left = (self.left.saturating_sub(waited) + earned).min(self.stall_timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(&TransportLimits {
            stall_timeout: 10 * SECOND,
            bytes_per_second_min: 100,
            short_stall_timeout: 2 * SECOND,
            short_bytes_per_second_min: 1000,
            ..TransportLimits::default()
        })
    }

    #[test]
    fn a_peer_that_keeps_pace_stays_and_one_that_trickles_does_not() {
        let (mut steady, mut trickling) = (pace(), pace());
        for _ in 0..20 {
            steady.progress(SECOND, 100);
            trickling.progress(SECOND, 10);
        }
        assert_eq!(steady.left(false), 10 * SECOND);
        assert!(trickling.left(false) < SECOND);
        steady.progress(6 * SECOND, 1_000_000);
        assert_eq!(steady.left(false), 10 * SECOND, "no more than the whole is earned back");
    }

    #[test]
    fn who_is_slow_is_known_at_once_when_memory_is_short() {
        let (mut quick, mut slow) = (pace(), pace());
        for _ in 0..5 {
            quick.progress(SECOND, 2000);
            slow.progress(SECOND, 200);
        }
        assert_eq!(quick.left(true), 2 * SECOND);
        assert!(slow.left(true) < SECOND);
        assert_eq!(slow.left(false), 10 * SECOND, "which is quick enough at other times");
    }
}
