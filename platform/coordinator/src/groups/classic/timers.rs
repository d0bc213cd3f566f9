//! What is due when, of all groups of a partition. A deadline that only moves on, as a heartbeat moves it, costs
//! nothing: the queue learns of it when the earlier one is due.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The join phase of the group.
    Join,
    /// The members' time to ask for their assignment.
    Sync,
    /// A member, or one that was given an id and has not joined.
    Member(String),
}

/// When something is due, kept with what it is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timer {
    at: Option<Instant>,
    queued: Option<Instant>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Arc<str>, Subject)>);

impl Timers {
    pub fn arm(&mut self, timer: &mut Timer, at: Instant, group: &Arc<str>, subject: Subject) {
        timer.at = Some(at);
        if timer.queued.is_some_and(|queued| queued <= at) {
            return;
        }
        if let Some(queued) = timer.queued.replace(at) {
            self.0.remove(&(queued, Arc::clone(group), subject.clone()));
        }
        self.0.insert((at, Arc::clone(group), subject));
    }

    pub fn disarm(&mut self, timer: &mut Timer, group: &Arc<str>, subject: Subject) {
        timer.at = None;
        if let Some(queued) = timer.queued.take() {
            self.0.remove(&(queued, Arc::clone(group), subject));
        }
    }

    /// When to look again.
    pub fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, ..)| *at)
    }

    /// The first that may be due; [`fires`](Self::fires) says whether it is.
    pub fn pop(&mut self, now: Instant) -> Option<(Arc<str>, Subject)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, group, subject)| (group, subject))
    }

    /// Whether what was popped is due; if its deadline has moved on it is queued again.
    pub fn fires(&mut self, timer: &mut Timer, now: Instant, group: &Arc<str>, subject: Subject) -> bool {
        timer.queued = None;
        match timer.at {
            Some(at) if at > now => {
                self.arm(timer, at, group, subject);
                false
            }
            Some(_) => {
                timer.at = None;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_that_moves_on_is_looked_at_when_the_first_one_is_due() {
        let (began, group) = (Instant::now(), Arc::<str>::from("g"));
        let at = |seconds| began + Duration::from_secs(seconds);
        let (mut timers, mut timer) = (Timers::default(), Timer::default());
        let member = || Subject::Member("m".into());
        timers.arm(&mut timer, at(10), &group, member());
        for seconds in 11..15 {
            timers.arm(&mut timer, at(seconds), &group, member());
        }
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(10)), Some((group.clone(), member())));
        assert!(!timers.fires(&mut timer, at(10), &group, member()));
        assert_eq!(timers.next(), Some(at(14)));
        // An earlier one takes the place of a later.
        timers.arm(&mut timer, at(12), &group, member());
        assert_eq!(timers.pop(at(12)), Some((group.clone(), member())));
        assert!(timers.fires(&mut timer, at(12), &group, member()));
        assert_eq!(timers.next(), None);
        timers.arm(&mut timer, at(20), &group, member());
        timers.disarm(&mut timer, &group, member());
        assert_eq!(timers.next(), None);
    }
}
