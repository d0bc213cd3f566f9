//! A producer: idempotent, with up to five batches under way, each sent again until it is stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_base::TopicPartition;
use millrace_protocol::batch::{BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;

use crate::agenda::{MS, SECOND, Time};
use crate::effects::Effects;
use crate::message::Message;
use crate::network::Host;
use crate::random::Random;

/// How often a client looks what is to be done.
pub const STEP: Time = 20 * MS;

const ANSWER_LIMIT: Time = SECOND;
const PAUSE: Time = 100 * MS;
const UNDER_WAY_MAX: u64 = 5;

/// A batch that is not known to be stored.
struct Pending {
    /// Counts the producer's batches.
    index: u64,
    batch: Bytes,
    /// The attempt that is under way.
    request: Option<u64>,
    /// When that is given up, or the next one begins.
    until: Time,
}

pub struct Producer {
    pub partition: TopicPartition,
    number: u64,
    brokers: Vec<i32>,
    random: Random,
    /// Who leads, as far as it knows.
    leader: Option<i32>,
    requests: u64,
    next_record: u64,
    next_batch: u64,
    left: u64,
    /// By their first sequence.
    pending: BTreeMap<i32, Pending>,
    /// The sequence that an attempt was for.
    asked: BTreeMap<u64, i32>,
    pace: u64,
    /// Why the last attempt failed that did.
    refused: String,
}

impl Producer {
    pub fn new(
        number: u64,
        partition: TopicPartition,
        brokers: Vec<i32>,
        batches: u64,
        mut random: Random,
    ) -> Self {
        let pace = *random.one_of(&[2, 5, 15]);
        Self {
            partition,
            number,
            brokers,
            random,
            leader: None,
            requests: 0,
            next_record: 0,
            next_batch: 0,
            left: batches,
            pending: BTreeMap::new(),
            asked: BTreeMap::new(),
            pace,
            refused: String::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.left == 0 && self.pending.is_empty()
    }

    /// What keeps it.
    pub fn trouble(&self) -> String {
        let sequences: Vec<_> = self.pending.keys().collect();
        format!(
            "producer {} of partition {} is left with sequences {sequences:?} and {} more batches, asks broker {:?}, and \
             was told last: {}",
            self.number, self.partition.partition, self.left, self.leader, self.refused
        )
    }

    pub fn step(&mut self, now: Time, effects: &mut Effects) {
        // A partition remembers as many of a producer's batches: one that is sent again must be among them.
        let oldest = self.pending.values().next().map_or(self.next_batch, |pending| pending.index);
        let has_room = self.next_batch - oldest < UNDER_WAY_MAX;
        if self.left > 0 && has_room && self.random.below(self.pace) == 0 {
            self.left -= 1;
            let index = self.next_batch;
            self.next_batch += 1;
            let records = self.random.between(1, 3);
            let first = self.next_record;
            let pending = Pending { index, batch: self.batch(first, records), request: None, until: 0 };
            self.pending.insert(first as i32, pending);
            self.next_record += records;
        }
        let due = self.pending.values().any(|pending| pending.until <= now);
        let Some(leader) = self.leader else {
            if due {
                let ask = *self.random.one_of(&self.brokers);
                effects.send(Host::Broker(ask), Message::WhoLeads { partition: self.partition });
            }
            return;
        };
        for (sequence, pending) in &mut self.pending {
            if pending.until > now {
                continue;
            }
            if pending.request.take().is_some() {
                // No answer has come: perhaps another leads by now.
                self.leader = None;
                pending.until = now + PAUSE;
                continue;
            }
            let request = self.requests;
            self.requests += 1;
            self.asked.insert(request, *sequence);
            (pending.request, pending.until) = (Some(request), now + ANSWER_LIMIT);
            let (partition, batch) = (self.partition, pending.batch.clone());
            effects.send(Host::Broker(leader), Message::Produce { request, partition, batch });
        }
    }

    fn batch(&mut self, first: u64, records: u64) -> Bytes {
        let len = *self.random.one_of(&[16, 16, 100, 900]);
        let mut builder = BatchBuilder::with_capacity(256);
        for number in first..first + records {
            let mut value = [self.number.to_be_bytes(), number.to_be_bytes()].concat();
            value.resize(len, 0);
            builder.append(1_700_000_000_000, None, Some(&value), &[]);
        }
        let producer_id = 1000 + self.number as i64;
        let (producer_epoch, base_sequence) = (0, first as i32);
        let state = ProducerState { producer_id, producer_epoch, base_sequence, transactional: false };
        builder.finish(Codec::None, state).expect("a small batch")
    }

    pub fn on_message(&mut self, message: Message, now: Time) {
        match message {
            Message::Leads { leader, .. } => self.leader = leader.map(|leader| leader.0),
            Message::Produced { request, outcome } => {
                let Some(sequence) = self.asked.remove(&request) else { return };
                let Err(refused) = outcome else {
                    // Of whichever attempt.
                    self.pending.remove(&sequence);
                    return;
                };
                self.refused = refused;
                if let Some(pending) = self.pending.get_mut(&sequence)
                    && pending.request == Some(request)
                {
                    (pending.request, pending.until) = (None, now + PAUSE);
                    self.leader = None;
                }
            }
            _ => {}
        }
    }
}
