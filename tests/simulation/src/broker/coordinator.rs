//! A broker's coordinator: the real one, on the broker's own partitions.
//!
//! Its tasks run on the world's one thread, between two events; what they append is handed to the cores, and what they
//! answer is sent, before the next one.

use std::sync::Arc;

use millrace_base::{LeaderEpoch, ManualClock, TopicPartition};
use millrace_coordinator::{CommittedOffsets, OFFSETS_TOPIC, OffsetKey, partition_of};
use millrace_metadata::Image;
use parking_lot::Mutex;

use super::driver::{acknowledge, refuse};
use super::part::{Asker, Waiting};
use super::port::{Port, Shown, Taken};
use super::{Broker, Stop};
use crate::agenda::Time;
use crate::effects::{Effects, Fact};
use crate::message::{Commit, Message};
use crate::mutants::Mutant;
use crate::network::Host;
use crate::world::TOPIC;

/// What a task has found out for a group.
enum Found {
    Committed { commit: Commit, done: bool },
    Fetched { group: String, offset: Option<i64> },
}

pub struct Coordinator {
    port: Port,
    offsets: Arc<CommittedOffsets>,
    found: Arc<Mutex<Vec<(Host, u64, Found)>>>,
}

impl Coordinator {
    pub fn new(clock: Arc<ManualClock>, mutant: Option<Mutant>) -> Self {
        let port = Port::new(mutant);
        let offsets = Arc::new(CommittedOffsets::new(Arc::new(port.clone()), clock));
        Self { port, offsets, found: Arc::default() }
    }

    /// The broker is gone: whoever waits for a partition is told so.
    pub fn end(&self) {
        self.port.show((&Image::default(), 0), std::iter::empty());
        drop(self.port.take());
    }
}

impl Broker {
    /// Shows the coordinator what the cores have come to.
    pub(super) fn show_cores(&self) {
        let Some(running) = &self.running else { return };
        let port = &running.coordinator.port;
        let shown = running.parts.iter();
        let shown = shown.map(|(id, part)| (id, Shown { log: &part.log, standing: part.core.standing() }));
        if self.acts() {
            port.show((&self.image, self.applied), shown);
        } else {
            port.show((&self.image, self.applied), std::iter::empty());
        }
    }

    /// Whether a task of the coordinator's has something to do.
    pub fn has_tasks(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.coordinator.port.settle())
    }

    pub(super) fn ask_coordinator(&mut self, from: Host, message: Message) -> Result<(), Stop> {
        let topic = self.image.topic_by_name(TOPIC).map(|topic| topic.id);
        let coordinator = &self.running()?.coordinator;
        let (offsets, found) = (Arc::clone(&coordinator.offsets), Arc::clone(&coordinator.found));
        // One that has not heard of the topic does not answer, and is asked again.
        let Some(topic) = topic else { return Ok(()) };
        coordinator.port.stir();
        let key = |group: &str| OffsetKey { group: group.to_owned(), topic: TOPIC.to_owned(), partition: 0 };
        match message {
            Message::CommitOffset { request, commit } => drop(tokio::spawn(async move {
                let done = match offsets.commit(&key(&commit.group), topic, commit.offset, -1).await {
                    Ok(acknowledged) => acknowledged.await.is_ok(),
                    Err(_) => false,
                };
                found.lock().push((from, request, Found::Committed { commit, done }));
            })),
            Message::FetchOffset { request, group } => drop(tokio::spawn(async move {
                let committed = offsets.committed(&key(&group), topic).await.ok();
                let offset = committed.map(|committed| committed.map_or(-1, |committed| committed.offset));
                found.lock().push((from, request, Found::Fetched { group, offset }));
            })),
            _ => {}
        }
        Ok(())
    }

    /// Asks for the topics that the coordinator waits for, until they are there.
    pub(super) fn want_topics(&self, effects: &mut Effects) {
        let wanted = self.running.iter().flat_map(|running| running.coordinator.port.wanted());
        for (name, partitions) in wanted {
            effects.send(Host::Quorum, Message::MakeTopic { name, partitions });
        }
    }

    /// Takes in what the coordinator's tasks have done.
    pub fn after_tasks(&mut self, now: Time, effects: &mut Effects) {
        let Some(running) = &self.running else { return };
        let (taken, found) =
            (running.coordinator.port.take(), std::mem::take(&mut *running.coordinator.found.lock()));
        if taken.is_empty() && found.is_empty() {
            return;
        }
        self.live(effects, |broker, effects| {
            for (from, request, found) in found {
                broker.answer(from, request, found, effects);
            }
            taken.into_iter().try_for_each(|taken| broker.take_up(taken, now, effects))
        });
    }

    fn answer(&self, from: Host, request: u64, found: Found, effects: &mut Effects) {
        let by = self.id;
        let epoch = |broker: &Self, group: &str| broker.epoch_of_group(group).unwrap_or(LeaderEpoch::UNKNOWN);
        match found {
            Found::Committed { commit: Commit { group, offset }, done } => {
                if done {
                    let epoch = epoch(self, &group);
                    effects.facts.push(Fact::OffsetCommitted { by, epoch, group, offset });
                }
                effects.send(from, Message::OffsetCommitted { request, done });
            }
            Found::Fetched { group, offset } => {
                if let Some(offset) = offset {
                    let epoch = epoch(self, &group);
                    effects.facts.push(Fact::OffsetRead { by, epoch, group, offset });
                }
                effects.send(from, Message::OffsetFetched { request, offset });
            }
        }
    }

    fn epoch_of_group(&self, group: &str) -> Option<LeaderEpoch> {
        let topic = self.image.topic_by_name(OFFSETS_TOPIC)?;
        let home = TopicPartition::new(topic.id, partition_of(group, topic.partition_count()));
        self.running.as_ref()?.coordinator.port.epoch_of(home)
    }

    /// Hands what was appended to its core.
    fn take_up(&mut self, taken: Taken, now: Time, effects: &mut Effects) -> Result<(), Stop> {
        let Taken { partition, epoch, base_offset, end, labels, told } = taken;
        let by = self.id;
        let part = self.part(partition)?;
        let waiting = Waiting { asker: Asker::Coordinator(told), epoch, base_offset, end, labels };
        match part.core.on_append(epoch, end, true) {
            Err(why) => refuse(waiting.asker, why, effects),
            Ok(()) if end <= part.log.high_watermark() => acknowledge(by, partition, vec![waiting], effects),
            Ok(()) => part.waiting.push(waiting),
        }
        self.busy_disk(effects)?;
        self.running()?.coordinator.port.stir();
        self.release(partition, now, effects)
    }
}

#[cfg(test)]
mod tests {
    //! The port passes the suite of all its implementations, on a broker that is alone with the quorum.

    use std::cell::RefCell;

    use millrace_base::{BrokerId, TopicId};
    use millrace_coordinator::Partitions;
    use millrace_metadata::{BrokerRegistration, Command, Outcome, PartitionAssignment, PartitionChange};
    use millrace_test_partitions::conformance;

    use super::*;
    use crate::agenda::Agenda;
    use crate::effects::Alarm;
    use crate::quorum::Quorum;
    use crate::random::Random;

    const HERE: BrokerId = BrokerId(1);
    const ABSENT: BrokerId = BrokerId(2);

    struct Lone {
        broker: Broker,
        quorum: Quorum,
        agenda: Agenda<Alarm>,
        topics: u64,
    }

    impl Lone {
        fn new() -> Self {
            let mut quorum = Quorum::new(1, None);
            let broker = Broker::new(HERE, 1, None, Random::new(1));
            let absent = BrokerRegistration { id: ABSENT, host: "disk-2".to_owned(), port: 1, rack: None };
            quorum.submit(Command::RegisterBroker { registration: absent }).unwrap();
            let mut lone = Self { broker, quorum, agenda: Agenda::default(), topics: 0 };
            let mut effects = Effects::default();
            lone.broker.on_alarm(Alarm::Start, 0, &mut effects);
            lone.realise(effects);
            lone
        }

        fn realise(&mut self, effects: Effects) {
            for (after, alarm) in effects.alarms {
                self.agenda.enter(after, alarm);
            }
            for (to, message) in effects.sent {
                match (to, message) {
                    (Host::Quorum, Message::Register { directory, .. }) => {
                        let epoch = self.quorum.register(HERE, directory, self.agenda.now());
                        self.tell(Message::Registered { epoch });
                        self.learn();
                    }
                    (Host::Quorum, Message::MakeTopic { name, partitions })
                        if self.quorum.image().topic_by_name(&name).is_none() =>
                    {
                        self.make(&name, partitions, &[HERE]);
                    }
                    // The topic is there, or the other replica is absent.
                    _ => {}
                }
            }
        }

        fn tell(&mut self, message: Message) {
            let mut effects = Effects::default();
            self.broker.on_message(Host::Quorum, message, self.agenda.now(), &mut effects);
            self.realise(effects);
        }

        fn learn(&mut self) {
            let commands = self.quorum.commands_after(0).to_vec();
            self.tell(Message::Commands { known: 0, commands, alive: true });
        }

        fn submit(&mut self, command: Command) -> Outcome {
            let outcome = self.quorum.submit(command).unwrap();
            self.learn();
            outcome
        }

        fn make(&mut self, name: &str, partitions: i32, replicas: &[BrokerId]) -> TopicPartition {
            self.topics += 1;
            let id = TopicId(uuid::Uuid::from_u64_pair(self.topics, 1));
            let assignment = PartitionAssignment { replicas: replicas.to_vec() };
            let partitions = vec![assignment; partitions as usize];
            let (name, configs) = (name.to_owned(), std::collections::BTreeMap::new());
            self.submit(Command::CreateTopic { name, id, partitions, configs });
            TopicPartition::new(id, 0)
        }

        fn alter(&mut self, partition: TopicPartition, leader: BrokerId, isr: &[BrokerId]) {
            let now = self.quorum.image().partition(&partition).unwrap().clone();
            let change = PartitionChange {
                leader_epoch: now.leader_epoch,
                partition_epoch: now.partition_epoch,
                leader: Some(leader),
                isr: isr.to_vec(),
                unclean: false,
            };
            self.submit(Command::AlterPartition { partition, change });
        }

        fn step(&mut self) {
            let mut effects = Effects::default();
            self.broker.after_tasks(self.agenda.now(), &mut effects);
            if let Some(alarm) = self.agenda.advance() {
                self.broker.on_alarm(alarm, self.agenda.now(), &mut effects);
            }
            self.realise(effects);
        }
    }

    struct Fixture(RefCell<Lone>);

    impl conformance::Fixture for Fixture {
        fn partitions(&self) -> Arc<dyn Partitions> {
            let lone = self.0.borrow();
            Arc::new(lone.broker.running.as_ref().unwrap().coordinator.port.clone())
        }

        async fn topic(&self, name: &str) -> TopicPartition {
            self.0.borrow_mut().make(name, 1, &[HERE])
        }

        async fn lagging_topic(&self, name: &str) -> TopicPartition {
            self.0.borrow_mut().make(name, 1, &[HERE, ABSENT])
        }

        async fn catch_up(&self, partition: TopicPartition) {
            self.0.borrow_mut().alter(partition, HERE, &[HERE]);
        }

        async fn lead(&self, partition: TopicPartition, here: bool) {
            self.0.borrow_mut().alter(partition, if here { HERE } else { ABSENT }, &[HERE, ABSENT]);
        }

        async fn delete_topic(&self, name: &str) {
            let mut lone = self.0.borrow_mut();
            let id = lone.quorum.image().topic_by_name(name).unwrap().id;
            lone.submit(Command::DeleteTopic { id });
        }

        fn now_ms(&self) -> i64 {
            super::super::EPOCH_MS
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_partitions_of_a_simulated_broker_are_as_the_port_says() {
        let fixture = Fixture(RefCell::new(Lone::new()));
        let goes_on = async {
            loop {
                fixture.0.borrow_mut().step();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = conformance::run(&fixture) => {}
            () = goes_on => {}
        }
    }
}
