//! What happens to a producer by the passing of time alone: linger, retries, timeouts.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::SendError;
use crate::producer::Shared;

/// How often partitions that retry or have no leader are looked after.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);
/// How often everything is looked at for timeouts.
const SCAN_INTERVAL: Duration = Duration::from_millis(500);
/// How often metadata is asked for while a partition has no leader.
const LEADERLESS_REFRESH: Duration = Duration::from_millis(100);

/// Runs as long as the producer lives.
pub(crate) async fn run(producer: Weak<Shared>) {
    let mut next_scan = Instant::now() + SCAN_INTERVAL;
    let mut next_refresh = Instant::now();
    loop {
        let Some(shared) = producer.upgrade() else { return };
        let now = Instant::now();
        shared.linger(now);
        let leaderless = shared.look_after(now);
        if leaderless && now >= next_refresh {
            next_refresh = now + LEADERLESS_REFRESH;
            shared.refresh_metadata();
        }
        if now >= next_scan {
            next_scan = now + SCAN_INTERVAL;
            shared.scan(now);
        }
        let mut wake = next_scan;
        if !shared.watched.lock().is_empty() {
            wake = wake.min(now + WATCH_INTERVAL);
        }
        if let Some((due, _)) = shared.lingering.lock().front() {
            wake = wake.min(*due);
        }
        // Not held while sleeping: the last handle that goes ends the producer.
        let upkeep = Arc::clone(&shared.upkeep);
        drop(shared);
        tokio::select! {
            () = tokio::time::sleep_until(wake.into()) => {}
            () = upkeep.notified() => {}
        }
    }
}

impl Shared {
    /// Sends batches that have lingered.
    fn linger(&self, now: Instant) {
        loop {
            let due = {
                let mut lingering = self.lingering.lock();
                match lingering.front() {
                    Some((due, _)) if *due <= now => lingering.pop_front(),
                    _ => None,
                }
            };
            let Some((_, partition)) = due else { return };
            if let Some(lane) = self.enqueue(&partition) {
                lane.kick();
            }
        }
    }

    /// Drives partitions that retry or have no leader; returns whether one has none.
    fn look_after(&self, now: Instant) -> bool {
        // They stay in the list meanwhile: having them watched again must not wake this task, which would then
        // never let another one run.
        let watched = self.watched.lock().clone();
        let mut leaderless = false;
        for partition in watched {
            let commands = {
                let mut list = self.watched.lock();
                let mut state = partition.state.lock();
                let commands = state.core.on_time(now);
                let homeless = state.lane.is_none() && state.is_busy();
                leaderless |= homeless;
                if !homeless && !state.core.is_retrying() {
                    list.retain(|known| !Arc::ptr_eq(known, &partition));
                }
                commands
            };
            self.execute(&partition, commands, None);
        }
        self.kick_all();
        leaderless
    }

    /// Follows the cluster, ends requests without answer and gives up batches that could not be sent.
    fn scan(&self, now: Instant) {
        self.follow_news();
        for lane in self.lanes() {
            lane.check_timeout(self.cluster.settings.request_timeout);
        }
        for topic in self.topics() {
            for partition in &topic.partitions {
                let expired = partition.state.lock().take_expired(self.pace, now);
                for pending in expired {
                    self.budget.release(pending.reserved);
                    let error: SendError = self.given_up(partition, self.last_trouble());
                    pending.delivery.complete(Err(error));
                }
            }
        }
    }
}
