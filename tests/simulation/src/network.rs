//! Messages between hosts: late, lost, overtaken, or cut off in one direction.
//!
//! Every message goes its own way, as requests do on QUIC streams of their own: what was sent later may arrive
//! earlier. Bytes are never changed: TLS would notice.

use std::collections::BTreeSet;

use crate::agenda::{MS, Time};
use crate::random::Random;

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Broker(i32),
    Quorum,
    Client(usize),
}

pub struct Network {
    random: Random,
    /// From whom to whom nothing arrives.
    cut: BTreeSet<(Host, Host)>,
    /// Messages of a thousand that are lost, and that are late by up to a second.
    pub lost: u64,
    pub late: u64,
}

impl Network {
    pub const fn new(random: Random) -> Self {
        Self { random, cut: BTreeSet::new(), lost: 0, late: 0 }
    }

    /// How long a message is under way; `None` if it does not arrive.
    pub fn carry(&mut self, from: Host, to: Host) -> Option<Time> {
        let usual = self.random.between(100, 2 * MS);
        let late = self.random.per_mille(self.late);
        let more = if late { self.random.below(1000 * MS) } else { 0 };
        let lost = self.random.per_mille(self.lost) || self.cut.contains(&(from, to));
        (!lost).then_some(usual + more)
    }

    pub fn cut(&mut self, from: Host, to: Host) {
        self.cut.insert((from, to));
    }

    pub fn mend(&mut self, from: Host, to: Host) {
        self.cut.remove(&(from, to));
    }

    /// Everything arrives again.
    pub fn heal(&mut self) {
        self.cut.clear();
        (self.lost, self.late) = (0, 0);
    }
}
