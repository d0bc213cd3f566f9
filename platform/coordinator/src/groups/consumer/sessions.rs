//! Until when members are waited for. A deadline that only moves on, as each heartbeat moves it, is not queued anew: it
//! is looked at when the earlier one is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::super::classic::Now;
use super::super::format::consumer::Progress;
use super::{ConsumerGroup, ConsumerSettings, Topics};

/// What every step is told.
pub(in crate::groups) struct Step<'s> {
    pub settings: &'s ConsumerSettings,
    pub topics: &'s dyn Topics,
    pub now: Now,
}

#[derive(Debug)]
struct Session {
    ends: Instant,
    /// By when, and in which epoch, it has to have given up what it is to.
    revocation: Option<(Instant, i32)>,
    queued: Instant,
    /// What the member takes in memory, about.
    bytes: usize,
}

impl Session {
    fn due(&self) -> Instant {
        self.revocation.map_or(self.ends, |(at, _)| at.min(self.ends))
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(in crate::groups) struct Sessions {
    groups: HashMap<String, BTreeMap<String, Session>>,
    queue: BTreeSet<(Instant, String, String)>,
    len: usize,
    bytes: usize,
    /// The topics as each group was last compared with them.
    seen: HashMap<String, u64>,
}

impl Sessions {
    /// Members whose time runs.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// What they take in memory, about.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(at, ..)| *at)
    }

    pub(super) fn seen(&self, group: &str) -> Option<u64> {
        self.seen.get(group).copied()
    }

    pub(super) fn see(&mut self, group: &str, version: u64) {
        match self.seen.get_mut(group) {
            Some(seen) => *seen = version,
            None => _ = self.seen.insert(group.to_owned(), version),
        }
    }

    /// The time of a group's members runs anew, as after the coordinator has moved.
    pub fn restore(&mut self, id: &str, group: &ConsumerGroup, step: &Step<'_>) {
        for (member, said) in group.members() {
            let revoking = group.current(member).filter(|current| current.progress == Progress::Unrevoked);
            let revocation = revoking.map(|current| {
                let timeout_ms = u64::try_from(said.rebalance_timeout_ms).unwrap_or_default();
                (step.now.instant + std::time::Duration::from_millis(timeout_ms), current.epoch)
            });
            let ends = step.now.instant + step.settings.session_timeout;
            self.beat(id, (member, said.bytes()), ends, revocation);
        }
    }

    /// The member lives. What it has to give up in an epoch is waited for from when that began.
    pub(super) fn beat(
        &mut self,
        group: &str,
        (member, bytes): (&str, usize),
        ends: Instant,
        revocation: Option<(Instant, i32)>,
    ) {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), BTreeMap::new());
        }
        let members = self.groups.entry(group.to_owned()).or_default();
        let Some(session) = members.get_mut(member) else {
            let session = Session { ends, revocation, queued: ends, bytes };
            let due = session.due();
            members.insert(member.to_owned(), Session { queued: due, ..session });
            self.queue.insert((due, group.to_owned(), member.to_owned()));
            self.len += 1;
            self.bytes += bytes;
            return;
        };
        self.bytes = self.bytes - session.bytes + bytes;
        session.bytes = bytes;
        session.ends = ends;
        let is_same = session.revocation.zip(revocation).is_some_and(|((_, was), (_, is))| was == is);
        if !is_same {
            session.revocation = revocation;
        }
        let due = session.due();
        if due < session.queued {
            self.queue.remove(&(session.queued, group.to_owned(), member.to_owned()));
            session.queued = due;
            self.queue.insert((due, group.to_owned(), member.to_owned()));
        }
    }

    pub(super) fn forget(&mut self, group: &str, member: &str) {
        let Some(members) = self.groups.get_mut(group) else { return };
        let Some(session) = members.remove(member) else { return };
        self.len -= 1;
        self.bytes -= session.bytes;
        self.queue.remove(&(session.queued, group.to_owned(), member.to_owned()));
        if members.is_empty() {
            self.groups.remove(group);
            self.seen.remove(group);
        }
    }

    /// The members that are waited for no longer, by their groups. They are looked at again after `again`, should they
    /// still be there.
    pub fn due(&mut self, now: Instant, again: Instant) -> BTreeMap<String, Vec<String>> {
        let mut due: BTreeMap<String, Vec<String>> = BTreeMap::new();
        while let Some(first) = self.queue.first()
            && first.0 <= now
            && let Some((_, group, member)) = self.queue.pop_first()
        {
            let session = self.groups.get_mut(&group).and_then(|members| members.get_mut(&member));
            let Some(session) = session else { continue };
            session.queued = session.due();
            if session.queued <= now {
                session.queued = again;
                due.entry(group.clone()).or_default().push(member.clone());
            }
            self.queue.insert((session.queued, group, member));
        }
        due
    }

    /// They have left.
    pub fn forget_all(&mut self, group: &str, members: &[String]) {
        for member in members {
            self.forget(group, member);
        }
    }
}
