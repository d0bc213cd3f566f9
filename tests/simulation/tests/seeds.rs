//! Histories in which nothing may be found, and that they can be told again.

// A test fails where it stands.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use millrace_simulation::{Scenario, World, shrink};

/// Of every verification, and of a long one.
const SEEDS: u64 = 1000;
const LONG_SEEDS: u64 = 20_000;

fn scenario(seed: u64) -> Scenario {
    Scenario { seed, faults: None, mutant: None }
}

#[test]
fn the_same_seed_twice_is_the_same_to_the_last_byte() {
    for seed in 0..5 {
        let (once, again) = (World::run(&scenario(seed)), World::run(&scenario(seed)));
        assert_eq!((once.digest, once.events), (again.digest, again.events), "seed {seed}");
    }
    assert_ne!(World::run(&scenario(0)).digest, World::run(&scenario(1)).digest);
}

#[test]
fn nothing_is_found_in_a_healthy_cluster() {
    for seed in 0..10 {
        let outcome = World::run(&Scenario { faults: Some(Vec::new()), ..scenario(seed) });
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert!(outcome.acknowledged > 20, "seed {seed}: {} batches", outcome.acknowledged);
        assert_eq!(outcome.elections, 3, "seed {seed}: leaders begin an epoch when they register, and stay");
    }
}

#[test]
fn nothing_is_found_whatever_goes_wrong() {
    let long = std::env::var_os("MILLRACE_TEST_LONG").is_some();
    let end = if long { LONG_SEEDS } else { SEEDS };
    let next = AtomicU64::new(0);
    let elections = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let outcome = World::run(&scenario(seed));
            elections.fetch_add(outcome.elections as u64, Ordering::Relaxed);
            if let Some(violation) = outcome.violation {
                next.store(end, Ordering::Relaxed);
                let faults = shrink(&scenario(seed)).faults.unwrap();
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                panic!(
                    "{violation}\nagain: cargo xtask simulate --seed {seed} --faults {}",
                    faults.join(",")
                );
            }
        }
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    assert!(elections.into_inner() > end, "leaders are to change");
}
