//! The time as the host tells it: in a transform or partitioner that of the records, in a sink the real one.

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    host::now_ms()
}

#[cfg(target_arch = "wasm32")]
mod host {
    pub(super) fn now_ms() -> i64 {
        let now = wasip2::clocks::wall_clock::now();
        now.seconds as i64 * 1000 + i64::from(now.nanoseconds / 1_000_000)
    }
}

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::clock as host;
