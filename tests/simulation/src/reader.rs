//! A consumer: reads a partition from its beginning, from whoever leads, and keeps its place.

use millrace_base::{Offset, TopicPartition};

use crate::agenda::{MS, Time};
use crate::effects::{Effects, Fact};
use crate::message::Message;
use crate::network::Host;
use crate::random::Random;

pub const STEP: Time = 50 * MS;

const ANSWER_LIMIT: Time = 500 * MS;

pub struct Reader {
    number: usize,
    pub partition: TopicPartition,
    brokers: Vec<i32>,
    random: Random,
    leader: Option<i32>,
    pub position: Offset,
    requests: u64,
    /// The request that is under way, and when it is given up.
    asked: Option<(u64, Time)>,
}

impl Reader {
    pub const fn new(number: usize, partition: TopicPartition, brokers: Vec<i32>, random: Random) -> Self {
        Self { number, partition, brokers, random, leader: None, position: 0, requests: 0, asked: None }
    }

    pub fn step(&mut self, now: Time, effects: &mut Effects) {
        match self.asked {
            Some((_, until)) if until > now => return,
            Some(_) => (self.asked, self.leader) = (None, None),
            None => {}
        }
        let partition = self.partition;
        let Some(leader) = self.leader else {
            let ask = *self.random.one_of(&self.brokers);
            effects.send(Host::Broker(ask), Message::WhoLeads { partition });
            return;
        };
        let request = self.requests;
        self.requests += 1;
        self.asked = Some((request, now + ANSWER_LIMIT));
        let message = Message::Read { request, partition, offset: self.position };
        effects.send(Host::Broker(leader), message);
    }

    pub fn on_message(&mut self, message: Message, effects: &mut Effects) {
        match message {
            Message::Leads { leader, .. } => self.leader = leader.map(|leader| leader.0),
            Message::Answered { request, records }
                if self.asked.is_some_and(|(asked, _)| asked == request) =>
            {
                self.asked = None;
                let Some(records) = records else {
                    self.leader = None;
                    return;
                };
                let Some(last) = records.last() else { return };
                self.position = last.offset + 1;
                let (reader, partition) = (self.number, self.partition);
                effects.facts.push(Fact::Read { reader, partition, records });
            }
            _ => {}
        }
    }
}
