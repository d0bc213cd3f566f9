//! A quorum without threads, on simulated disks and in simulated time: its elections follow from a seed, and it goes
//! through the loss of its power.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Hub, TUNING, create_topic, registration, submit, topic_names};
use millrace_base::{BrokerId, Random};
use millrace_disk::sim::SimDisk;
use millrace_metadata::{Metadata, MetadataOptions, RaftTuning, Threading, VoterSet};

const VOTERS: [i32; 3] = [1, 2, 3];

struct World {
    hub: Arc<Hub>,
    disks: Vec<SimDisk>,
    random: Random,
    tuning: RaftTuning,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = Random::seeded(seed);
        let disks = VOTERS.iter().map(|_| SimDisk::new(random.bits())).collect();
        // Elections of one voter each, whoever begins.
        let tuning = RaftTuning { election_max_ms: 4000, ..TUNING };
        Self { hub: Arc::default(), disks, random, tuning }
    }

    async fn start(&self) -> Vec<Metadata> {
        let mut started = Vec::new();
        for (id, disk) in VOTERS.into_iter().zip(&self.disks) {
            let options = MetadataOptions {
                disk: Arc::new(disk.clone()),
                threading: Threading::Stepped,
                random: Random::seeded(self.random.bits()),
                voters: VOTERS.into_iter().map(BrokerId).collect::<VoterSet>(),
                tuning: self.tuning,
                ..MetadataOptions::single(Path::new("/metadata").to_owned(), registration(id))
            };
            started.push(self.hub.start(options).await);
        }
        for metadata in &started {
            metadata.ready().await.unwrap();
        }
        started
    }
}

/// Runs `test` in time that stands still while something can be done.
fn simulate<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

/// Who leads first, and after how long.
fn first_election(seed: u64) -> (BrokerId, Duration) {
    simulate(async {
        let world = World::new(seed);
        let began = tokio::time::Instant::now();
        let all = world.start().await;
        (all[0].controller().unwrap(), began.elapsed())
    })
}

#[test]
fn elections_follow_from_the_seed() {
    let elections: Vec<_> = (0..8).map(first_election).collect();
    assert_eq!((0..8).map(first_election).collect::<Vec<_>>(), elections);
    assert!(elections.iter().any(|election| election.1 != elections[0].1), "{elections:?}");
}

#[test]
fn a_quorum_keeps_what_it_acknowledged_when_all_lose_their_power_at_once() {
    for seed in 0..10 {
        simulate(async {
            let world = World::new(seed);
            let all = world.start().await;
            let mut expected = Vec::new();
            for number in 0..60 {
                let name = format!("topic-{number:02}");
                submit(&all[number % 3], create_topic(&name, &VOTERS)).await;
                expected.push(name);
            }
            world.disks.iter().for_each(SimDisk::crash);
            world.hub.forget_all();
            drop(all);
            tokio::time::advance(Duration::from_secs(1)).await;
            world.disks.iter().for_each(SimDisk::restart);
            let all = world.start().await;
            for (metadata, number) in all.iter().zip(0..) {
                submit(metadata, create_topic(&format!("after-{number}"), &VOTERS)).await;
                let names = topic_names(&metadata.image());
                assert!(expected.iter().all(|name| names.contains(name)), "seed {seed}: {names:?}");
            }
        });
    }
}
