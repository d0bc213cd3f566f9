//! How many bytes a second compaction reads and writes at most, all its threads together. Pure: moments are passed in.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bytes that were let through on credit of a time that has not come are waited for.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_per_second: Option<NonZeroU64>,
    /// When all that was taken so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Budget {
    /// `None`: without a limit.
    pub fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, paid: Mutex::new(None) }
    }

    /// Takes `bytes`, and tells how long who took them is to wait before the next. A time without any use is not saved
    /// up.
    pub fn take(&self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let took = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        let mut paid = self.paid.lock();
        let until = paid.map_or(now, |paid| paid.max(now)) + took;
        *paid = Some(until);
        until - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_waited_for_and_rest_is_not_saved_up() {
        let budget = Budget::new(NonZeroU64::new(1000));
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let take = |bytes, ms| budget.take(bytes, at(ms)).as_millis();
        assert_eq!([take(500, 0), take(500, 0), take(100, 900)], [500, 1000, 200]);
        assert_eq!(take(1000, 5000), 1000);
        assert_eq!(Budget::new(None).take(1 << 40, began), Duration::ZERO);
    }
}
