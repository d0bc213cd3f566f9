//! Waiting for a condition: the only place where tests sleep.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// Between two looks at a condition.
pub(crate) fn pause() {
    thread::sleep(PAUSE);
}

/// Lets time pass where time itself is meant: a crash at some moment, records at some pace. Never to wait for
/// something to have happened.
pub async fn a_while(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Looks again and again until `condition` gives something; fails the test after `limit`, naming `what`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        pause();
    }
}

/// As [`eventually`], for conditions that wait themselves.
pub async fn eventually_async<T, F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
