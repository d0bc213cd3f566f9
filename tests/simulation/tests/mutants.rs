//! Every planted fault is found, with a few seeds: what it takes stands in the README's table.

use std::sync::Mutex;
use std::thread;

use clap::ValueEnum;
use millrace_simulation::{Mutant, Scenario, World};

const SEEDS_MAX: u64 = 2000;

#[test]
fn every_mutant_is_caught() {
    let left: Mutex<Vec<&Mutant>> = Mutex::new(Mutant::value_variants().iter().rev().collect());
    let alive = Mutex::new(Vec::new());
    let work = || {
        while let Some(mutant) = left.lock().expect("no worker panics").pop() {
            let caught = (0..SEEDS_MAX).find_map(|seed| {
                let outcome = World::run(&Scenario { seed, faults: None, mutant: Some(*mutant) });
                outcome.violation.map(|violation| (seed, violation.invariant))
            });
            match caught {
                Some((seed, invariant)) => println!("{mutant:?}: seed {seed}, {invariant}"),
                None => alive.lock().expect("no worker panics").push(*mutant),
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let alive = alive.into_inner().expect("no worker panics");
    assert!(alive.is_empty(), "not caught with {SEEDS_MAX} seeds: {alive:?}");
}
