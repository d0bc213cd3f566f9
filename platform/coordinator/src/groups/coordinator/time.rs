//! What time brings: sessions and rebalances that are over, offsets that nobody wants any more.
//!
//! One task looks after all groups. It sleeps until the first of them has something due, and is woken when that becomes
//! earlier.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::super::consumer;
use super::super::format::classic::encode_key;
use super::super::format::offsets::{Committed, OffsetKey};
use super::super::state::GroupState;
use super::super::{PLUGIN_GROUPS, subscription};
use super::{Home, Inner, Lead};
use crate::state_log::{Proposal, StateRecord};

/// What is due within it is done together.
const GRAIN: Duration = Duration::from_millis(20);

/// Offsets that are forgotten in one record batch.
const EXPIRED_AT_A_TIME: usize = 10_000;

impl Inner {
    pub(super) fn start_tasks(self: &Arc<Self>) {
        if !self.has_tasks.swap(true, Ordering::Relaxed) {
            tokio::spawn(look_after(Arc::downgrade(self)));
        }
    }

    /// Sees to it that time is looked at when it is due.
    pub(super) fn arm(&self, at: Option<Instant>) {
        let Some(at) = at else { return };
        if self.armed.lock().is_none_or(|armed| at < armed) {
            self.wake.notify_one();
        }
    }

    /// Does what is due, and returns when there is more.
    fn on_time(self: &Arc<Self>) -> Option<Instant> {
        *self.armed.lock() = None;
        let homes: Vec<Arc<Home>> = self.homes.lock().values().cloned().collect();
        let mut next: Option<Instant> = None;
        for home in homes {
            // A home that is led elsewhere has nobody to answer.
            let looked = self.step_now(&home, |lead, _, step| ((), lead.live.on_time(step)));
            if looked.is_err() {
                continue;
            }
            self.consumers_on_time(&home);
            let later = home.lead.lock().next_deadline();
            next = [next, later].into_iter().flatten().min();
        }
        *self.armed.lock() = next;
        next
    }

    /// Forgets offsets that are older than they are kept, and groups that have neither members nor offsets, in all
    /// partitions that are led here.
    fn expire(self: &Arc<Self>) {
        let now_ms = self.parts.clock.now_ms();
        let retention_ms = i64::try_from(self.parts.settings.offsets_retention.as_millis());
        let before_ms = now_ms.saturating_sub(retention_ms.unwrap_or(i64::MAX));
        for log in self.parts.offsets.known_logs() {
            let home = self.home_of(&log);
            while self.expire_some(&home, before_ms) {}
        }
    }

    /// Forgets as much as fits a batch; whether there is more. Others get their turn in between.
    fn expire_some(self: &Arc<Self>, home: &Arc<Home>, before_ms: i64) -> bool {
        let mut lead = home.lead.lock();
        if self.catch_up(home, &mut lead).is_err() {
            return false;
        }
        let mut has_more = false;
        let proposed = home.log.propose(|latest, _| {
            let mut records = expired(latest, &lead, before_ms);
            has_more = records.len() > EXPIRED_AT_A_TIME;
            records.truncate(EXPIRED_AT_A_TIME);
            Proposal { records, reply: () }
        });
        if let Err(error) = proposed {
            tracing::warn!(partition = %home.log.place(), %error, "cannot forget old offsets yet");
            return false;
        }
        has_more
    }
}

/// What is to be forgotten of what is older than `before_ms`. Offsets of a group without members are kept from when the
/// last one left, those of a topic that no member reads any more, or of who was never in a group, from their commit.
fn expired(latest: &GroupState, lead: &Lead, before_ms: i64) -> Vec<StateRecord> {
    let mut records = Vec::new();
    let mut left: BTreeSet<&str> = BTreeSet::new();
    for (key, committed) in latest.all_offsets() {
        if key.group.starts_with(PLUGIN_GROUPS) || !is_expired(latest, lead, (key, committed), before_ms) {
            left.insert(&key.group);
        } else {
            records.push(StateRecord { key: key.encode(), value: None });
        }
    }
    for (group, _) in latest.all_classic() {
        if !left.contains(group.as_str()) && lead.live.find(group).is_none() {
            records.push(StateRecord { key: encode_key(group), value: None });
        }
    }
    for (id, group) in latest.all_consumer() {
        if !left.contains(id.as_str()) && group.members().is_empty() {
            records.extend(super::consumer::records(id, consumer::forget(group)));
        }
    }
    records
}

fn is_expired(
    latest: &GroupState,
    lead: &Lead,
    (key, committed): (&OffsetKey, &Committed),
    before_ms: i64,
) -> bool {
    if let Some(group) = lead.live.find(&key.group) {
        let is_consumer = group.protocol_type.as_deref() == Some(subscription::CONSUMER_PROTOCOL);
        let reads =
            |metadata: &[u8]| subscription::topics(metadata).is_none_or(|topics| topics.contains(&key.topic));
        let mut protocols = group.members.values().flat_map(|member| &member.protocols);
        let is_read = !is_consumer || protocols.any(|protocol| reads(&protocol.metadata));
        return !group.members.is_empty() && !is_read && committed.timestamp_ms <= before_ms;
    }
    if latest.consumer(&key.group).is_some_and(|group| group.is_subscribed(&key.topic)) {
        return false;
    }
    let since = latest.classic(&key.group).map_or(committed.timestamp_ms, |record| record.state_since_ms);
    since.max(committed.timestamp_ms) <= before_ms
}

async fn look_after(inner: Weak<Inner>) {
    let mut expires_at = None;
    loop {
        let Some(strong) = inner.upgrade().filter(|inner| !inner.is_stopped.load(Ordering::Acquire)) else {
            return;
        };
        let now = strong.parts.time.now();
        if expires_at.is_none_or(|at| at <= now) {
            if expires_at.is_some() {
                strong.expire();
            }
            expires_at = Some(now + strong.parts.settings.offsets_retention_check);
        }
        let next = [strong.on_time(), expires_at].into_iter().flatten().min();
        let wait = next.map_or(Duration::MAX, |at| at.saturating_duration_since(now)).max(GRAIN);
        // Whoever drops the coordinator wakes this.
        let _ = tokio::time::timeout(wait, strong.wake.notified()).await;
    }
}
