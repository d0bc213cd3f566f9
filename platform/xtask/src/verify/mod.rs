//! `cargo xtask verify`: installs what the tests need, runs every check in turn and says at the end what
//! passed, what failed, what was left out and why, and how long each step took.
//!
//! A failed step does not stop the others, except those that need the build when the build is broken.

mod fuzz;
mod readme;
mod steps;

use std::time::{Duration, Instant};

use clap::Args;

use crate::tests_run::Built;
use crate::tools::Tools;
use crate::workspace::Workspace;
use steps::STEPS;

#[derive(Args)]
pub struct Options {
    /// Runs the long versions too: more crash cycles, more seeds, longer fuzzing, README with a release build
    #[arg(long)]
    long: bool,
    /// Leaves out a step; may be given several times
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    skip: Vec<String>,
    /// Runs only this step; may be given several times
    #[arg(long, value_name = "STEP", value_parser = step_names(), conflicts_with = "skip")]
    only: Vec<String>,
}

/// One named check.
pub struct Step {
    pub name: &'static str,
    pub run: fn(&Checks<'_>) -> Outcome,
}

/// What a step left out, each entry with its reason, or why it failed.
pub type Outcome = anyhow::Result<Vec<String>>;

/// What the steps share.
pub struct Checks<'a> {
    pub workspace: &'a Workspace,
    pub tools: Tools<'a>,
    pub built: Built<'a>,
    pub long: bool,
}

struct Verdict {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

fn step_names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Whether every step passed.
pub fn verify(workspace: &Workspace, options: &Options) -> anyhow::Result<bool> {
    let checks =
        Checks { workspace, tools: Tools::new(workspace), built: Built::new(workspace), long: options.long };
    let started = Instant::now();
    let mut verdicts = Vec::new();
    for step in STEPS {
        let wanted = if options.only.is_empty() {
            !options.skip.iter().any(|name| name == step.name)
        } else {
            options.only.iter().any(|name| name == step.name)
        };
        if !wanted {
            continue;
        }
        println!("\n=== {}", step.name);
        let step_started = Instant::now();
        let outcome = (step.run)(&checks);
        if let Err(error) = &outcome {
            println!("FAILED: {error:#}");
        }
        verdicts.push(Verdict { name: step.name, took: step_started.elapsed(), outcome });
    }
    Ok(summarise(&verdicts, started.elapsed(), &options.skip))
}

fn summarise(verdicts: &[Verdict], took: Duration, left_out: &[String]) -> bool {
    println!("\n=== summary");
    for Verdict { name, took, outcome } in verdicts {
        let word = match outcome {
            Ok(skipped) if skipped.is_empty() => "ok",
            Ok(_) => "ok, in part",
            Err(_) => "FAILED",
        };
        println!("{name:12} {:>7.1} s  {word}", took.as_secs_f64());
    }
    for name in left_out {
        println!("skipped: {name}: asked for with --skip");
    }
    for Verdict { name, outcome, .. } in verdicts {
        match outcome {
            Ok(skipped) => skipped.iter().for_each(|what| println!("skipped: {name}: {what}")),
            Err(error) => println!("failed: {name}: {error:#}"),
        }
    }
    let failed = verdicts.iter().filter(|verdict| verdict.outcome.is_err()).count();
    if failed == 0 {
        println!("all checks passed in {:.0} s", took.as_secs_f64());
    } else {
        println!("{failed} of {} checks FAILED after {:.0} s", verdicts.len(), took.as_secs_f64());
    }
    failed == 0
}
