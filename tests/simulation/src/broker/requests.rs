//! What is asked of a broker, and what it is answered.

use bytes::Bytes;
use millrace_base::{LeaderEpoch, Offset, TopicPartition};
use millrace_log::AppendOrigin;
use millrace_protocol::batch::split_batches;
use millrace_replication::{FetchAnswer, FetchOutcome, Refused, ReplicaFetch, Served};

use super::driver::{acknowledge, ms};
use super::log::{read, records, seen};
use super::part::{Asker, Waiting};
use super::{Broker, Stop};
use crate::agenda::{MS, Time};
use crate::effects::{Alarm, Effects};
use crate::message::{Asked, Given, Message, Seen};
use crate::mutants::Mutant;
use crate::network::Host;

/// How long a fetch waits for records.
const FETCH_WAIT: Time = 100 * MS;

impl Broker {
    pub(super) fn receive(
        &mut self,
        from: Host,
        message: Message,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        match message {
            Message::Registered { epoch } => {
                self.running()?.epoch = Some(epoch);
                self.disk_is_new = false;
                self.assign(now, effects)
            }
            Message::Commands { known, commands, alive } => {
                if !alive {
                    self.running()?.epoch = None;
                }
                self.learn(known, &commands, now, effects)
            }
            Message::IsrAnswered { partition, proposal, answer } => {
                self.isr_answered(partition, &proposal, answer, now, effects)
            }
            Message::Fetch { partition, fetch } => self.serve(from, partition, fetch, false, now, effects),
            Message::Fetched { partition, asked, given } => {
                self.fetched(partition, asked, given, now, effects)
            }
            Message::Produce { request, partition, batch } => {
                self.produce(from, request, partition, batch, now, effects)
            }
            Message::Read { request, partition, offset } => {
                let records = self.show(partition, offset)?;
                effects.send(from, Message::Answered { request, records });
                Ok(())
            }
            Message::CommitOffset { .. } | Message::FetchOffset { .. } => self.ask_coordinator(from, message),
            Message::WhoLeads { partition } => {
                let leader = self.image.partition(&partition).and_then(|partition| partition.leader);
                effects.send(from, Message::Leads { partition, leader });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A follower fetches; with nothing to give it waits a little, unless it `has_waited`.
    fn serve(
        &mut self,
        from: Host,
        id: TopicPartition,
        mut fetch: ReplicaFetch,
        has_waited: bool,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        let asked = Asked { leader_epoch: fetch.leader_epoch, offset: fetch.offset };
        let mutant = self.mutant;
        let refuse = |effects: &mut Effects| {
            effects.send(from, Message::Fetched { partition: id, asked, given: Given::Refused });
        };
        if !self.acts() {
            refuse(effects);
            return Ok(());
        }
        let Some(part) = self.running()?.parts.get_mut(&id) else {
            refuse(effects);
            return Ok(());
        };
        if mutant == Some(Mutant::CountOldFetches) {
            fetch.leader_epoch = part.core.assignment().leader_epoch;
            fetch.last_fetched_epoch = LeaderEpoch::UNKNOWN;
        }
        let (served, out) = part.decide(|core, log, out| core.on_replica_fetch(&fetch, log, ms(now), out));
        let log = std::sync::Arc::clone(&part.log);
        let high_watermark = part.core.pointers().high_watermark;
        let given = match served {
            Ok(Served::Records)
                if !has_waited && fetch.offset == log.log_end_offset() && high_watermark == fetch.offset =>
            {
                part.held.push((from, fetch));
                effects.alarm(FETCH_WAIT, Alarm::Release(id));
                return self.run(id, out, now, effects);
            }
            Ok(Served::Records) => Given::Records {
                batches: read(&log, fetch.offset, log.log_end_offset()).map_err(|_| Stop::PowerCut)?,
                high_watermark,
                log_start: log.log_start_offset(),
            },
            Ok(Served::Diverging(divergence)) => Given::Diverging(divergence),
            Err(Refused::OutOfRange { start, end, .. }) => {
                Given::OutOfRange { log_start: start, log_end: end }
            }
            Err(_) => Given::Refused,
        };
        effects.send(from, Message::Fetched { partition: id, asked, given });
        self.run(id, out, now, effects)
    }

    /// Answers the fetches that have waited.
    pub(super) fn release(
        &mut self,
        id: TopicPartition,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        for (from, fetch) in std::mem::take(&mut self.part(id)?.held) {
            self.serve(from, id, fetch, true, now, effects)?;
        }
        Ok(())
    }

    /// The leader has answered this follower's fetch.
    pub(super) fn fetched(
        &mut self,
        id: TopicPartition,
        asked: Asked,
        given: Given,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        let mutant = self.mutant;
        let part = self.part(id)?;
        let outcome = match given {
            Given::Records { batches, high_watermark, log_start } => {
                let last = split_batches(batches.clone(), usize::MAX).expect("whole batches").pop();
                let end = last.map_or(asked.offset, |last| {
                    last.header.base_offset + i64::from(last.header.last_offset_delta) + 1
                });
                part.fetched = Some(batches);
                FetchOutcome::Records { end, high_watermark, log_start }
            }
            Given::Diverging(_) if mutant == Some(Mutant::IgnoreDivergence) => {
                FetchOutcome::Records { end: asked.offset, high_watermark: asked.offset, log_start: 0 }
            }
            Given::Diverging(divergence) => FetchOutcome::Diverging(divergence),
            Given::OutOfRange { log_start, log_end } => FetchOutcome::OutOfRange { log_start, log_end },
            Given::Refused => FetchOutcome::Failed,
        };
        let answer = FetchAnswer { leader_epoch: asked.leader_epoch, offset: asked.offset, outcome };
        let ((), out) = part.decide(|core, log, out| core.on_fetch_answer(&answer, log, ms(now), out));
        self.run(id, out, now, effects)
    }

    fn produce(
        &mut self,
        from: Host,
        request: u64,
        id: TopicPartition,
        batch: Bytes,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        let refuse = |why: String, effects: &mut Effects| {
            effects.send(from, Message::Produced { request, outcome: Err(why) });
            Ok(())
        };
        if !self.acts() {
            return refuse("not let in yet".to_owned(), effects);
        }
        let Some(part) = self.running()?.parts.get_mut(&id) else {
            return refuse("no replica".to_owned(), effects);
        };
        let standing = part.core.standing();
        let judged = standing.check_leader(LeaderEpoch::UNKNOWN).and_then(|()| standing.check_in_sync());
        if let Err(why) = judged {
            return refuse(why.to_string(), effects);
        }
        let epoch = standing.leader_epoch();
        let batches = split_batches(batch, usize::MAX).expect("a client sends whole batches");
        let labels = batches.iter().flat_map(seen).map(|seen| seen.label).collect();
        let appended = match part.log.append(&batches, epoch, AppendOrigin::Producer) {
            Ok(appended) => appended,
            Err(why) => return refuse(why.to_string(), effects),
        };
        let end = appended.last_offset + 1;
        if let Err(why) = part.core.on_append(epoch, end, true) {
            return refuse(why.to_string(), effects);
        }
        let base_offset = appended.base_offset;
        let asker = Asker::Producer { from, request };
        let waiting = Waiting { asker, epoch, base_offset, end, labels };
        if end <= part.log.high_watermark() {
            acknowledge(self.id, id, vec![waiting], effects);
        } else {
            part.waiting.push(waiting);
        }
        self.busy_disk(effects)?;
        self.release(id, now, effects)
    }

    /// Committed records for a reader.
    fn show(&mut self, id: TopicPartition, offset: Offset) -> Result<Option<Vec<Seen>>, Stop> {
        let (acts, mutant) = (self.acts(), self.mutant);
        let Some(part) = self.running()?.parts.get_mut(&id).filter(|_| acts) else { return Ok(None) };
        if part.core.standing().check_leader(LeaderEpoch::UNKNOWN).is_err() {
            return Ok(None);
        }
        let end = match mutant {
            Some(Mutant::ShowUncommitted) => part.log.log_end_offset(),
            _ => part.log.high_watermark(),
        };
        let end = end.min(offset + 50);
        records(&part.log, offset, end).map(Some).map_err(|_| Stop::PowerCut)
    }
}
