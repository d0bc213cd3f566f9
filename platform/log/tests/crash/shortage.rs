//! At every single operation of a random workload the disk is full, the process has no file left, or the system no
//! memory: once, for some operations, or from there on. Nothing acknowledged is lost, the log says what it waits for
//! and goes on by itself, and a start on a full disk comes to an end.

use millrace_disk::sim::Shortage;

use super::dice::Dice;
use super::world::World;

const ACTIONS: usize = 60;
/// Held in every other seed; enough for what a few partitions write.
const RESERVE_BYTES: u64 = 256 * 1024;

/// Says which run failed.
struct Run {
    seed: u64,
    of: Shortage,
    from: u64,
    len: u64,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, short of {:?} from {} for {}", self.seed, self.of, self.from, self.len);
        }
    }
}

/// In every other pair of seeds records are taken back often, in every other four of them logs are compacted.
fn world(seed: u64) -> World {
    let world = World::new(seed).with_reserve(if seed.is_multiple_of(2) { 0 } else { RESERVE_BYTES });
    let world = if seed / 2 % 2 == 1 { world.taking_back() } else { world };
    if seed / 4 % 2 == 1 { world.compacting() } else { world }
}

/// Operations and openings of the workload when nothing is short.
fn undisturbed(seed: u64) -> (u64, u64) {
    let mut world = world(seed);
    world.open().unwrap();
    world.run(ACTIONS);
    world.settle();
    (world.disk.operations(), world.disk.openings())
}

fn at_every_operation(of: Shortage, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (operations, openings) = undisturbed(seed);
        let last = if of == Shortage::Files { openings } else { operations };
        for from in 0..last {
            for len in [1, 20] {
                let _run = Run { seed, of, from, len };
                passes_by_itself(seed, of, from, len);
            }
            let _run = Run { seed, of, from, len: u64::MAX };
            outlives_starts(seed, of, from);
        }
    }
}

fn passes_by_itself(seed: u64, of: Shortage, from: u64, len: u64) {
    let mut world = world(seed);
    world.run_short(of, from..from + len);
    if world.open().is_ok() {
        world.run(ACTIONS);
    }
    ends_well(&mut world);
}

/// There is enough again: all goes on, and a crash takes nothing.
fn ends_well(world: &mut World) {
    world.recover_from_shortage();
    world.settle();
    world.crash_and_restart();
    world.open().expect("a sound disk");
    world.settle();
}

/// The power is lost while something is short, which it still is at the next start.
fn outlives_starts(seed: u64, of: Shortage, from: u64) {
    let mut world = world(seed);
    world.run_short(of, from..u64::MAX);
    // In some runs in the middle of it.
    world.disk.crash_at(if from.is_multiple_of(3) { from + from % 23 } else { u64::MAX });
    if world.open().is_ok() {
        world.run(ACTIONS);
    }
    for _ in 0..2 {
        world.crash_and_restart();
        world.run_short(of, 0..u64::MAX);
        if world.open().is_ok() {
            world.run(ACTIONS / 4);
        }
    }
    ends_well(&mut world);
}

/// The process ends where it has found no file, in the middle of whatever it did; the power is lost while the next one
/// goes on with that.
fn outlives_process_and_power(seed: u64, from: u64) {
    for operations in 0..8 {
        let mut world = world(seed);
        world.run_short(Shortage::Files, from..from + 1);
        if world.open().is_ok() {
            world.run_into_shortage(ACTIONS, from);
        }
        world.die();
        world.disk.crash_at(world.disk.operations() + operations);
        if world.open().is_ok() {
            world.disk.crash();
        }
        world.restart();
        world.open().expect("a sound disk");
        world.settle();
    }
}

/// What one process was about to swap in the next one finishes, or it is as if it had never been.
#[test]
fn what_a_process_leaves_undone_outlives_the_power_where_logs_are_compacted() {
    for seed in 4..7 {
        for from in 0..undisturbed(seed).1 {
            let _run = Run { seed, of: Shortage::Files, from, len: 1 };
            outlives_process_and_power(seed, from);
        }
    }
}

/// What is deleted and what retention removes makes room here, and the reserve is given up and made whole again.
#[test]
fn a_disk_of_any_size_loses_nothing() {
    for (seed, bytes) in (0..8).flat_map(|seed| (60..500).step_by(20).map(move |kib| (seed, kib * 1024))) {
        let _run = Run { seed, of: Shortage::Room, from: bytes, len: 0 };
        let mut dice = Dice(seed ^ bytes);
        let mut world = World::new(seed).with_reserve(40 * 1024);
        world.limit_to(bytes);
        for _ in 0..3 {
            world.disk.crash_at(world.disk.operations() + dice.below(150));
            if world.open().is_ok() {
                world.run(ACTIONS);
            }
            world.crash_and_restart();
            world.limit_to(bytes);
        }
        world.open().expect("a full disk is no reason");
        world.run(ACTIONS);
        ends_well(&mut world);
    }
}

#[test]
fn a_full_disk_loses_nothing_and_passes() {
    at_every_operation(Shortage::Room, 0..2);
}

#[test]
fn a_full_disk_loses_nothing_where_records_are_taken_back() {
    at_every_operation(Shortage::Room, 2..4);
}

#[test]
fn a_full_disk_loses_nothing_where_logs_are_compacted() {
    at_every_operation(Shortage::Room, 4..7);
}

#[test]
fn too_few_files_lose_nothing_where_logs_are_compacted() {
    at_every_operation(Shortage::Files, 4..7);
}

#[test]
fn too_little_memory_loses_nothing_and_passes() {
    at_every_operation(Shortage::Memory, 0..3);
}

#[test]
fn too_few_files_lose_nothing_and_pass() {
    at_every_operation(Shortage::Files, 0..3);
}
