//! A world from one seed: brokers, the quorum, clients, a network, and what goes wrong with them.
//!
//! It runs in virtual time, one event after the other, until all clients have what they want. The same seed and the
//! same faults give the same world to the last byte: [`Outcome::digest`] says so.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_base::{BrokerId, TopicId, TopicPartition};
use millrace_coordinator::OFFSETS_TOPIC;

use crate::agenda::{Agenda, MS, SECOND, Time};
use crate::broker::Broker;
use crate::client::{self, Producer};
use crate::committer::{self, Committer};
use crate::effects::{Alarm, Effects};
use crate::fault::{self, Fault, Kind};
use crate::invariants::{Invariants, Look, Violation};
use crate::message::Message;
use crate::mutants::Mutant;
use crate::network::{Host, Network};
use crate::quorum::Quorum;
use crate::random::Random;
use crate::reader::{self, Reader};

/// When the last fault may begin.
const TROUBLE: Time = 15 * SECOND;
/// When everything is whole again.
const HEALED: Time = 22 * SECOND;
/// How long clients may take from then on.
const PROGRESS: Time = 60 * SECOND;

/// What producers write to.
pub(crate) const TOPIC: &str = "topic";

const PARTITIONS: i32 = 2;
const MIN_ISR: usize = 2;

/// Times that all tasks get their turn after an event: those that wake each other are done by then, or go on later.
const TURNS: usize = 2;
/// How exactly they know the time.
const TICK: Duration = Duration::from_millis(5);

/// What is run: a seed, and which of its faults; all of them if nothing is said.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub faults: Option<Vec<usize>>,
    pub mutant: Option<Mutant>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub violation: Option<Violation>,
    /// Of everything that happened, disks included.
    pub digest: u64,
    pub virtual_time: Time,
    pub events: u64,
    /// Batches that were acknowledged, and how often a broker was elected.
    pub acknowledged: u64,
    pub elections: i32,
    /// Those that took place.
    pub faults: Vec<Fault>,
}

enum Event {
    Deliver { from: Host, to: Host, life: u64, message: Message },
    Alarm { broker: i32, life: u64, alarm: Alarm },
    Producer(usize),
    Reader(usize),
    Committer(usize),
    Quorum,
    Begin(usize),
    End(usize),
    Heal,
}

pub struct World {
    agenda: Agenda<Event>,
    /// By the clock of the coordinators' tasks.
    started: tokio::time::Instant,
    network: Network,
    quorum: Quorum,
    brokers: BTreeMap<i32, Broker>,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    committers: Vec<Committer>,
    faults: Vec<Fault>,
    begun: Vec<Fault>,
    invariants: Invariants,
    healed: bool,
    digest: u64,
    events: u64,
}

impl World {
    pub fn run(scenario: &Scenario) -> Outcome {
        // Its clock goes only where the world's does.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a thread of its own");
        let mut world = runtime.block_on(async { Self::new(scenario) });
        let violation = runtime.block_on(world.go()).err();
        for broker in world.brokers.values() {
            world.digest = mix(world.digest, broker.disk.trace());
        }
        let partitions = world.quorum.partitions();
        Outcome {
            violation,
            digest: world.digest,
            virtual_time: world.agenda.now(),
            events: world.events,
            acknowledged: world.invariants.acknowledged(),
            elections: partitions.iter().map(|(_, partition)| partition.leader_epoch.0).sum(),
            faults: world.begun,
        }
    }

    fn new(scenario: &Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let ids: Vec<i32> = (1..=*random.one_of(&[3, 3, 3, 4])).collect();
        let mut quorum = Quorum::new(MIN_ISR, scenario.mutant);
        let all = fault::plan(&mut random.fork(), &ids, TROUBLE);
        let faults = match &scenario.faults {
            Some(chosen) => chosen.iter().filter_map(|index| all.get(*index).copied()).collect(),
            None => all,
        };
        let [topic, offsets] = [(); 2].map(|()| TopicId(uuid(random.bits())));
        let brokers = ids
            .iter()
            .map(|id| (*id, Broker::new(BrokerId(*id), MIN_ISR, scenario.mutant, random.fork())))
            .collect::<BTreeMap<_, _>>();
        for broker in brokers.values() {
            quorum.register(broker.id, broker.directory, 0);
        }
        for (name, id, partitions) in [(TOPIC, topic, PARTITIONS), (OFFSETS_TOPIC, offsets, 1)] {
            quorum.make_topic(name, id, partitions);
        }
        let producers = (0..3).map(|number| {
            let partition = TopicPartition::new(topic, number as i32 % PARTITIONS);
            let batches = random.between(10, 60);
            Producer::new(number, partition, ids.clone(), batches, random.fork())
        });
        let producers = producers.collect();
        let readers = (0..2).map(|number| {
            Reader::new(number, TopicPartition::new(topic, number as i32), ids.clone(), random.fork())
        });
        let readers = readers.collect();
        let committers = ["one group", "another"].map(|group| {
            Committer::new(group.to_owned(), TopicPartition::new(offsets, 0), ids.clone(), random.fork())
        });
        Self {
            agenda: Agenda::default(),
            started: tokio::time::Instant::now(),
            network: Network::new(random.fork()),
            quorum,
            brokers,
            producers,
            readers,
            committers: committers.into(),
            faults,
            begun: Vec::new(),
            invariants: Invariants::default(),
            healed: false,
            digest: scenario.seed,
            events: 0,
        }
    }

    async fn go(&mut self) -> Result<(), Violation> {
        for broker in self.brokers.keys() {
            let alarm = Alarm::Start;
            self.agenda.enter(0, Event::Alarm { broker: *broker, life: 0, alarm });
        }
        for index in 0..self.producers.len() {
            self.agenda.enter(MS, Event::Producer(index));
        }
        for index in 0..self.readers.len() {
            self.agenda.enter(MS, Event::Reader(index));
        }
        for index in 0..self.committers.len() {
            self.agenda.enter(MS, Event::Committer(index));
        }
        for (index, fault) in self.faults.iter().enumerate() {
            self.agenda.enter(fault.at, Event::Begin(index));
            self.agenda.enter(fault.at + fault.lasts, Event::End(index));
        }
        self.agenda.enter(MS, Event::Quorum);
        self.agenda.enter(HEALED, Event::Heal);
        while let Some(event) = self.agenda.advance() {
            self.events += 1;
            self.digest = mix(self.digest, self.agenda.now());
            self.take(event)?;
            self.run_tasks().await?;
            if self.healed && self.is_done() {
                let look = Look { quorum: &self.quorum, brokers: &self.brokers };
                return self.invariants.at_the_end(&look, self.agenda.now());
            }
            if self.agenda.now() > HEALED + PROGRESS {
                return Err(self.no_progress());
            }
        }
        Ok(())
    }

    /// Lets the tasks of the brokers' coordinators do what they can by now.
    async fn run_tasks(&mut self) -> Result<(), Violation> {
        let now = self.agenda.now();
        let behind = Duration::from_micros(now).saturating_sub(self.started.elapsed());
        let mut has_tasks = false;
        for broker in self.brokers.values() {
            has_tasks |= broker.has_tasks();
        }
        if behind >= TICK {
            tokio::time::advance(behind).await;
        } else if !has_tasks {
            return Ok(());
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let ids: Vec<_> = self.brokers.keys().copied().collect();
        for id in ids {
            let mut effects = Effects::default();
            self.broker(id).after_tasks(now, &mut effects);
            self.realise(Host::Broker(id), effects)?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let read = |reader: &Reader| reader.position >= self.invariants.committed_end(&reader.partition);
        let all_written = self.producers.iter().all(Producer::is_done);
        all_written && self.readers.iter().all(read) && self.committers.iter().all(Committer::is_done)
    }

    fn no_progress(&self) -> Violation {
        let mut what: Vec<_> =
            self.producers.iter().filter(|producer| !producer.is_done()).map(Producer::trouble).collect();
        for reader in &self.readers {
            let end = self.invariants.committed_end(&reader.partition);
            if reader.position < end {
                what.push(format!("{} has been read up to {} of {end}", reader.partition, reader.position));
            }
        }
        let committers = self.committers.iter().filter(|committer| !committer.is_done());
        what.extend(committers.map(Committer::trouble));
        for (id, partition) in self.quorum.partitions() {
            what.push(format!("{id}: {partition:?}"));
        }
        what.extend(self.brokers.values().map(Broker::state));
        Violation { invariant: "progress", at: self.agenda.now(), what: what.join("\n  ") }
    }

    fn take(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.agenda.now();
        let mut effects = Effects::default();
        match event {
            Event::Deliver { from, to, life, message } => return self.deliver(from, to, life, message),
            Event::Alarm { broker, life, alarm } => {
                let host = self.brokers.get_mut(&broker).expect("brokers stay");
                if host.life() == life {
                    host.on_alarm(alarm, now, &mut effects);
                    return self.realise(Host::Broker(broker), effects);
                }
            }
            Event::Producer(index) => {
                self.producers[index].step(now, &mut effects);
                self.agenda.enter(client::STEP, Event::Producer(index));
                return self.realise(Host::Client(index), effects);
            }
            Event::Reader(index) => {
                self.readers[index].step(now, &mut effects);
                self.agenda.enter(reader::STEP, Event::Reader(index));
                return self.realise(Host::Client(self.producers.len() + index), effects);
            }
            Event::Committer(index) => {
                self.committers[index].step(now, &mut effects);
                self.agenda.enter(committer::STEP, Event::Committer(index));
                let before = self.producers.len() + self.readers.len();
                return self.realise(Host::Client(before + index), effects);
            }
            Event::Quorum => {
                self.quorum.tick(now);
                self.agenda.enter(100 * MS, Event::Quorum);
            }
            Event::Begin(index) if !self.healed => return self.begin(self.faults[index]),
            Event::End(index) => self.end(self.faults[index]),
            Event::Heal => self.heal(),
            Event::Begin(_) => {}
        }
        Ok(())
    }

    fn deliver(&mut self, from: Host, to: Host, life: u64, message: Message) -> Result<(), Violation> {
        let now = self.agenda.now();
        let mut effects = Effects::default();
        match to {
            Host::Broker(id) => {
                let broker = self.brokers.get_mut(&id).expect("brokers stay");
                // A connection ends with the process.
                if broker.life() == life {
                    broker.on_message(from, message, now, &mut effects);
                }
            }
            Host::Quorum => self.ask_quorum(from, message, &mut effects),
            Host::Client(index) if index < self.producers.len() => {
                self.producers[index].on_message(message, now);
            }
            Host::Client(index) => {
                let index = index - self.producers.len();
                match self.readers.get_mut(index) {
                    Some(reader) => reader.on_message(message, &mut effects),
                    None => self.committers[index - self.readers.len()].on_message(message, now),
                }
            }
        }
        self.realise(to, effects)
    }

    fn ask_quorum(&mut self, from: Host, message: Message, effects: &mut Effects) {
        let Host::Broker(id) = from else { return };
        let (id, now) = (BrokerId(id), self.agenda.now());
        match message {
            Message::Register { directory } => {
                let epoch = self.quorum.register(id, directory, now);
                effects.send(from, Message::Registered { epoch });
            }
            Message::Heartbeat { epoch, applied } => {
                let alive = self.quorum.heartbeat(id, epoch, now);
                let commands = self.quorum.commands_after(applied).to_vec();
                effects.send(from, Message::Commands { known: applied, commands, alive });
            }
            // All that brokers ask for are there from the beginning, and known to them sooner or later.
            Message::MakeTopic { .. } => {}
            Message::ProposeIsr { epoch, partition, proposal } => {
                let answer = self.quorum.alter_isr((id, epoch), partition, &proposal);
                effects.send(from, Message::IsrAnswered { partition, proposal, answer });
            }
            _ => {}
        }
    }

    /// Lets what a host did happen.
    fn realise(&mut self, by: Host, effects: Effects) -> Result<(), Violation> {
        let now = self.agenda.now();
        for (to, message) in effects.sent {
            let life = match to {
                Host::Broker(id) => self.brokers[&id].life(),
                Host::Quorum | Host::Client(_) => 0,
            };
            if let Some(after) = self.network.carry(by, to) {
                self.agenda.enter(after, Event::Deliver { from: by, to, life, message });
            }
        }
        if let Host::Broker(broker) = by {
            let life = self.brokers[&broker].life();
            for (after, alarm) in effects.alarms {
                self.agenda.enter(after, Event::Alarm { broker, life, alarm });
            }
        }
        let look = Look { quorum: &self.quorum, brokers: &self.brokers };
        for fact in effects.facts {
            self.digest = mix(self.digest, fact_digest(&fact));
            self.invariants.observe(&fact, now, &look)?;
        }
        Ok(())
    }

    fn begin(&mut self, fault: Fault) -> Result<(), Violation> {
        self.begun.push(fault);
        let off = fault.lasts;
        match fault.kind {
            Kind::Crash(broker) => return self.cut_power(broker, off),
            Kind::CrashAmid { broker, operations } => {
                let disk = &self.brokers[&broker].disk;
                disk.crash_at(disk.operations() + operations);
            }
            Kind::CrashAll => {
                let all: Vec<_> = self.brokers.keys().copied().collect();
                for broker in all {
                    self.cut_power(broker, off)?;
                }
            }
            Kind::LoseDisk(broker) if self.can_lose(broker) => {
                let mut effects = Effects::default();
                let host = self.brokers.get_mut(&broker).expect("brokers stay");
                host.replace_disk(off, &mut effects);
                return self.realise(Host::Broker(broker), effects);
            }
            // It was the last one that had what is acknowledged.
            Kind::LoseDisk(_) => drop(self.begun.pop()),
            Kind::OneWay { from, to } => self.network.cut(Host::Broker(from), Host::Broker(to)),
            Kind::Isolate(broker) => {
                for other in self.others(broker) {
                    self.network.cut(Host::Broker(broker), other);
                    self.network.cut(other, Host::Broker(broker));
                }
            }
            Kind::Leaderless(broker) => {
                self.network.cut(Host::Broker(broker), Host::Quorum);
                self.network.cut(Host::Quorum, Host::Broker(broker));
            }
            Kind::Move(partition) => self.quorum.move_leader(partition),
            Kind::Loss(per_mille) => self.network.lost = per_mille,
            Kind::Late(per_mille) => self.network.late = per_mille,
            Kind::SlowDisk { broker, times } => self.broker(broker).slowness = times,
            Kind::Skew { broker, ms } => self.broker(broker).skew_ms = ms,
        }
        Ok(())
    }

    fn end(&mut self, fault: Fault) {
        match fault.kind {
            Kind::OneWay { from, to } => self.network.mend(Host::Broker(from), Host::Broker(to)),
            Kind::Isolate(broker) => {
                for other in self.others(broker) {
                    self.network.mend(Host::Broker(broker), other);
                    self.network.mend(other, Host::Broker(broker));
                }
            }
            Kind::Leaderless(broker) => {
                self.network.mend(Host::Broker(broker), Host::Quorum);
                self.network.mend(Host::Quorum, Host::Broker(broker));
            }
            Kind::Loss(_) => self.network.lost = 0,
            Kind::Late(_) => self.network.late = 0,
            Kind::SlowDisk { broker, .. } => self.broker(broker).slowness = 1,
            Kind::Skew { .. }
            | Kind::Move(_)
            | Kind::Crash(_)
            | Kind::CrashAmid { .. }
            | Kind::CrashAll
            | Kind::LoseDisk(_) => {}
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        self.network.heal();
        self.brokers.values_mut().for_each(|broker| broker.slowness = 1);
    }

    fn broker(&mut self, id: i32) -> &mut Broker {
        self.brokers.get_mut(&id).expect("brokers stay")
    }

    fn cut_power(&mut self, id: i32, off: Time) -> Result<(), Violation> {
        let mut effects = Effects::default();
        let broker = self.broker(id);
        if broker.is_running() {
            broker.cut_power(off, &mut effects);
        }
        self.realise(Host::Broker(id), effects)
    }

    /// Whether all others that should have what is committed do: two disks at once are more than two copies are for.
    fn can_lose(&self, broker: i32) -> bool {
        self.quorum.partitions().iter().all(|(partition, _)| {
            let end = self.invariants.committed_end(partition);
            let mut others = self.quorum.holders(partition);
            others.retain(|holder| holder.0 != broker);
            let has_all = |holder: &BrokerId| {
                let broker = &self.brokers[&holder.0];
                broker.has_known_disk() && broker.durable_end(partition) >= end
            };
            !others.is_empty() && others.iter().all(has_all)
        })
    }

    fn others(&self, broker: i32) -> Vec<Host> {
        let brokers = self.brokers.keys().filter(|id| **id != broker).map(|id| Host::Broker(*id));
        let clients = self.producers.len() + self.readers.len() + self.committers.len();
        brokers.chain((0..clients).map(Host::Client)).collect()
    }
}

fn uuid(number: u64) -> uuid::Uuid {
    uuid::Uuid::from_u64_pair(number, !number)
}

fn mix(digest: u64, with: u64) -> u64 {
    (digest ^ with).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
}

fn fact_digest(fact: &crate::effects::Fact) -> u64 {
    format!("{fact:?}").bytes().fold(0xcbf2_9ce4_8422_2325, |digest, byte| mix(digest, u64::from(byte)))
}
