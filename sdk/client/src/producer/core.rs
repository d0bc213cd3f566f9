//! One partition's batches on their way: sequence numbers, order, retries. Pure: events in, commands out.
//!
//! Rules, all Kafka's (KIP-98, KIP-360, and its Java producer's practice):
//! - A batch gets its sequence number when it is first sent, and keeps it however often it is sent again.
//! - Once one batch has to be sent again, nothing new goes out until all that were sent are answered; then
//!   those that need it go again in order. So a retry never overtakes, and never is overtaken.
//! - "Out of order" says that the batch is not stored. Behind another unanswered batch it is a consequence, not
//!   news; for the first one it means that the broker's and our counting have parted. A batch given up after it
//!   was sent leaves a gap, which comes to the same.
//! - Then nothing new goes out, and what is left is sent again under its old numbers until each batch is either
//!   stored or refused as out of order. Only then a new epoch starts from zero: a batch that may be stored is
//!   never given another number, under which the broker would not know it again.
//! - "Duplicate" means stored for a batch that an earlier attempt may have stored, and nothing of the kind for one
//!   that was never sent before: then another batch has its number.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Retries back off up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Who a producer is to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// What a batch's header says of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) identity: Option<Identity>,
    /// -1 without identity.
    pub(crate) base_sequence: i32,
}

/// Names one batch between its sending and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlightId(u64);

/// What came back for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Stored {
        base_offset: i64,
    },
    /// Not now; `stale_metadata`: perhaps because the leader is elsewhere.
    Again {
        reason: String,
        stale_metadata: bool,
    },
    /// The broker has had this sequence and does not know any more where it is stored.
    Duplicate {
        reason: String,
    },
    /// The broker's counting of this producer's batches is not ours: this one is not stored.
    SequenceBroken {
        reason: String,
    },
    /// Never.
    Rejected,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored { base_offset: i64 },
    Rejected,
    Expired { reason: String },
}

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<B> {
    Complete {
        batch: B,
        outcome: Outcome,
    },
    RefreshMetadata,
    /// Get an identity that is newer than this one and hand it to [`Core::on_identity`].
    NewIdentity {
        after: Identity,
    },
    /// Call [`Core::on_time`] from then on.
    WakeAt(Instant),
}

struct Flight<B> {
    id: FlightId,
    batch: B,
    count: i32,
    sequence: i32,
    deadline: Instant,
    in_flight: bool,
    /// An attempt under this number ended without saying that the batch is not stored.
    may_be_stored: bool,
    attempts: u32,
    /// Why it is to be sent again.
    reason: String,
}

pub(crate) struct Core<B> {
    max_in_flight: usize,
    backoff: Duration,
    /// None: not idempotent.
    identity: Option<Identity>,
    next_sequence: i32,
    next_id: u64,
    /// Sent and not done, in order of sequence.
    flights: VecDeque<Flight<B>>,
    /// Something came back to be sent again; until it has been, nothing new goes out.
    retrying: bool,
    retry_at: Option<Instant>,
    /// No new number of the present identity may be used any more.
    broken: bool,
}

impl<B: Clone> Core<B> {
    pub(crate) const fn new(max_in_flight: usize, backoff: Duration) -> Self {
        Self {
            max_in_flight,
            backoff,
            identity: None,
            next_sequence: 0,
            next_id: 0,
            flights: VecDeque::new(),
            retrying: false,
            retry_at: None,
            broken: false,
        }
    }

    /// Whether a new batch may be sent.
    pub(crate) fn can_admit(&self) -> bool {
        !self.retrying && !self.broken && self.flights.len() < self.max_in_flight
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    pub(crate) const fn is_retrying(&self) -> bool {
        self.retrying || self.broken
    }

    /// Batches on their way, oldest first.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &B> {
        self.flights.iter().map(|flight| &flight.batch)
    }

    /// A new batch of `count` records is about to be sent; only after [`Core::can_admit`]. `identity` is the
    /// producer's present one: taken over once nothing counted under the former is on its way.
    pub(crate) fn on_send(
        &mut self,
        batch: B,
        count: i32,
        deadline: Instant,
        identity: Option<Identity>,
    ) -> (FlightId, Stamp) {
        if self.flights.is_empty() && self.identity != identity {
            self.identity = identity;
            self.next_sequence = 0;
        }
        let id = FlightId(self.next_id);
        self.next_id += 1;
        let sequence = self.next_sequence;
        self.next_sequence = advance(sequence, count);
        let flight = Flight {
            id,
            batch,
            count,
            sequence,
            deadline,
            in_flight: true,
            may_be_stored: false,
            attempts: 1,
            reason: String::new(),
        };
        self.flights.push_back(flight);
        (id, self.stamp(sequence))
    }

    fn stamp(&self, sequence: i32) -> Stamp {
        Stamp { identity: self.identity, base_sequence: if self.identity.is_some() { sequence } else { -1 } }
    }

    /// The next batch to be sent again, if it is time for one.
    pub(crate) fn next_resend(&mut self, now: Instant) -> Option<(FlightId, Stamp, B)> {
        let due = self.retry_at.is_none_or(|at| at <= now);
        let underway = self.flights.iter().position(|flight| !flight.in_flight);
        let (true, false, true, Some(index)) = (self.retrying, self.needs_identity(), due, underway) else {
            return None;
        };
        // The broker remembers no more batches than that.
        if index >= self.max_in_flight {
            return None;
        }
        // Resending starts when all are answered, and goes on behind those that were just resent.
        if self.flights.iter().skip(index).any(|flight| flight.in_flight) {
            return None;
        }
        let flight = &mut self.flights[index];
        flight.in_flight = true;
        flight.attempts += 1;
        let (id, sequence, batch) = (flight.id, flight.sequence, flight.batch.clone());
        if index + 1 == self.flights.len() {
            self.retrying = false;
            self.retry_at = None;
        }
        Some((id, self.stamp(sequence), batch))
    }

    /// The broker answered, or the connection ended without an answer.
    pub(crate) fn on_answer(&mut self, id: FlightId, answer: Answer, now: Instant) -> Vec<Command<B>> {
        let Some(index) = self.flights.iter().position(|flight| flight.id == id) else { return Vec::new() };
        let mut commands = Vec::new();
        match answer {
            Answer::Stored { base_offset } => {
                self.finish(index, Outcome::Stored { base_offset }, &mut commands);
            }
            Answer::Rejected => self.on_rejected(index, &mut commands),
            Answer::Again { reason, stale_metadata } => {
                if stale_metadata {
                    commands.push(Command::RefreshMetadata);
                }
                self.flights[index].may_be_stored = true;
                self.retry(index, reason, now, &mut commands);
            }
            Answer::Duplicate { .. } if self.flights[index].may_be_stored => {
                self.finish(index, Outcome::Stored { base_offset: -1 }, &mut commands);
            }
            Answer::Duplicate { reason } | Answer::SequenceBroken { reason } => {
                // Behind a batch that is not answered this is only to be expected.
                self.broken |= index == 0 && self.identity.is_some();
                self.flights[index].may_be_stored = false;
                self.retry(index, reason, now, &mut commands);
            }
        }
        self.expire(now, &mut commands);
        self.ask_identity(&mut commands);
        commands
    }

    /// The batch was refused for its size and goes as these instead, in this order and under its numbers. None if
    /// it has to go as it is: an earlier attempt may have stored it.
    pub(crate) fn on_split(
        &mut self,
        id: FlightId,
        parts: Vec<(B, i32)>,
        now: Instant,
    ) -> Option<Vec<Command<B>>> {
        let index = self.flights.iter().position(|flight| flight.id == id)?;
        if self.flights[index].may_be_stored {
            return None;
        }
        let whole = self.flights.remove(index)?;
        let mut sequence = whole.sequence;
        for (place, (batch, count)) in (index..).zip(parts) {
            let id = FlightId(self.next_id);
            self.next_id += 1;
            let reason = "the batch was too large and is sent in parts".to_owned();
            let (deadline, attempts) = (whole.deadline, 0);
            let part = Flight {
                id,
                batch,
                count,
                sequence,
                deadline,
                in_flight: false,
                may_be_stored: false,
                attempts,
                reason,
            };
            self.flights.insert(place, part);
            sequence = advance(sequence, count);
        }
        self.retrying = true;
        let mut commands = Vec::new();
        self.expire(now, &mut commands);
        self.ask_identity(&mut commands);
        Some(commands)
    }

    /// Takes what was sent and is to go elsewhere, oldest first, each with its deadline; nothing while anything is in
    /// flight. Only where none of it can be stored any more: its numbers are not used again.
    pub(crate) fn take_sent(&mut self) -> Vec<(B, Instant)> {
        if self.flights.is_empty() || self.flights.iter().any(|flight| flight.in_flight) {
            return Vec::new();
        }
        self.broken |= self.identity.is_some();
        self.retrying = false;
        self.retry_at = None;
        self.flights.drain(..).map(|flight| (flight.batch, flight.deadline)).collect()
    }

    /// The transaction that these belong to is aborted: what is not in flight is refused now, and what is goes no
    /// second time.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<Command<B>> {
        let mut commands = Vec::new();
        while let Some(index) = self.flights.iter().position(|flight| !flight.in_flight) {
            self.broken |= self.identity.is_some();
            self.finish(index, Outcome::Rejected, &mut commands);
        }
        for flight in &mut self.flights {
            flight.deadline = now;
        }
        self.ask_identity(&mut commands);
        commands
    }

    fn on_rejected(&mut self, index: usize, commands: &mut Vec<Command<B>>) {
        let flight = &self.flights[index];
        if self.identity.is_some() {
            if index + 1 == self.flights.len() && flight.attempts == 1 {
                // Surely not stored and nothing counts on it: the number is free again.
                self.next_sequence = flight.sequence;
            } else {
                self.broken = true;
            }
        }
        self.finish(index, Outcome::Rejected, commands);
    }

    fn finish(&mut self, index: usize, outcome: Outcome, commands: &mut Vec<Command<B>>) {
        if let Some(flight) = self.flights.remove(index) {
            commands.push(Command::Complete { batch: flight.batch, outcome });
        }
        if self.retrying && self.flights.iter().all(|flight| flight.in_flight) {
            self.retrying = false;
            self.retry_at = None;
        }
    }

    fn retry(&mut self, index: usize, reason: String, now: Instant, commands: &mut Vec<Command<B>>) {
        let flight = &mut self.flights[index];
        flight.in_flight = false;
        flight.reason = reason;
        let doublings = flight.attempts.saturating_sub(1).min(10);
        let at = now + self.backoff.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        self.retrying = true;
        if self.retry_at.is_none_or(|earlier| earlier < at) {
            self.retry_at = Some(at);
            commands.push(Command::WakeAt(at));
        }
    }

    /// Gives up what has waited for too long. What is in flight is left alone: its answer decides.
    fn expire(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
        while let Some(index) =
            self.flights.iter().position(|flight| !flight.in_flight && flight.deadline <= now)
        {
            let reason = std::mem::take(&mut self.flights[index].reason);
            self.finish(index, Outcome::Expired { reason }, commands);
            self.broken |= self.identity.is_some();
        }
    }

    /// The present numbers are of no more use: nothing that carries one is, or may yet turn out to be, stored.
    fn needs_identity(&self) -> bool {
        self.broken && self.flights.iter().all(|flight| !flight.in_flight && !flight.may_be_stored)
    }

    fn ask_identity(&self, commands: &mut Vec<Command<B>>) {
        if let Some(after) = self.identity
            && self.needs_identity()
        {
            commands.push(Command::NewIdentity { after });
        }
    }

    /// Time has passed.
    pub(crate) fn on_time(&mut self, now: Instant) -> Vec<Command<B>> {
        let mut commands = Vec::new();
        self.expire(now, &mut commands);
        self.ask_identity(&mut commands);
        commands
    }

    /// A newer identity: what remains is counted again from zero under it.
    pub(crate) fn on_identity(&mut self, identity: Identity) {
        if !self.needs_identity() {
            return;
        }
        self.broken = false;
        self.identity = Some(identity);
        self.next_sequence = 0;
        for flight in &mut self.flights {
            flight.sequence = self.next_sequence;
            self.next_sequence = advance(self.next_sequence, flight.count);
        }
        self.retrying = !self.flights.is_empty();
    }
}

/// Sequence numbers wrap around after `i32::MAX` to 0.
const fn advance(sequence: i32, by: i32) -> i32 {
    ((sequence as i64 + by as i64) & i32::MAX as i64) as i32
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
