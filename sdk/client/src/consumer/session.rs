//! Fetch sessions (KIP-227): the broker remembers what is read, a request carries only what changed. Pure.

use std::collections::BTreeMap;

use millrace_protocol::ErrorCode;

/// Sent to open a session, and to replace one that is broken.
const EPOCH_OPEN: i32 = 0;

/// What one fetch asks of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
}

/// What goes into the next request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan<K> {
    pub(crate) session_id: i32,
    pub(crate) epoch: i32,
    pub(crate) include: Vec<(K, Wanted)>,
    pub(crate) forget: Vec<K>,
}

/// One session with one broker; `K` names a partition.
#[derive(Debug)]
pub(crate) struct Session<K> {
    id: i32,
    epoch: i32,
    /// What the broker remembers.
    told: BTreeMap<K, Wanted>,
}

impl<K: Ord + Clone> Session<K> {
    pub(crate) const fn new() -> Self {
        Self { id: 0, epoch: EPOCH_OPEN, told: BTreeMap::new() }
    }

    /// The request that makes the broker read exactly `wanted`.
    pub(crate) fn plan(&mut self, wanted: &BTreeMap<K, Wanted>) -> Plan<K> {
        if self.epoch == EPOCH_OPEN {
            self.told.clear();
        }
        let changed = |(key, wanted): &(&K, &Wanted)| self.told.get(*key) != Some(*wanted);
        let include = wanted.iter().filter(changed).map(|(key, wanted)| (key.clone(), *wanted)).collect();
        let forget = self.told.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        self.told.clone_from(wanted);
        Plan { session_id: self.id, epoch: self.epoch, include, forget }
    }

    /// Takes the response's head; true if its partitions are to be read.
    pub(crate) fn on_response(&mut self, error: i16, session_id: i32) -> bool {
        if error == 0 {
            self.id = session_id;
            // Without a session every request is whole.
            self.epoch = if session_id == 0 { EPOCH_OPEN } else { next_epoch(self.epoch) };
            return true;
        }
        if error == ErrorCode::FetchSessionIdNotFound.code() {
            self.id = 0;
        }
        self.epoch = EPOCH_OPEN;
        false
    }

    /// A request got no answer: the broker may have counted it or not. The next one replaces the session.
    pub(crate) const fn on_lost(&mut self) {
        self.epoch = EPOCH_OPEN;
    }
}

/// Epochs wrap around after `i32::MAX` to 1.
const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partitions: &[(u32, i64)]) -> BTreeMap<u32, Wanted> {
        partitions.iter().map(|(key, offset)| (*key, Wanted { offset: *offset, leader_epoch: 0 })).collect()
    }

    fn included(plan: &Plan<u32>) -> Vec<u32> {
        plan.include.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn only_what_changed_is_sent() {
        let mut session = Session::new();
        let plan = session.plan(&wanted(&[(1, 10), (2, 20)]));
        assert_eq!((plan.session_id, plan.epoch, included(&plan)), (0, 0, vec![1, 2]));
        assert!(session.on_response(0, 77));
        let plan = session.plan(&wanted(&[(1, 15), (2, 20), (3, 0)]));
        assert_eq!((plan.session_id, plan.epoch, included(&plan)), (77, 1, vec![1, 3]));
        assert!(session.on_response(0, 77));
        let plan = session.plan(&wanted(&[(1, 15)]));
        assert_eq!((plan.epoch, included(&plan), plan.forget), (2, vec![], vec![2, 3]));
    }

    #[test]
    fn a_broker_without_room_for_sessions_gets_whole_requests() {
        let mut session = Session::new();
        let _ = session.plan(&wanted(&[(1, 10)]));
        assert!(session.on_response(0, 0));
        let plan = session.plan(&wanted(&[(1, 10)]));
        assert_eq!((plan.session_id, plan.epoch, included(&plan)), (0, 0, vec![1]));
    }

    #[test]
    fn a_forgotten_session_is_opened_anew() {
        let mut session = Session::new();
        let _ = session.plan(&wanted(&[(1, 10)]));
        assert!(session.on_response(0, 5));
        let _ = session.plan(&wanted(&[(1, 11)]));
        assert!(!session.on_response(ErrorCode::FetchSessionIdNotFound.code(), 0));
        let plan = session.plan(&wanted(&[(1, 11)]));
        assert_eq!((plan.session_id, plan.epoch, included(&plan)), (0, 0, vec![1]));
    }

    #[test]
    fn a_lost_answer_replaces_the_session() {
        let mut session = Session::new();
        let _ = session.plan(&wanted(&[(1, 10)]));
        assert!(session.on_response(0, 5));
        let _ = session.plan(&wanted(&[(1, 11)]));
        session.on_lost();
        let plan = session.plan(&wanted(&[(1, 11)]));
        assert_eq!((plan.session_id, plan.epoch, included(&plan)), (5, 0, vec![1]));
    }

    #[test]
    fn epochs_wrap_around_past_zero() {
        assert_eq!(next_epoch(i32::MAX), 1);
    }
}
