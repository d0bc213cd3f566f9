//! What goes wrong in a world: drawn from its seed before it begins, each fault with its beginning and its end, so
//! that a history can be told with some of them left out.

use std::fmt;

use crate::agenda::{MS, SECOND, Time};
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A broker loses its power.
    Crash(i32),
    /// A broker loses its power amid one of its disk's next operations.
    CrashAmid { broker: i32, operations: u64 },
    /// All brokers lose their power at once.
    CrashAll,
    /// A broker comes back with an empty disk.
    LoseDisk(i32),
    /// Nothing that the one sends arrives at the other, while the other is heard.
    OneWay { from: i32, to: i32 },
    /// A broker is cut off from the other brokers and from clients, and not from the quorum.
    Isolate(i32),
    /// A broker is cut off from the quorum, and from nobody else.
    Leaderless(i32),
    /// So many messages of a thousand are lost.
    Loss(u64),
    /// So many messages of a thousand are late by up to a second.
    Late(u64),
    /// A broker's disk takes so many times as long.
    SlowDisk { broker: i32, times: u64 },
    /// Another in-sync replica is made the leader of a partition, in good order.
    Move(i32),
    /// A broker's clock is off.
    Skew { broker: i32, ms: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Time,
    pub lasts: Time,
    pub kind: Kind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at as f64 / SECOND as f64, self.lasts as f64 / SECOND as f64);
        write!(f, "at {at:.3} s for {lasts:.3} s: {:?}", self.kind)
    }
}

/// More a world does not have.
pub const COUNT_MAX: usize = 14;

/// Faults between the first second and `end`.
pub fn plan(random: &mut Random, brokers: &[i32], end: Time) -> Vec<Fault> {
    let count = random.below(COUNT_MAX as u64);
    let mut faults: Vec<_> = (0..count)
        .map(|_| Fault {
            at: random.between(SECOND, end),
            lasts: random.between(50 * MS, 5 * SECOND),
            kind: kind(random, brokers),
        })
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn kind(random: &mut Random, brokers: &[i32]) -> Kind {
    let broker = *random.one_of(brokers);
    let other = *random.one_of(brokers);
    match random.below(23) {
        0..4 => Kind::Crash(broker),
        4..7 => Kind::CrashAmid { broker, operations: random.below(40) },
        7 => Kind::CrashAll,
        8..10 => Kind::LoseDisk(broker),
        10..12 if other != broker => Kind::OneWay { from: broker, to: other },
        12..14 => Kind::Isolate(broker),
        14..16 => Kind::Leaderless(broker),
        16 => Kind::Loss(random.between(10, 300)),
        17 => Kind::Late(random.between(10, 500)),
        18 => Kind::SlowDisk { broker, times: random.between(5, 300) },
        19..22 => Kind::Move(random.below(2) as i32),
        _ => Kind::Skew { broker, ms: random.between(0, 7_200_000) as i64 - 3_600_000 },
    }
}
