//! The power is lost at every single disk operation of a random workload: what was acknowledged is there
//! afterwards, once, in order, byte for byte; what was not is there whole or not at all.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod dice;
mod model;
mod shortage;
#[path = "../support/mod.rs"]
mod support;
mod torn;
mod transactions;
mod whole;
mod world;

use dice::Dice;
use world::World;

const ACTIONS: usize = 60;

/// Says which run failed.
struct Run {
    seed: u64,
    operation: u64,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, power lost at operation {}", self.seed, self.operation);
        }
    }
}

/// What is done while the power is there.
type Workload = fn(u64) -> World;

fn takes_back(seed: u64) -> World {
    World::new(seed).taking_back()
}

fn compacts(seed: u64) -> World {
    World::new(seed).compacting()
}

fn transacts(seed: u64) -> World {
    World::new(seed).transacting()
}

fn transacts_and_takes_back(seed: u64) -> World {
    World::new(seed).transacting().taking_back()
}

fn compacts_and_takes_back(seed: u64) -> World {
    World::new(seed).compacting().taking_back()
}

fn crash_at_every_operation(seeds: std::ops::Range<u64>, workload: Workload) {
    for seed in seeds {
        let operations = undisturbed(seed, workload).0;
        for operation in 0..operations {
            let _run = Run { seed, operation };
            crash_at(seed, operation, workload);
        }
    }
}

/// Operations and trace of the workload when nothing goes wrong.
fn undisturbed(seed: u64, workload: Workload) -> (u64, u64) {
    let _run = Run { seed, operation: u64::MAX };
    let mut world = workload(seed);
    world.open().unwrap();
    world.run(ACTIONS);
    world.settle();
    (world.disk.operations(), world.disk.trace())
}

fn crash_at(seed: u64, operation: u64, workload: Workload) {
    let mut dice = Dice(seed ^ operation << 20);
    let mut world = workload(seed);
    world.disk.crash_at(operation);
    if world.open().is_ok() {
        world.run(ACTIONS);
        if !world.disk.has_crashed() {
            world.disk.crash();
        }
    }
    // Recovery is interrupted as well, then goes through; life goes on until the next crash.
    for _ in 0..2 {
        world.restart();
        world.disk.crash_at(world.disk.operations() + dice.below(25));
        if world.open().is_ok() {
            world.disk.crash();
        }
        world.restart();
        world.open().expect("a sound disk");
        world.disk.crash_at(world.disk.operations() + dice.below(60));
        world.run(ACTIONS / 2);
        world.disk.crash();
    }
    world.restart();
    world.open().expect("a sound disk");
    world.settle();
}

// Seeds are spread over tests so that these run side by side.

#[test]
fn nothing_acknowledged_is_lost_first_seeds() {
    crash_at_every_operation(0..3, World::new);
}

#[test]
fn nothing_acknowledged_is_lost_second_seeds() {
    crash_at_every_operation(100..103, World::new);
}

/// What was taken back is gone or all there, and what came after it stays.
#[test]
fn what_is_taken_back_is_so_in_whole_or_not_at_all_first_seeds() {
    crash_at_every_operation(0..3, takes_back);
}

#[test]
fn what_is_taken_back_is_so_in_whole_or_not_at_all_second_seeds() {
    crash_at_every_operation(100..103, takes_back);
}

/// Which transactions were aborted, and which are open, is known whenever the power goes.
#[test]
fn transactions_are_what_their_markers_say_first_seeds() {
    crash_at_every_operation(0..3, transacts);
}

#[test]
fn transactions_are_what_their_markers_say_second_seeds() {
    crash_at_every_operation(100..103, transacts_and_takes_back);
}

/// What compaction leaves out has a newer record of its key, whatever is swapped in when the power goes.
#[test]
fn compaction_leaves_the_newest_of_each_key_first_seeds() {
    crash_at_every_operation(0..3, compacts);
}

#[test]
fn compaction_leaves_the_newest_of_each_key_second_seeds() {
    crash_at_every_operation(100..103, compacts_and_takes_back);
}

#[test]
fn the_workload_compacts() {
    let compactions = [0, 1, 2, 100, 101, 102].map(|seed| {
        let mut world = compacts(seed);
        world.open().unwrap();
        world.run(ACTIONS);
        world.compactions()
    });
    assert!(compactions.iter().sum::<u64>() > 10, "{compactions:?}");
}

/// A torn write may leave a whole batch behind a broken one. Once another batch stands in the broken one's
/// place, the old one would follow it as if it had been written after it.
#[test]
fn a_batch_of_a_torn_write_does_not_come_back_behind_later_records() {
    let stale = (0..200).filter(|seed| torn::torn_write_leaves_a_batch_behind(*seed)).count();
    assert!(stale > 0, "no seed tore the write as wanted");
}

#[test]
fn the_same_seed_does_the_same() {
    assert_eq!(undisturbed(5, World::new), undisturbed(5, World::new));
    assert_ne!(undisturbed(5, World::new).1, undisturbed(6, World::new).1);
}

/// For long runs: `CRASH_SEEDS=1000..1100 cargo test --release -p millrace-log --test crash -- --ignored`.
#[test]
#[ignore = "runs as long as it is told to"]
fn nothing_acknowledged_is_lost_many_seeds() {
    let seeds = std::env::var("CRASH_SEEDS").expect("CRASH_SEEDS=<first>..<end>");
    let (first, end) = seeds.split_once("..").expect("CRASH_SEEDS=<first>..<end>");
    let seeds = first.parse().unwrap()..end.parse().unwrap();
    crash_at_every_operation(seeds.clone(), World::new);
    crash_at_every_operation(seeds.clone(), takes_back);
    crash_at_every_operation(seeds.clone(), transacts);
    crash_at_every_operation(seeds.clone(), transacts_and_takes_back);
    crash_at_every_operation(seeds.clone(), compacts);
    crash_at_every_operation(seeds, compacts_and_takes_back);
}
