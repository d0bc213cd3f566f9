//! A group that commits how far it is, ever further, and asks now and then where it was.
//!
//! It commits the next offset when the one before is committed and no attempt for it can arrive any more: an attempt
//! of which nothing was heard may be under way, and would take the group back for good reason.

use std::collections::BTreeMap;

use millrace_base::{Offset, TopicPartition};

use crate::agenda::{MS, SECOND, Time};
use crate::effects::Effects;
use crate::message::{Commit, Message};
use crate::network::Host;
use crate::random::Random;

pub const STEP: Time = 40 * MS;

const ANSWER_LIMIT: Time = SECOND;
const PAUSE: Time = 100 * MS;
/// Longer than a message can be late and a coordinator waits for its state.
const FORGOTTEN: Time = 8 * SECOND;

pub struct Committer {
    group: String,
    home: TopicPartition,
    brokers: Vec<i32>,
    random: Random,
    /// Who leads the group's partition, as far as it knows.
    leader: Option<i32>,
    requests: u64,
    /// The request that is under way, and when it is given up.
    asked: Option<(u64, Time)>,
    until: Time,
    /// The offset that it commits, and whether it was told that it has.
    offset: Offset,
    is_committed: bool,
    last: Offset,
    /// Attempts of which nothing was heard, with the time when they cannot arrive any more.
    unheard: BTreeMap<u64, Time>,
    /// Where it was told to be last.
    read: Offset,
}

impl Committer {
    pub fn new(group: String, home: TopicPartition, brokers: Vec<i32>, mut random: Random) -> Self {
        let last = random.between(5, 40) as Offset;
        Self {
            group,
            home,
            brokers,
            random,
            leader: None,
            requests: 0,
            asked: None,
            until: 0,
            offset: 1,
            is_committed: false,
            last,
            unheard: BTreeMap::new(),
            read: -1,
        }
    }

    pub const fn is_done(&self) -> bool {
        self.offset == self.last && self.is_committed && self.read == self.last
    }

    /// What keeps it.
    pub fn trouble(&self) -> String {
        format!(
            "{} commits {} of {} (done: {}), is told to be at {}, and asks broker {:?}",
            self.group, self.offset, self.last, self.is_committed, self.read, self.leader
        )
    }

    pub fn step(&mut self, now: Time, effects: &mut Effects) {
        self.unheard.retain(|_, until| *until > now);
        if self.is_committed && self.unheard.is_empty() && self.offset < self.last {
            (self.offset, self.is_committed) = (self.offset + 1, false);
        }
        match self.asked {
            Some((_, until)) if until > now => return,
            Some(_) => (self.asked, self.leader) = (None, None),
            None => {}
        }
        if self.until > now || self.is_done() {
            return;
        }
        let Some(leader) = self.leader else {
            let ask = *self.random.one_of(&self.brokers);
            effects.send(Host::Broker(ask), Message::WhoLeads { partition: self.home });
            return;
        };
        let request = self.requests;
        self.requests += 1;
        self.asked = Some((request, now + ANSWER_LIMIT));
        let group = self.group.clone();
        let message = if self.is_committed || self.random.below(3) == 0 {
            Message::FetchOffset { request, group }
        } else {
            self.unheard.insert(request, now + FORGOTTEN);
            Message::CommitOffset { request, commit: Commit { group, offset: self.offset } }
        };
        effects.send(Host::Broker(leader), message);
    }

    pub fn on_message(&mut self, message: Message, now: Time) {
        let (request, is_well) = match message {
            Message::Leads { leader, .. } => {
                self.leader = leader.map(|leader| leader.0);
                return;
            }
            Message::OffsetCommitted { request, done } => {
                let was_this_one = self.unheard.remove(&request).is_some();
                self.is_committed |= done && was_this_one;
                (request, done)
            }
            Message::OffsetFetched { request, offset } => {
                self.read = offset.unwrap_or(self.read);
                (request, offset.is_some())
            }
            _ => return,
        };
        if self.asked.is_some_and(|(asked, _)| asked == request) {
            self.asked = None;
            if !is_well {
                (self.leader, self.until) = (None, now + PAUSE);
            }
        }
    }
}
