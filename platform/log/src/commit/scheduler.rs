//! Which way a partition's pending bytes are committed. Pure.
//!
//! The write-ahead log makes many small commits cheap, but what goes through it is written twice. So a large
//! commit goes straight to its segment. Under load the log's quick groups would keep every partition just
//! below "large" and double everything; hence a partition with much traffic is *heavy* and goes straight to
//! its segment whatever is pending: its commits take longer, more gathers meanwhile, and they become large.

use millrace_base::limits::{DIRECT_COMMIT_BYTES_MIN, KIB};

/// Where pending bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Wal,
    Direct,
}

/// In how many milliseconds half of what was appended is forgotten.
const HALF_LIFE_MS: i64 = 16;
/// Remembered bytes at which a partition becomes heavy: some 45 MB/s. Ten such partitions are what a
/// connection or a disk gives in all; below it a quick commit is worth more than bytes saved.
const HEAVY_BYTES: u64 = 1024 * KIB as u64;
/// Remembered bytes below which it is no longer: some 28 MB/s. Apart, so that it does not flap.
const LIGHT_BYTES: u64 = 640 * KIB as u64;

const _: () = assert!(LIGHT_BYTES < HEAVY_BYTES);

/// How much a partition has appended of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heat {
    bytes: u64,
    at_ms: i64,
    heavy: bool,
}

impl Heat {
    pub fn add(&mut self, bytes: u64, now_ms: i64) {
        let half_lives = (now_ms.saturating_sub(self.at_ms) / HALF_LIFE_MS).clamp(0, 63);
        if half_lives > 0 {
            self.bytes >>= half_lives;
            self.at_ms = now_ms;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.heavy = self.bytes >= if self.heavy { LIGHT_BYTES } else { HEAVY_BYTES };
    }

    /// Whether all its commits go to the segment, as of the last append.
    pub fn is_heavy(&self) -> bool {
        self.heavy
    }

    /// The way for `pending_bytes`; `wal_bytes_max` is what one group takes of one partition.
    pub fn route(&self, pending_bytes: u64, wal_bytes_max: usize) -> Route {
        let large = pending_bytes >= DIRECT_COMMIT_BYTES_MIN.min(wal_bytes_max) as u64;
        if large || self.heavy { Route::Direct } else { Route::Wal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_commits_go_to_the_log_and_large_ones_to_the_segment() {
        let heat = Heat::default();
        let small = DIRECT_COMMIT_BYTES_MIN as u64 - 1;
        assert_eq!(heat.route(small, usize::MAX), Route::Wal);
        assert_eq!(heat.route(small + 1, usize::MAX), Route::Direct);
        assert_eq!(heat.route(100, 100), Route::Direct);
    }

    #[test]
    fn a_busy_partition_goes_direct_until_it_has_calmed_down() {
        let mut heat = Heat::default();
        for now_ms in 0..100 {
            heat.add(100 * KIB as u64, now_ms);
        }
        assert_eq!(heat.route(1, usize::MAX), Route::Direct);
        heat.add(0, 100 + HALF_LIFE_MS);
        assert_eq!(heat.route(1, usize::MAX), Route::Direct, "still warm");
        heat.add(0, 100 + 10 * HALF_LIFE_MS);
        assert_eq!(heat.route(1, usize::MAX), Route::Wal);
    }

    #[test]
    fn a_steady_trickle_is_never_heavy_and_a_clock_set_back_does_no_harm() {
        let mut heat = Heat::default();
        for now_ms in 0..1000 {
            heat.add(4 * KIB as u64, now_ms);
        }
        heat.add(4 * KIB as u64, -5000);
        assert_eq!(heat.route(1, usize::MAX), Route::Wal);
    }
}
