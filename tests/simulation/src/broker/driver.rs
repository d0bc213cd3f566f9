//! What a broker does with what its cores command, and with what its disk has done.

use std::collections::VecDeque;

use millrace_base::{BrokerId, Offset, TopicPartition};
use millrace_coordinator::AppendFailure;
use millrace_log::AppendOrigin;
use millrace_metadata::Partition;
use millrace_protocol::batch::split_batches;
use millrace_replication::{
    Assignment, Command, Identity, IsrAnswer, IsrProposal, Member, Refused, ReplicaFetch, RoleKind, Waiters,
};

use super::log::records;
use super::part::{Asker, Part, Waiting};
use super::{Broker, Stop};
use crate::agenda::{MS, Time};
use crate::effects::{Alarm, Effects, Fact};
use crate::message::{Asked, Given, Message};
use crate::mutants::Mutant;
use crate::network::Host;

/// How long an answer of another broker, or of the controller, is waited for.
const ANSWER_LIMIT: Time = 500 * MS;

pub(super) fn ms(now: Time) -> i64 {
    (now / MS) as i64
}

impl Broker {
    /// Whether the controller has let this broker in, and it knows what the cluster was like then.
    pub(super) fn acts(&self) -> bool {
        let epoch = self.running.as_ref().and_then(|running| running.epoch);
        epoch.is_some_and(|epoch| self.applied >= epoch as u64)
    }

    /// Hands every core what the metadata say.
    pub(super) fn assign(&mut self, now: Time, effects: &mut Effects) -> Result<(), Stop> {
        if !self.acts() {
            return Ok(());
        }
        let mut mine = Vec::new();
        for topic in self.image.topics() {
            for (number, partition) in (0..).zip(&topic.partitions) {
                if partition.replicas.contains(&self.id) {
                    let assignment = self.assignment(partition);
                    mine.push((TopicPartition::new(topic.id, number), assignment));
                }
            }
        }
        mine.sort_by_key(|(id, _)| *id);
        for (id, assignment) in mine {
            if !self.running()?.parts.contains_key(&id) {
                self.open_part(id)?;
            }
            let mutant = self.mutant;
            let local = self.id;
            let part = self.part(id)?;
            let before = part.core.assignment();
            if *before == assignment {
                continue;
            }
            let follows_anew = before.leader_epoch != assignment.leader_epoch
                && assignment.leader.is_some_and(|leader| leader != local);
            if mutant == Some(Mutant::TruncateToHighWatermark) && follows_anew {
                let to = part.core.pointers().high_watermark;
                part.take_back(to, |log| log.truncate(to))?;
            }
            let ((), out) = part.decide(|core, log, out| core.on_assignment(assignment, log, ms(now), out));
            self.run(id, out, now, effects)?;
        }
        Ok(())
    }

    fn assignment(&self, partition: &Partition) -> Assignment {
        let member = |id: &BrokerId| {
            let broker = self.image.broker(*id);
            let disk = broker.and_then(|broker| broker.registration.host.strip_prefix("disk-"));
            let directory = disk.and_then(|disk| disk.parse().ok()).unwrap_or_default();
            let directory = if self.mutant == Some(Mutant::TrustAnEmptyReplica) { 0 } else { directory };
            let broker_epoch = broker.map_or(-1, |broker| broker.epoch);
            Member { id: *id, identity: Identity { directory, broker_epoch } }
        };
        Assignment {
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            replicas: partition.replicas.iter().map(member).collect(),
            isr: partition.isr.clone(),
            min_insync_replicas: if self.mutant == Some(Mutant::IgnoreMinIsr) { 1 } else { self.min_isr },
        }
    }

    pub(super) fn part(&mut self, id: TopicPartition) -> Result<&mut Part, Stop> {
        self.running()?.parts.get_mut(&id).ok_or(Stop::PowerCut)
    }

    /// Does what a core wants, in order, and what it wants then.
    pub(super) fn run(
        &mut self,
        id: TopicPartition,
        out: Vec<Command>,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        let mut queue = VecDeque::from(out);
        while let Some(command) = queue.pop_front() {
            let more = self.obey(id, command, now, effects)?;
            queue.extend(more);
        }
        let part = self.part(id)?;
        let checked = part.core.validate();
        checked.map_err(|what| Stop::Broken(format!("broker {}, {id}: {what}", self.id)))
    }

    fn obey(
        &mut self,
        id: TopicPartition,
        command: Command,
        now: Time,
        effects: &mut Effects,
    ) -> Result<Vec<Command>, Stop> {
        let mutant = self.mutant;
        let part = self.part(id)?;
        match command {
            Command::BeginEpoch(epoch) => {
                part.log.begin_leader_epoch(epoch);
                if mutant == Some(Mutant::CommitOnElection) {
                    let end = part.log.log_end_offset();
                    self.commit(id, end, effects)?;
                }
            }
            Command::FollowEpoch(epoch) => part.log.set_leader_epoch(epoch),
            Command::Truncate { to } => {
                let end = part.take_back(to, |log| log.truncate(to))?;
                return Ok(part.decide(|core, log, out| core.on_cut(Some(end), log, ms(now), out)).1);
            }
            Command::Reset { start } => {
                let end = part.take_back(0, |log| log.reset(start).map(|()| start))?;
                return Ok(part.decide(|core, log, out| core.on_cut(Some(end), log, ms(now), out)).1);
            }
            Command::RaiseLogStart { to } => drop(part.log.delete_records(to)),
            Command::PublishHighWatermark(to) => self.commit(id, to, effects)?,
            Command::Fail { who, why } => self.fail(id, who, why, effects)?,
            Command::AppendFetched => return self.append_fetched(id, effects),
            Command::FetchFrom { leader, leader_epoch, offset, last_fetched_epoch } => {
                effects.alarm(ANSWER_LIMIT, Alarm::Unfetched(id, Asked { leader_epoch, offset }));
                let directory = if mutant == Some(Mutant::TrustAnEmptyReplica) { 0 } else { self.directory };
                let replica = self.id;
                // One that is not let in has nothing to say, and tries again later.
                if let Some(broker_epoch) = self.running()?.epoch {
                    let identity = Identity { directory: directory.into(), broker_epoch };
                    let fetch = ReplicaFetch { replica, identity, leader_epoch, offset, last_fetched_epoch };
                    effects.send(Host::Broker(leader.0), Message::Fetch { partition: id, fetch });
                }
            }
            Command::ProposeIsr(proposal) => return self.propose(id, proposal, now, effects),
            Command::WakeAt(at_ms) => {
                let after = (at_ms as Time * MS).saturating_sub(now);
                effects.alarm(after, Alarm::Wake(id));
            }
        }
        Ok(Vec::new())
    }

    fn propose(
        &mut self,
        id: TopicPartition,
        proposal: IsrProposal,
        now: Time,
        effects: &mut Effects,
    ) -> Result<Vec<Command>, Stop> {
        let mutant = self.mutant;
        let part = self.part(id)?;
        let shrinks = proposal.isr.len() < part.core.assignment().isr.len();
        if mutant == Some(Mutant::ShrinkAlone) && shrinks {
            let isr = proposal.isr.iter().map(|(member, _)| *member).collect();
            let answer = IsrAnswer::Committed { isr, partition_epoch: proposal.partition_epoch + 1 };
            let mut out = Vec::new();
            part.core.on_isr_answer(&proposal, answer, ms(now), &mut out);
            return Ok(out);
        }
        if let Some(epoch) = self.running()?.epoch {
            let sent = Message::ProposeIsr { epoch, partition: id, proposal: proposal.clone() };
            effects.send(Host::Quorum, sent);
        }
        effects.alarm(ANSWER_LIMIT, Alarm::Unanswered(id, proposal));
        Ok(Vec::new())
    }

    /// What is below `to` is committed: those who wait for it are told.
    fn commit(&mut self, id: TopicPartition, to: Offset, effects: &mut Effects) -> Result<(), Stop> {
        let by = self.id;
        let part = self.part(id)?;
        let from = part.log.high_watermark();
        part.log.set_high_watermark(to);
        let records = records(&part.log, from.max(part.log.log_start_offset()), to);
        let epoch = part.core.assignment().leader_epoch;
        let leads = part.core.role() == RoleKind::Leader;
        effects.facts.push(Fact::HighWatermark { by, epoch, leads, partition: id, to });
        let records = records.map_err(|_| Stop::PowerCut)?;
        effects.facts.push(Fact::Committed { by, partition: id, records });
        let (done, waiting) = std::mem::take(&mut part.waiting).into_iter().partition(|one| one.end <= to);
        part.waiting = waiting;
        acknowledge(by, id, done, effects);
        Ok(())
    }

    fn fail(
        &mut self,
        id: TopicPartition,
        who: Waiters,
        why: Refused,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        let (by, mutant) = (self.id, self.mutant);
        // All that wait here want all in-sync replicas.
        let (Waiters::All | Waiters::Replicated) = who;
        let failed = std::mem::take(&mut self.part(id)?.waiting);
        if mutant == Some(Mutant::AcknowledgeWhenDeposed) && why == Refused::NotLeader {
            acknowledge(by, id, failed, effects);
            return Ok(());
        }
        for waiting in failed {
            refuse(waiting.asker, why, effects);
        }
        Ok(())
    }

    fn append_fetched(&mut self, id: TopicPartition, effects: &mut Effects) -> Result<Vec<Command>, Stop> {
        let mutant = self.mutant;
        let part = self.part(id)?;
        let bytes = part.fetched.take().unwrap_or_default();
        let batches = split_batches(bytes, usize::MAX).expect("a leader sends whole batches");
        let epoch = part.core.assignment().leader_epoch;
        let appended = part.log.append(&batches, epoch, AppendOrigin::Replica);
        let end = appended.map_or_else(|_| part.log.log_end_offset(), |appended| appended.last_offset + 1);
        let ((), mut out) = part.decide(|core, log, out| core.on_append_fetched(end, log, out));
        if mutant == Some(Mutant::CountBeforeSync) {
            let ((), more) = part.decide(|core, log, out| core.on_durable(end, log, out));
            out.extend(more);
        }
        self.busy_disk(effects)?;
        Ok(out)
    }

    /// The disk works on what was appended.
    pub(super) fn busy_disk(&mut self, effects: &mut Effects) -> Result<(), Stop> {
        let takes = self.random.between(100, 3 * MS) * self.slowness;
        let running = self.running()?;
        if !std::mem::replace(&mut running.disk_is_busy, true) {
            effects.alarm(takes, Alarm::Disk);
        }
        Ok(())
    }

    /// Tells the cores what the disk has made durable.
    pub(super) fn after_disk(&mut self, now: Time, effects: &mut Effects) -> Result<(), Stop> {
        let by = self.id;
        let alone = self.mutant == Some(Mutant::AcknowledgeAlone);
        let ids: Vec<_> = self.running()?.parts.keys().copied().collect();
        for id in ids {
            let part = self.part(id)?;
            let end = part.log.durable_end_offset();
            if end <= part.core.pointers().durable_end {
                continue;
            }
            let ((), out) = part.decide(|core, log, out| core.on_durable(end, log, out));
            if alone {
                let (done, waiting) =
                    std::mem::take(&mut part.waiting).into_iter().partition(|one| one.end <= end);
                part.waiting = waiting;
                acknowledge(by, id, done, effects);
            }
            self.run(id, out, now, effects)?;
        }
        if self.running()?.log.metrics().pending_bytes > 0 {
            self.busy_disk(effects)?;
        }
        Ok(())
    }

    pub(super) fn wake(&mut self, id: TopicPartition, now: Time, effects: &mut Effects) -> Result<(), Stop> {
        let part = self.part(id)?;
        let ((), out) = part.decide(|core, log, out| core.on_time(log, ms(now), out));
        self.run(id, out, now, effects)
    }

    pub(super) fn unfetched(
        &mut self,
        id: TopicPartition,
        asked: Asked,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        self.fetched(id, asked, Given::Refused, now, effects)
    }

    pub(super) fn unanswered(
        &mut self,
        id: TopicPartition,
        proposal: &IsrProposal,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        self.isr_answered(id, proposal, IsrAnswer::Unknown, now, effects)
    }

    pub(super) fn isr_answered(
        &mut self,
        id: TopicPartition,
        proposal: &IsrProposal,
        answer: IsrAnswer,
        now: Time,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        let part = self.part(id)?;
        let mut out = Vec::new();
        part.core.on_isr_answer(proposal, answer, ms(now), &mut out);
        self.run(id, out, now, effects)
    }
}

pub(super) fn acknowledge(by: BrokerId, id: TopicPartition, done: Vec<Waiting>, effects: &mut Effects) {
    for Waiting { asker, epoch, base_offset, labels, .. } in done {
        effects.facts.push(Fact::Acknowledged { by, epoch, partition: id, base_offset, labels });
        match asker {
            Asker::Producer { from, request } => {
                effects.send(from, Message::Produced { request, outcome: Ok(base_offset) });
            }
            // Who has asked may be gone.
            Asker::Coordinator(told) => drop(told.send(Ok(()))),
        }
    }
}

pub(super) fn refuse(asker: Asker, why: Refused, effects: &mut Effects) {
    match asker {
        Asker::Producer { from, request } => {
            effects.send(from, Message::Produced { request, outcome: Err(why.to_string()) });
        }
        Asker::Coordinator(told) => {
            let failure = match why {
                Refused::NotLeader => AppendFailure::NotHere,
                passing => AppendFailure::Passing(passing.to_string()),
            };
            drop(told.send(Err(failure)));
        }
    }
}
