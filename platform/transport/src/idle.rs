//! Which connections are without a request, so that one of them makes room when there are as many as may be.
//!
//! Whoever opens connections and says nothing on them would otherwise keep everybody out for as long as the idle
//! timeout. Clients know idle connections that are closed: they connect again when they have something to ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Connections that one look at all of them finds.
const FOUND_MAX: usize = 64;
/// Time between two looks that find nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whether a connection is used, and since when it is not.
pub(crate) struct Usage {
    /// What the times are counted from.
    start: Instant,
    /// Pipelines with a frame on its way or a reply owed.
    busy: AtomicUsize,
    idle_since_us: AtomicU64,
    leaving: AtomicBool,
    leave: Notify,
}

impl Usage {
    /// A pipeline has something to do.
    pub(crate) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// A pipeline has nothing to do any more.
    pub(crate) fn end(&self, now: Instant) {
        self.idle_since_us.store(self.us(now), Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until the connection has to make room.
    pub(crate) async fn must_leave(&self) {
        self.leave.notified().await;
    }

    fn us(&self, now: Instant) -> u64 {
        u64::try_from((now - self.start).as_micros()).unwrap_or(u64::MAX)
    }

    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && !self.leaving.load(Ordering::Relaxed)
    }
}

/// All connections of a listener.
pub(crate) struct Usages {
    start: Instant,
    /// How long a connection must have been idle to make room.
    idle_min: Duration,
    all: Mutex<All>,
}

struct All {
    open: BTreeMap<u64, Arc<Usage>>,
    /// Some that are idle, the longest last.
    idle: Vec<Arc<Usage>>,
    look_at: Instant,
}

impl Usages {
    pub(crate) fn new(idle_min: Duration) -> Self {
        let start = Instant::now();
        let all = All { open: BTreeMap::new(), idle: Vec::new(), look_at: start };
        Self { start, idle_min, all: Mutex::new(all) }
    }

    /// Counts a connection, which is idle for now.
    pub(crate) fn open(&self, id: u64) -> Arc<Usage> {
        let usage = Usage {
            start: self.start,
            busy: AtomicUsize::new(0),
            idle_since_us: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            leave: Notify::new(),
        };
        usage.idle_since_us.store(usage.us(Instant::now()), Ordering::Relaxed);
        let usage = Arc::new(usage);
        self.all.lock().open.insert(id, Arc::clone(&usage));
        usage
    }

    pub(crate) fn close(&self, id: u64) {
        self.all.lock().open.remove(&id);
    }

    /// Has the connection leave that has been idle for the longest, if one has been for long enough.
    pub(crate) fn make_room(&self, now: Instant) -> bool {
        let mut all = self.all.lock();
        loop {
            while let Some(longest) = all.idle.pop() {
                if longest.is_idle() {
                    longest.leaving.store(true, Ordering::Relaxed);
                    longest.leave.notify_one();
                    return true;
                }
            }
            if now < all.look_at || !self.look(&mut all, now) {
                return false;
            }
        }
    }

    /// Looks for connections that are idle.
    fn look(&self, all: &mut All, now: Instant) -> bool {
        let idle_since_max = (now - self.start).checked_sub(self.idle_min).map(|since| since.as_micros());
        let is_long = |since: u64| idle_since_max.is_some_and(|most| u128::from(since) <= most);
        let mut idle: Vec<_> = all
            .open
            .values()
            .filter(|usage| usage.is_idle())
            .map(|usage| (usage.idle_since_us.load(Ordering::Relaxed), usage))
            .filter(|(since, _)| is_long(*since))
            .collect();
        idle.sort_unstable_by_key(|(since, _)| *since);
        all.idle = idle.iter().take(FOUND_MAX).rev().map(|(_, usage)| Arc::clone(usage)).collect();
        if all.idle.is_empty() {
            all.look_at = now + LOOK_AGAIN;
        }
        !all.idle.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn leaves(usage: &Usage) -> bool {
        usage.must_leave().now_or_never().is_some()
    }

    #[test]
    fn the_longest_idle_makes_room_and_nobody_who_is_busy() {
        let usages = Usages::new(Duration::from_secs(10));
        let second = |second| usages.start + Duration::from_secs(second);
        let [busy, first, later, closed] = [1, 2, 3, 4].map(|id| usages.open(id));
        for usage in [&busy, &first, &later, &closed] {
            usage.begin();
        }
        later.end(second(20));
        first.end(second(10));
        closed.end(second(1));
        usages.close(4);
        assert!(!usages.make_room(second(5)), "not even the broker has been there for so long");
        assert!(!usages.make_room(second(19)), "nobody has been idle for so long");
        assert!(usages.make_room(second(100)));
        assert!(leaves(&first));
        assert!(usages.make_room(second(100)));
        assert!(leaves(&later) && !leaves(&first), "each is told once");
        assert!(!usages.make_room(second(100)));
        assert!(!leaves(&busy));
    }

    #[test]
    fn one_who_was_found_and_is_busy_again_stays() {
        let usages = Usages::new(Duration::ZERO);
        let [first, second] = [1, 2].map(|id| usages.open(id));
        let now = Instant::now() + Duration::from_secs(1);
        assert!(usages.make_room(now));
        let stays = if leaves(&first) { second } else { first };
        stays.begin();
        assert!(!usages.make_room(now));
        assert!(!leaves(&stays));
    }
}
