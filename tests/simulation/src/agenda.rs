//! Virtual time: what is due next, and nothing in between.

use std::collections::BTreeMap;

/// Microseconds since a world began.
pub type Time = u64;

pub const MS: Time = 1000;
pub const SECOND: Time = 1000 * MS;

/// Things to come, in the order in which they are due; of those due at once, the one that was entered first.
pub struct Agenda<T> {
    now: Time,
    entered: u64,
    due: BTreeMap<(Time, u64), T>,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { now: 0, entered: 0, due: BTreeMap::new() }
    }
}

impl<T> Agenda<T> {
    pub const fn now(&self) -> Time {
        self.now
    }

    pub fn enter(&mut self, after: Time, what: T) {
        self.due.insert((self.now + after, self.entered), what);
        self.entered += 1;
    }

    /// The next thing, at whose time it then is.
    pub fn advance(&mut self) -> Option<T> {
        let ((at, _), what) = self.due.pop_first()?;
        self.now = at;
        Some(what)
    }
}
