//! A worker at work: from its last commit on until it is told to stop or something fails.

use std::sync::Arc;
use std::time::Duration;

use millrace_base::Offset;
use millrace_base::limits::MIB;
use millrace_plugin_host::LogLevel;
use millrace_protocol::batch::{Batch, BatchBuilder};
use millrace_protocol::plugins::PartitionState;

use super::batch_run::{BatchRun, FailureClass, Verdict};
use super::guest::{Failed, Guest};
use super::source::Prepared;
use super::step::{Flight, Step, targets};
use super::{BACKOFF, Plan, Trouble, Worker};
use crate::dead_letter::{self, Origin, Reason};
use crate::route::{finish, route};
use crate::{Acknowledged, AppendFailure, ReadFailure};

/// Bytes that one read of the input asks for.
const READ_BYTES: usize = MIB;
/// Bytes of output after which they are appended, even if there is more input at hand.
const STEP_BYTES: usize = 2 * MIB;
/// Steps on their way to the disk at most; the next is computed meanwhile.
const STEPS_IN_FLIGHT: usize = 3;

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
    worker: &'w mut Worker,
    plan: Arc<Plan>,
    guest: Guest,
    /// The next record to be given to the plugin.
    position: Offset,
    leader_epoch: i32,
    step: Step,
    flight: Flight,
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
        let prepared = self.worker.source.prepare(batch, self.position, &self.plan.name);
        let Some(mut prepared) = prepared.map_err(Trouble)? else { return Ok(Worked::Done) };
        let mut run = BatchRun::new(prepared.record_count(), self.plan.policy.clone());
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
                    self.worker.metrics.skipped(range.len() as u64);
                    let what = format!("skipped the records from offset {first} to {last}: {}", failed.error);
                    self.log(LogLevel::Warn, &what);
                }
                Verdict::DeadLetter(index) => self.dead_letter(&mut prepared, index, &failed)?,
                Verdict::Halt(index) => return Ok(Worked::Halted(prepared.offset(index), failed)),
            }
        }
        Ok(Worked::Done)
    }

    /// One call; its outputs go into the step.
    async fn call(
        &mut self,
        prepared: &mut Prepared,
        range: std::ops::Range<usize>,
    ) -> Result<Result<(), Failed>, Trouble> {
        let token = match &self.guest {
            Guest::Sink(_) => self.token(prepared.span(&range)),
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
        self.worker.metrics.call(&usage, if result.is_ok() { records } else { 0 });
        match result {
            Ok(outputs) => {
                for output in outputs {
                    // The host has checked the index.
                    let topic = self.plan.outputs.get(output.output as usize);
                    let topic = topic.ok_or_else(|| Trouble("an output that is not deployed".to_owned()))?;
                    self.step.add(Arc::clone(topic), output.batch);
                }
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

    /// The same for every attempt at these records, and no others ever have it.
    fn token(&self, (first, last): (Offset, Offset)) -> String {
        let place = self.worker.place;
        format!("{}.{}-{}.{first}-{last}", self.plan.name, place.topic, place.partition)
    }

    fn dead_letter(&mut self, prepared: &mut Prepared, index: usize, failed: &Failed) -> Result<(), Trouble> {
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
        if appended.is_some() {
            self.worker.metrics.dead_letters(1);
            self.step.add(topic, finish(builder)?);
        }
        Ok(())
    }

    /// Appends what the step holds, and lets the input be committed up to the present position once it is
    /// acknowledged.
    async fn flush(&mut self) -> Result<(), Trouble> {
        let acknowledgements = self.append().await?;
        self.flight.push(self.position, self.leader_epoch, acknowledgements);
        let mut committed = self.flight.commit_ready().await?;
        while self.flight.len() > STEPS_IN_FLIGHT {
            committed = self.flight.commit_next().await?.or(committed);
        }
        if let Some(offset) = committed {
            self.worker.status.at(offset);
        }
        Ok(())
    }

    async fn append(&mut self) -> Result<Vec<Acknowledged>, Trouble> {
        let bytes = self.step.bytes();
        let outputs = self.step.take();
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        self.worker.shared.partitions.admit(bytes).await;
        let mut routed = Vec::with_capacity(outputs.len());
        {
            let image = self.worker.shared.metadata.image();
            for (name, batch) in outputs {
                let topic = image.topic_by_name(&name).ok_or_else(|| {
                    Trouble(format!("topic '{name}' does not exist: create it, or deploy without it"))
                })?;
                let count = topic.partition_count();
                for (partition, batch) in route(batch, count, self.worker.place.partition)? {
                    routed.push((millrace_base::TopicPartition::new(topic.id, partition), batch));
                }
            }
        }
        let mut acknowledgements = Vec::new();
        for target in targets(routed) {
            acknowledgements.push(self.append_to(&target).await?);
        }
        Ok(acknowledgements)
    }

    /// Appends to one partition, as often as it takes: what went before is appended already.
    async fn append_to(&mut self, target: &super::step::Target) -> Result<Acknowledged, Trouble> {
        let mut attempts = 0;
        loop {
            match self.worker.shared.partitions.append(target.place, &target.batches) {
                Err(AppendFailure::Passing(error)) => {
                    attempts += 1;
                    self.worker.status.failing(PartitionState::Retrying, error, None);
                    self.worker.pause(BACKOFF.pause(attempts)).await;
                    if self.worker.has_other_order(&self.plan) {
                        return Err(Trouble(
                            "interrupted while the outputs could not be appended".to_owned(),
                        ));
                    }
                }
                appended => return Ok(appended?),
            }
        }
    }

    /// Waits until all that was done is committed.
    async fn land(&mut self) -> Result<(), Trouble> {
        if let Some(offset) = self.flight.land().await? {
            self.worker.status.at(offset);
        }
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
