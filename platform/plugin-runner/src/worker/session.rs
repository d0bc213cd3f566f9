//! A worker at work: from its last commit on until it is told to stop or something fails.

use std::sync::Arc;
use std::time::Duration;

use millrace_base::limits::MIB;
use millrace_base::{Offset, TopicPartition};
use millrace_coordinator::ReadFailure;
use millrace_plugin_host::LogLevel;
use millrace_protocol::batch::{Batch, BatchBuilder};
use millrace_protocol::plugins::PartitionState;

use super::batch_run::{BatchRun, FailureClass, Verdict};
use super::guest::{Failed, Guest};
use super::source::Prepared;
use super::step::{Flight, Step};
use super::{Plan, Trouble, Worker};
use crate::dead_letter::{self, Origin, Reason};
use crate::route::finish;

/// Bytes that one read of the input asks for.
const READ_BYTES: usize = MIB;
/// Bytes of output after which they are appended, even if there is more input at hand.
const STEP_BYTES: usize = 2 * MIB;

/// How long a session in trouble waits for what is on its way.
const LANDING_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a session is over.
pub(super) enum Ended {
    /// By order, with everything committed.
    Stopped,
    /// There will never be more to do.
    Finished,
}

/// What became of a batch.
enum Worked {
    /// Its outputs are in the step.
    Done,
    /// There is another order: the batch is not dealt with, and the step holds nothing of it.
    Interrupted,
    /// What is before this offset is in the step; there the plugin fails for good.
    Halted(Offset, Failed),
}

/// See the module's text.
pub(super) struct Session<'w> {
    pub(super) worker: &'w mut Worker,
    pub(super) plan: Arc<Plan>,
    guest: Guest,
    /// The next record to be given to the plugin.
    pub(super) position: Offset,
    pub(super) leader_epoch: i32,
    pub(super) step: Step,
    pub(super) flight: Flight,
}

impl<'w> Session<'w> {
    pub async fn run(worker: &'w mut Worker, plan: Arc<Plan>) -> Result<Ended, Trouble> {
        let Some(guest) = Guest::new(Arc::clone(&plan.deployment), worker.place.partition) else {
            return Ok(Ended::Finished);
        };
        let position = worker.begin(plan.start).await?;
        worker.status.at(position);
        let flight = Flight::new(Arc::clone(&worker.shared.offsets), worker.key.clone(), worker.place.topic);
        let mut session =
            Session { worker, plan, guest, position, leader_epoch: -1, step: Step::default(), flight };
        let ended = session.work().await;
        session.release();
        if ended.is_err() {
            // What was done before the trouble need not be done again.
            let _ = tokio::time::timeout(LANDING_TIMEOUT, session.land()).await;
        }
        ended
    }

    async fn work(&mut self) -> Result<Ended, Trouble> {
        loop {
            match self.worker.order() {
                Some(plan) => self.follow(plan),
                None => {
                    self.land().await?;
                    return Ok(Ended::Stopped);
                }
            }
            if self.worker.source.ends_at(self.position) {
                self.land().await?;
                return Ok(Ended::Finished);
            }
            let batches = self.read().await?;
            if batches.is_empty() {
                self.land().await?;
                self.wait().await;
                continue;
            }
            self.worker.status.set(PartitionState::Running);
            self.take(batches).await?;
        }
    }

    /// Goes on with another version, from the next batch on.
    fn follow(&mut self, plan: Arc<Plan>) {
        if plan.is_same(&self.plan) {
            return;
        }
        if plan.version != self.plan.version {
            self.release();
            if let Some(guest) = Guest::new(Arc::clone(&plan.deployment), self.worker.place.partition) {
                self.guest = guest;
            }
        }
        self.plan = plan;
    }

    async fn read(&mut self) -> Result<Vec<Batch>, Trouble> {
        let place = self.worker.place;
        match self.worker.shared.partitions.read(place, self.position, READ_BYTES).await {
            Err(ReadFailure::OutOfRange { bounds, .. }) => {
                // Retention was quicker than the plugin, or records were lost while it ran.
                let (from, to) = (self.position, self.position.clamp(bounds.start, bounds.end));
                let message = format!(
                    "offset {from} of topic '{}' is not there any more; going on at {to}",
                    self.worker.key.topic
                );
                self.log(LogLevel::Warn, &message);
                self.position = to;
                Ok(self.worker.shared.partitions.read(place, to, READ_BYTES).await?)
            }
            read => Ok(read?),
        }
    }

    /// Nothing to do: waits for more, and gives the instance back after a while.
    async fn wait(&mut self) {
        self.worker.status.set(PartitionState::Idle);
        let shared = Arc::clone(&self.worker.shared);
        let more = shared.partitions.wait_for(self.worker.place, self.position);
        tokio::pin!(more);
        if self.guest.is_live() {
            tokio::select! {
                () = &mut more => return,
                () = self.worker.next_order() => return,
                () = tokio::time::sleep(shared.idle) => {}
                () = shared.pressure.raised() => {}
            }
            self.release();
        }
        tokio::select! {
            () = more => {}
            () = self.worker.next_order() => {}
        }
    }

    /// Gives back the instance.
    fn release(&mut self) {
        if self.guest.is_live() {
            self.guest.release();
            self.worker.metrics.change_instances(-1);
        }
    }

    async fn take(&mut self, batches: Vec<Batch>) -> Result<(), Trouble> {
        for batch in batches {
            let (next, epoch) = (batch.header.next_offset(), batch.header.partition_leader_epoch);
            match self.work_on(batch).await? {
                Worked::Done => {
                    self.position = self.position.max(next);
                    self.leader_epoch = epoch;
                }
                Worked::Interrupted => break,
                Worked::Halted(offset, failed) => {
                    self.position = offset;
                    self.halt(failed).await?;
                    return Ok(());
                }
            }
            if self.step_is_due() {
                self.flush().await?;
            }
            if self.worker.has_other_order(&self.plan) {
                break;
            }
        }
        self.flush().await
    }

    /// A sink's deliveries are done when it says so; a transform's outputs gather.
    const fn step_is_due(&self) -> bool {
        matches!(self.guest, Guest::Sink(_)) || self.step.bytes() >= STEP_BYTES
    }

    /// Gives one batch to the plugin, in as many parts as its failures ask for. What came out of some parts may
    /// be on its way before the next is worked on, so that many small parts hold no more than a batch may.
    async fn work_on(&mut self, batch: Batch) -> Result<Worked, Trouble> {
        let (first, last) = (self.position.max(batch.header.base_offset), batch.header.last_offset());
        let mut prepared = match self.worker.source.prepare(batch, self.position, &self.plan.name) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Ok(Worked::Done),
            Err(error) => return Ok(self.unreadable(first, last, error)),
        };
        let mut run = BatchRun::new(prepared.record_count(), self.plan.policy.clone(), self.plan.retries);
        let (mut mark, mut flushed) = (self.step.mark(), 0);
        while let Some(range) = run.next() {
            if range.start > flushed && self.step_is_due() {
                self.position = prepared.offset(range.start);
                self.flush().await?;
                (mark, flushed) = (self.step.mark(), range.start);
            }
            let Err(failed) = self.call(&mut prepared, range.clone()).await? else {
                run.succeeded();
                continue;
            };
            run.delivered(failed.delivered);
            match run.failed(failed.class) {
                Verdict::Narrower => {}
                Verdict::Again(pause) => {
                    let pause = pause.max(failed.pause_min);
                    self.worker.metrics.retry();
                    if failed.busy {
                        self.worker.shared.pressure.raise();
                    }
                    if failed.class != FailureClass::Passing {
                        self.log(LogLevel::Warn, &format!("{}; trying again in {pause:?}", failed.error));
                    }
                    self.worker.status.failing(PartitionState::Retrying, failed.error, failed.backtrace);
                    self.worker.pause(pause).await;
                    if self.worker.has_other_order(&self.plan) {
                        self.step.rewind(mark);
                        return Ok(Worked::Interrupted);
                    }
                    self.worker.status.set(PartitionState::Running);
                }
                Verdict::Skip(index) => {
                    let offset = prepared.offset(index);
                    self.worker.metrics.skipped(1);
                    self.log(
                        LogLevel::Warn,
                        &format!("skipped the record at offset {offset}: {}", failed.error),
                    );
                }
                Verdict::SkipAll => {
                    let (first, last) = prepared.span(&range);
                    self.skipped(first, last, &failed.error);
                }
                Verdict::DeadLetter(index) => {
                    if let Err(failed) = self.dead_letter(&mut prepared, index, failed) {
                        return Ok(Worked::Halted(prepared.offset(index), failed));
                    }
                }
                Verdict::Halt(index) => return Ok(Worked::Halted(prepared.offset(index), failed)),
            }
        }
        Ok(Worked::Done)
    }

    /// What the policy says about records that cannot be told apart.
    fn unreadable(&self, first: Offset, last: Offset, error: String) -> Worked {
        let mut run = BatchRun::new(1, self.plan.policy.clone(), self.plan.retries);
        match run.failed(FailureClass::Unreadable) {
            Verdict::SkipAll => {
                self.skipped(first, last, &error);
                Worked::Done
            }
            _ => Worked::Halted(first, Failed::unreadable(error)),
        }
    }

    fn skipped(&self, first: Offset, last: Offset, error: &str) {
        self.worker.metrics.skipped(u64::try_from(last - first + 1).unwrap_or(0));
        self.log(LogLevel::Warn, &format!("skipped the records from offset {first} to {last}: {error}"));
    }

    /// One call; its outputs go into the step, unless their topics refuse them.
    async fn call(
        &mut self,
        prepared: &mut Prepared,
        range: std::ops::Range<usize>,
    ) -> Result<Result<(), Failed>, Trouble> {
        let token = match &self.guest {
            Guest::Sink(_) => {
                token(&self.plan.name, self.worker.place, prepared.leader_epoch(), prepared.span(&range))
            }
            Guest::Transform(_) => String::new(),
        };
        let records = range.len() as u64;
        let part = match prepared.part(range) {
            Ok(part) => part,
            Err(error) => return Ok(Err(Failed::unreadable(error.to_string()))),
        };
        let was_live = self.guest.is_live();
        let (result, usage) = self.guest.call(&part, &token).await;
        self.worker.metrics.change_instances(i64::from(self.guest.is_live()) - i64::from(was_live));
        let result = result.and_then(|outputs| self.check_outputs(outputs));
        self.worker.metrics.call(&usage, if result.is_ok() { records } else { 0 });
        match result {
            Ok(outputs) => {
                outputs.into_iter().for_each(|output| self.step.add(output));
                Ok(Ok(()))
            }
            Err(failed) => {
                if failed.class != FailureClass::Passing {
                    self.worker.metrics.error();
                }
                Ok(Err(failed))
            }
        }
    }

    /// Puts a record into the step for the dead-letter topic. A record that cannot be kept there stays where it is:
    /// the answer is why the worker has to halt before it.
    fn dead_letter(&mut self, prepared: &mut Prepared, index: usize, failed: Failed) -> Result<(), Failed> {
        let Some(topic) = self.plan.dead_letter.clone() else { return Ok(()) };
        let module = self.plan.deployment.module().to_string();
        let reason = Reason {
            deployment: &self.plan.name,
            version: self.plan.version,
            module: &module,
            error: &failed.error,
            backtrace: failed.backtrace.as_deref(),
        };
        let read_at = Origin {
            topic: self.worker.key.topic.clone(),
            partition: self.worker.place.partition,
            offset: prepared.offset(index),
        };
        let mut builder = BatchBuilder::default();
        let appended =
            prepared.record(index, |record| dead_letter::append(&mut builder, record, &reason, &read_at));
        let letter = match appended {
            Some(()) => finish(builder).map_err(|error| error.to_string()),
            None => Err("the record cannot be read".to_owned()),
        };
        let placed = letter.and_then(|letter| self.place(&topic, letter));
        let placed = placed.map_err(|reason| {
            let error = format!("{}; and it cannot go to '{topic}': {reason}", failed.error);
            Failed { error, ..failed }
        })?;
        placed.into_iter().for_each(|letter| self.step.add(letter));
        self.worker.metrics.dead_letters(1);
        Ok(())
    }

    /// Stops before a record until there is another order.
    async fn halt(&mut self, failed: Failed) -> Result<(), Trouble> {
        self.flush().await?;
        self.land().await?;
        self.release();
        let message = format!("halted before offset {}: {}", self.position, failed.error);
        self.log(LogLevel::Error, &message);
        self.worker.status.failing(PartitionState::Halted, failed.error, failed.backtrace);
        while !self.worker.has_other_order(&self.plan) {
            self.worker.next_order().await;
        }
        Ok(())
    }

    fn log(&self, level: LogLevel, message: &str) {
        let partition = u32::try_from(self.worker.place.partition).unwrap_or(0);
        self.worker.shared.logs.line(&self.plan.name, self.plan.version, partition, level, message);
    }
}

/// The same for every attempt at these records, and no others ever have it: after a crash under a relaxed flush policy
/// others may have their offsets, and a later leader epoch.
fn token(
    deployment: &str,
    place: TopicPartition,
    leader_epoch: i32,
    (first, last): (Offset, Offset),
) -> String {
    format!("{deployment}.{}-{}.{leader_epoch}.{first}-{last}", place.topic, place.partition)
}

#[cfg(test)]
mod tests {
    use millrace_base::TopicId;
    use millrace_protocol::batch::stamp;

    use super::*;
    use crate::testing::batch_of;
    use crate::worker::Source;

    /// The token of the second half of a batch of four that was written in an epoch.
    fn token_in(place: TopicPartition, leader_epoch: i32) -> String {
        let mut bytes = batch_of(1_000, &["a", "b", "c", "d"]).bytes.to_vec();
        stamp(&mut bytes, 10, leader_epoch);
        let batch = Batch::parse(bytes.into()).unwrap();
        let mut prepared = Source::Input.prepare(batch, 11, "ship").unwrap().unwrap();
        token("ship", place, prepared.leader_epoch(), prepared.span(&(1..3)))
    }

    #[test]
    fn records_that_take_lost_ones_offsets_have_another_token() {
        let place = TopicPartition::new(TopicId::random(), 3);
        assert_eq!(token_in(place, 4), format!("ship.{}-3.4.12-13", place.topic));
        assert_eq!(token_in(place, 4), token_in(place, 4));
        assert_ne!(token_in(place, 4), token_in(place, 5));
    }
}
