//! Waiting for a condition: the only place where tests sleep.
//!
//! A crate of its own, so that the tests of any crate can use it.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// Between two looks at a condition.
pub fn pause() {
    thread::sleep(PAUSE);
}

/// Lets time pass where time itself is meant: a crash at some moment, records at some pace, nothing for a while. Never
/// to wait for something to have happened.
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

/// As [`eventually`], without holding the thread.
pub async fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    eventually_async(what, limit, async || condition()).await
}

/// As [`eventually`], for conditions that wait themselves.
pub async fn eventually_async<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
