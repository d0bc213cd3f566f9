//! Plays histories until one goes wrong, and says how to play that one again.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use millrace_simulation::agenda::SECOND;
use millrace_simulation::{Mutant, Outcome, Scenario, World, shrink};

/// Clusters in simulated time, one for each seed
#[derive(Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Only these of the seed's faults, by their numbers; none if empty
    #[arg(long, value_delimiter = ',', num_args = 0..)]
    faults: Option<Vec<usize>>,
    /// Plants a fault that is to be found
    #[arg(long, value_enum)]
    mutant: Option<Mutant>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let (mut virtual_time, mut events, mut acknowledged, mut elections) = (0, 0, 0, 0);
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let scenario = Scenario { seed, faults: arguments.faults.clone(), mutant: arguments.mutant };
        let outcome = World::run(&scenario);
        virtual_time += outcome.virtual_time;
        events += outcome.events;
        acknowledged += outcome.acknowledged;
        elections += outcome.elections;
        if outcome.violation.is_some() {
            tell(&scenario, &outcome);
            return ExitCode::FAILURE;
        }
    }
    let (took, simulated) = (started.elapsed().as_secs_f64(), virtual_time as f64 / SECOND as f64);
    println!(
        "{} seeds: nothing found in {simulated:.0} s of virtual time, {:.0} times as fast as real time; {events} events, \
         {acknowledged} batches acknowledged, {elections} elections",
        arguments.seeds,
        simulated / took
    );
    ExitCode::SUCCESS
}

fn tell(scenario: &Scenario, outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    println!("seed {}: {violation}", scenario.seed);
    let shortest = shrink(scenario);
    let outcome = World::run(&shortest);
    let numbers: Vec<_> = shortest.faults.iter().flatten().map(ToString::to_string).collect();
    println!("the shortest history in which that happens has {} faults:", outcome.faults.len());
    for fault in &outcome.faults {
        println!("  {fault}");
    }
    if let Some(violation) = &outcome.violation {
        println!("  {violation}");
    }
    let mutant = scenario.mutant.and_then(|mutant| clap::ValueEnum::to_possible_value(&mutant));
    let mutant = mutant.map_or_else(String::new, |mutant| format!(" --mutant {}", mutant.get_name()));
    println!("again: cargo xtask simulate --seed {} --faults {}{mutant}", scenario.seed, numbers.join(","));
}
