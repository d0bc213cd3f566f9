//! The metadata quorum: one agreed order of the real commands, and a controller that decides on them.
//!
//! Raft itself is not played: it has a suite of its own. What reaches a broker late, or not at all, are the commands
//! and the answers. The controller fences brokers that are not heard of, elects leaders from the in-sync replicas, and
//! from the eligible ones where none of those lives (KIP-966); a broker that comes back with another disk is in sync
//! with nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_base::{BrokerId, TopicId, TopicPartition};
use millrace_metadata::apply::apply;
use millrace_metadata::{
    BrokerRegistration, Command, Image, Outcome, Partition, PartitionAssignment, PartitionChange, Rejection,
};

use millrace_replication::{IsrAnswer, IsrProposal};

use crate::agenda::{SECOND, Time};
use crate::mutants::Mutant;

/// How long a broker may be silent before it counts as dead.
pub const SESSION: Time = 3 * SECOND;

const REPLICAS: usize = 3;

/// A broker as the controller sees it.
struct Session {
    epoch: i64,
    /// Names the disk.
    directory: u64,
    heard: Time,
    fenced: bool,
}

pub struct Quorum {
    mutant: Option<Mutant>,
    min_isr: usize,
    commands: Vec<Arc<Command>>,
    image: Image,
    ids: BTreeSet<TopicPartition>,
    sessions: BTreeMap<BrokerId, Session>,
    /// Replicas that left the in-sync ones when those became too few to commit: they have all that is committed.
    eligible: BTreeMap<TopicPartition, BTreeSet<BrokerId>>,
    /// Replicas that are still named in sync, since they were the last, and have lost their disk.
    lost: BTreeSet<(TopicPartition, BrokerId)>,
}

impl Quorum {
    pub fn new(min_isr: usize, mutant: Option<Mutant>) -> Self {
        Self {
            mutant,
            min_isr,
            commands: Vec::new(),
            image: Image::default(),
            ids: BTreeSet::new(),
            sessions: BTreeMap::new(),
            eligible: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    /// What is agreed.
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// The commands after the first `known`.
    pub fn commands_after(&self, known: u64) -> &[Arc<Command>] {
        &self.commands[usize::try_from(known).unwrap_or(usize::MAX).min(self.commands.len())..]
    }

    pub fn submit(&mut self, command: Command) -> Result<Outcome, Rejection> {
        if let Command::CreateTopic { id, partitions, .. } = &command {
            self.ids.extend((0..).zip(partitions).map(|(number, _)| TopicPartition::new(*id, number)));
        }
        let index = self.commands.len() as u64 + 1;
        let mut next = self.image.clone();
        let outcome = apply(&mut next, index, &command)?;
        self.image = next;
        self.commands.push(Arc::new(command));
        Ok(outcome)
    }

    /// Makes a topic whose partitions have three replicas, each another one first.
    pub fn make_topic(&mut self, name: &str, id: TopicId, partitions: i32) {
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        let assign = |number: i32| {
            let replicas = ids.iter().copied().cycle().skip(number as usize % ids.len()).take(REPLICAS);
            PartitionAssignment { replicas: replicas.collect() }
        };
        let (name, partitions) = (name.to_owned(), (0..partitions).map(assign).collect());
        let create = Command::CreateTopic { name, id, partitions, configs: BTreeMap::new() };
        self.submit(create).expect("a topic of registered brokers");
    }

    /// A broker has started, with its disk; returns its epoch, which names this life of it.
    pub fn register(&mut self, id: BrokerId, directory: u64, now: Time) -> i64 {
        // Names the disk, which registrations do not tell yet.
        let host = format!("disk-{directory}");
        let registration = BrokerRegistration { id, host, port: 9092, rack: None };
        let outcome = self.submit(Command::RegisterBroker { registration });
        let Ok(Outcome::BrokerRegistered { epoch }) = outcome else {
            unreachable!("a registration is never refused: {outcome:?}")
        };
        let before = self.sessions.insert(id, Session { epoch, directory, heard: now, fenced: false });
        let lost_its_disk = before.is_some_and(|before| before.directory != directory);
        if lost_its_disk && self.mutant != Some(Mutant::TrustAnEmptyReplica) {
            for eligible in self.eligible.values_mut() {
                eligible.remove(&id);
            }
            self.leave_isr(id, true);
        } else if self.leads_something(id) && self.mutant != Some(Mutant::KeepTheEpoch) {
            let _ = self.submit(Command::StartLeaderEpochs { broker: id });
        }
        self.elect();
        epoch
    }

    /// Whether the broker is known in this life and not fenced.
    pub fn heartbeat(&mut self, id: BrokerId, epoch: i64, now: Time) -> bool {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.epoch == epoch) else {
            return false;
        };
        session.heard = now;
        if std::mem::take(&mut session.fenced) {
            self.elect();
        }
        true
    }

    /// Fences who was not heard of.
    pub fn tick(&mut self, now: Time) {
        let silent: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.fenced && now - session.heard > SESSION)
            .map(|(id, _)| *id)
            .collect();
        for id in &silent {
            self.session(*id).fenced = true;
            self.leave_isr(*id, false);
        }
        if !silent.is_empty() {
            self.elect();
        }
    }

    /// Who has all that is committed: the in-sync replicas and the eligible ones, but for those that lost their disk.
    pub fn holders(&self, id: &TopicPartition) -> Vec<BrokerId> {
        let partition = self.image.partition(id);
        let in_sync = partition.map_or(&[][..], |partition| &partition.isr);
        let eligible = self.eligible.get(id).into_iter().flatten();
        in_sync.iter().chain(eligible).copied().filter(|holder| !self.has_lost(id, *holder)).collect()
    }

    /// A leader's proposal (KIP-497). Who comes in must live, in the life in which the leader saw it catch up.
    pub fn alter_isr(
        &mut self,
        from: (BrokerId, i64),
        id: TopicPartition,
        proposal: &IsrProposal,
    ) -> IsrAnswer {
        let alive = |(id, epoch): (BrokerId, i64)| {
            self.sessions.get(&id).is_some_and(|session| session.epoch == epoch && !session.fenced)
        };
        let Some(partition) = self.image.partition(&id).cloned() else { return IsrAnswer::Rejected };
        let asked = (proposal.leader_epoch, proposal.partition_epoch);
        if asked != (partition.leader_epoch, partition.partition_epoch) || partition.leader != Some(from.0) {
            return IsrAnswer::Outdated;
        }
        let comes_in = |member: &&(BrokerId, i64)| !partition.isr.contains(&member.0);
        if !alive(from) || !proposal.isr.iter().filter(comes_in).all(|member| alive(*member)) {
            return IsrAnswer::Rejected;
        }
        let isr: Vec<_> = proposal.isr.iter().map(|(member, _)| *member).collect();
        let change = PartitionChange {
            leader_epoch: asked.0,
            partition_epoch: asked.1,
            leader: Some(from.0),
            isr: isr.clone(),
            unclean: false,
        };
        match self.change(id, &partition, change) {
            Ok(()) => IsrAnswer::Committed { isr, partition_epoch: asked.1 + 1 },
            Err(_) => IsrAnswer::Rejected,
        }
    }

    /// Makes another in-sync replica the leader of partition `number`, if one lives.
    pub fn move_leader(&mut self, number: i32) {
        for (tp, partition) in self.partitions() {
            let Some(leader) = partition.leader.filter(|_| tp.partition == number) else { continue };
            let others: Vec<_> = partition.isr.iter().copied().filter(|member| *member != leader).collect();
            let Some(next) = self.candidate(&tp, &partition, &others) else { continue };
            let change = PartitionChange {
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                leader: Some(next),
                isr: partition.isr.clone(),
                unclean: false,
            };
            // Refused only if a mutant's candidate is not in sync.
            let _ = self.change(tp, &partition, change);
        }
    }

    fn session(&mut self, id: BrokerId) -> &mut Session {
        self.sessions.get_mut(&id).expect("only registered brokers are named")
    }

    fn leads_something(&self, id: BrokerId) -> bool {
        self.partitions().iter().any(|(_, partition)| partition.leader == Some(id))
    }

    fn has_lost(&self, partition: &TopicPartition, id: BrokerId) -> bool {
        self.lost.contains(&(*partition, id))
    }

    /// In the order of their ids.
    pub fn partitions(&self) -> Vec<(TopicPartition, Arc<Partition>)> {
        let known =
            |id: &TopicPartition| self.image.partition(id).map(|partition| (*id, Arc::clone(partition)));
        self.ids.iter().filter_map(known).collect()
    }

    /// Takes a broker out of the in-sync replicas, except where it is the last one and still has its disk.
    fn leave_isr(&mut self, id: BrokerId, lost_its_disk: bool) {
        for (tp, partition) in self.partitions() {
            if !partition.isr.contains(&id) {
                continue;
            }
            if lost_its_disk {
                self.lost.insert((tp, id));
            }
            let rest: Vec<_> = partition.isr.iter().copied().filter(|member| *member != id).collect();
            let leader = partition.leader.filter(|leader| *leader != id);
            let isr = if rest.is_empty() { partition.isr.clone() } else { rest };
            let change = PartitionChange {
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                leader: leader.or_else(|| self.candidate(&tp, &partition, &isr)),
                isr,
                unclean: false,
            };
            let _ = self.change(tp, &partition, change);
            if lost_its_disk && let Some(eligible) = self.eligible.get_mut(&tp) {
                eligible.remove(&id);
            }
        }
    }

    /// The first of `from`, in the order of preference, that lives.
    fn candidate(&self, tp: &TopicPartition, partition: &Partition, from: &[BrokerId]) -> Option<BrokerId> {
        let alive = |id: &&BrokerId| {
            !self.has_lost(tp, **id) && self.sessions.get(id).is_some_and(|session| !session.fenced)
        };
        let pool = match self.mutant {
            Some(Mutant::ElectFromOutside) => &partition.replicas[..],
            _ => from,
        };
        partition.replicas.iter().filter(|id| pool.contains(id)).find(alive).copied()
    }

    /// Gives every partition without a leader one, where somebody can lead.
    fn elect(&mut self) {
        for (tp, partition) in self.partitions() {
            if partition.leader.is_some() {
                continue;
            }
            let eligible: Vec<_> = self.eligible.get(&tp).into_iter().flatten().copied().collect();
            let in_sync = self.candidate(&tp, &partition, &partition.isr);
            let Some(leader) = in_sync.or_else(|| self.candidate(&tp, &partition, &eligible)) else {
                continue;
            };
            let is_in_sync = partition.isr.contains(&leader);
            let change = PartitionChange {
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                leader: Some(leader),
                isr: if is_in_sync { partition.isr.clone() } else { vec![leader] },
                unclean: !is_in_sync,
            };
            let _ = self.change(tp, &partition, change);
        }
    }

    fn change(
        &mut self,
        tp: TopicPartition,
        before: &Partition,
        change: PartitionChange,
    ) -> Result<(), Rejection> {
        let isr = change.isr.clone();
        self.submit(Command::AlterPartition { partition: tp, change })?;
        let eligible = self.eligible.entry(tp).or_default();
        if isr.len() >= self.min_isr {
            eligible.clear();
        } else {
            let has_lost = |member: &&BrokerId| self.lost.contains(&(tp, **member));
            eligible.extend(before.isr.iter().filter(|member| !has_lost(member)));
            eligible.retain(|member| !isr.contains(member));
        }
        // Out of the set, one that lost its disk may begin anew.
        self.lost.retain(|(partition, id)| *partition != tp || isr.contains(id));
        Ok(())
    }
}
