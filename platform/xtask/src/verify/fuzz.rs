//! Short runs of every fuzz target: they show that the targets still build and that nothing lies shallow.

use std::process::Command;

use anyhow::Context as _;

use super::{Checks, Outcome};
use crate::process;
use crate::tools::{Tool, cargo_tool};

/// More than any codec's window: zstd's may be 8 MiB, and lz4 keeps two blocks of at most as much.
const ALLOCATION_MIB_MAX: u32 = 20;

pub fn run_targets(checks: &Checks<'_>) -> Outcome {
    if let Err(reason) = checks.tools.require(Tool::CargoFuzz) {
        return Ok(vec![format!("cargo-fuzz is missing: {reason}")]);
    }
    let seconds = if checks.long { 20 * 60 } else { 30 };
    let targets = process::output(&mut fuzz(checks, "list"))?;
    process::run(&mut fuzz(checks, "build")).context("build the fuzz targets")?;
    let mut failed = Vec::new();
    for target in targets.split_whitespace() {
        println!("--- {target} for {seconds} s");
        let mut command = fuzz(checks, "run");
        // Inputs are short, so a large allocation means that a length in one of them was believed.
        command.arg(target).args(["--", &format!("-malloc_limit_mb={ALLOCATION_MIB_MAX}")]);
        // The short run tries the same inputs each time; the long one looks for new ones.
        if !checks.long {
            command.arg("-seed=1");
        }
        if let Err(error) = process::quiet(command.arg(format!("-max_total_time={seconds}"))) {
            println!("{error:#}");
            failed.push(target);
        }
    }
    anyhow::ensure!(failed.is_empty(), "{}: the input that shows it is named above", failed.join(", "));
    Ok(Vec::new())
}

fn fuzz(checks: &Checks<'_>, verb: &str) -> Command {
    let mut command = Command::new(cargo_tool(checks.workspace, Tool::CargoFuzz));
    command
        .current_dir(&checks.workspace.root)
        // The program is made to be called by cargo, which passes the subcommand's name on.
        .args(["fuzz", verb, "--fuzz-dir", "tests/fuzz"])
        .env("RUSTUP_TOOLCHAIN", "nightly");
    if verb != "list" {
        command.arg("--target-dir").arg(checks.workspace.target().join("fuzz"));
    }
    command
}
