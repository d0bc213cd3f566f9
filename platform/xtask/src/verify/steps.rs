//! The steps of a verification, cheap ones first.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{Checks, Outcome, Step, fuzz, readme};
use crate::process;
use crate::tests_run::{self, TestProgram};
use crate::tidy;
use crate::tools::{Tool, cargo_tool};

pub const STEPS: &[Step] = &[
    Step { name: "tools", run: tools },
    Step { name: "format", run: format },
    Step { name: "tidy", run: tidy_up },
    Step { name: "policy", run: policy },
    Step { name: "clippy", run: clippy },
    Step { name: "rustdoc", run: rustdoc },
    Step { name: "build", run: build },
    Step { name: "unit", run: unit },
    Step { name: "doctest", run: doctest },
    Step { name: "simulation", run: simulation },
    Step { name: "plugins", run: plugins },
    Step { name: "integration", run: integration },
    Step { name: "compat", run: compat },
    Step { name: "readme", run: readme::run_commands },
    Step { name: "fuzz", run: fuzz::run_targets },
];

const INTEGRATION: &str = "millrace-integration-tests";
const SIMULATION: &str = "millrace-simulation";
const COMPAT: &str = "millrace-compat-tests";
/// Builds plugins with the compilers of four languages.
const LANGUAGES: &str = "millrace-plugin-tests";
/// Their tests build plugins, for which the toolchain must be able to compile to WebAssembly.
const PLUGINS: [&str; 3] = ["millrace-plugin", "millrace-plugin-host", LANGUAGES];

/// Which tools test programs need, by their packages and names.
const NEEDS: &[(&str, &str, &[Tool])] = &[
    (COMPAT, "kcat", &[Tool::Kcat]),
    (COMPAT, "kafka_python", &[Tool::KafkaPython2, Tool::KafkaPython3]),
    (COMPAT, "confluent_kafka", &[Tool::ConfluentKafka]),
    (COMPAT, "java", &[Tool::JavaClient]),
    (COMPAT, "franz_go", &[Tool::FranzGo]),
    (COMPAT, "go_groups", &[Tool::GoGroups]),
    (COMPAT, "aiokafka", &[Tool::Aiokafka]),
    (COMPAT, "kafkajs", &[Tool::KafkaJs]),
    (LANGUAGES, "python", &[Tool::ComponentizePy]),
    (LANGUAGES, "javascript", &[Tool::ComponentizeJs]),
    (LANGUAGES, "go", &[Tool::Go]),
    // Without PostgreSQL most of it can run; the test that needs it says so.
    (INTEGRATION, "plugins", &[Tool::WasmTargets]),
];

/// Workspaces beside the main one, which their compilers' targets keep apart.
const OTHER_MANIFESTS: [&str; 2] = ["tests/fuzz/Cargo.toml", "plugins/Cargo.toml"];

/// A build cache beyond this is started afresh: every clone leaves its own crates behind in it.
const CACHE_BYTES_MAX: u64 = 24 << 30;

fn tools(checks: &Checks<'_>) -> Outcome {
    limit_cache(checks)?;
    Ok(Tool::ALL
        .into_iter()
        .filter_map(|tool| {
            checks.tools.require(tool).err().map(|reason| format!("{} is missing: {reason}", tool.name()))
        })
        .collect())
}

fn limit_cache(checks: &Checks<'_>) -> anyhow::Result<()> {
    let target = checks.workspace.target();
    if !checks.workspace.is_ci || !target.starts_with(&checks.workspace.cache) || !target.exists() {
        return Ok(());
    }
    let size = process::output(Command::new("du").args(["--summarize", "--block-size=1"]).arg(&target))?;
    let bytes: u64 = size.split_whitespace().next().context("`du` printed nothing")?.parse()?;
    println!("build cache '{}': {} MiB", target.display(), bytes >> 20);
    if bytes > CACHE_BYTES_MAX {
        println!("over {} GiB: removed", CACHE_BYTES_MAX >> 30);
        fs::remove_dir_all(&target).with_context(|| format!("remove '{}'", target.display()))?;
    }
    Ok(())
}

fn format(checks: &Checks<'_>) -> Outcome {
    process::run(&mut checks.workspace.cargo(&["fmt", "--all", "--check"]))?;
    for manifest in OTHER_MANIFESTS {
        process::run(&mut checks.workspace.cargo(&["fmt", "--all", "--check", "--manifest-path", manifest]))?;
    }
    Ok(Vec::new())
}

fn tidy_up(checks: &Checks<'_>) -> Outcome {
    tidy::tidy(checks.workspace)?;
    Ok(Vec::new())
}

/// Licences, duplicates and sources of dependencies; known vulnerabilities where their list can be fetched.
fn policy(checks: &Checks<'_>) -> Outcome {
    if let Err(reason) = checks.tools.require(Tool::CargoDeny) {
        return Ok(vec![format!("cargo-deny is missing: {reason}")]);
    }
    let deny = |words: &[&str]| {
        let mut command = Command::new(cargo_tool(checks.workspace, Tool::CargoDeny));
        command.current_dir(&checks.workspace.root);
        command.args(["--locked", "--log-level", "error", "--config", ".deny.toml"]).args(words);
        command
    };
    process::quiet(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    // The list of advisories is a repository of its own that not every network reaches.
    if process::quiet(&mut deny(&["fetch", "db"])).is_err() {
        return Ok(vec!["advisories: their database cannot be fetched from here".to_owned()]);
    }
    process::quiet(&mut deny(&["check", "advisories"]))?;
    Ok(Vec::new())
}

/// What ships is held to every lint; tests and benchmarks may unwrap, since a panic is how they fail.
fn clippy(checks: &Checks<'_>) -> Outcome {
    let shared = ["clippy", "--workspace", "--locked", "--keep-going"];
    let deny = ["--", "--deny", "warnings"];
    process::run(checks.workspace.cargo(&shared).args(deny))?;
    let mut tests = checks.workspace.cargo(&shared);
    tests.arg("--all-targets").args(deny).args(["--allow", "clippy::unwrap_used"]);
    process::run(&mut tests)?;
    Ok(Vec::new())
}

fn rustdoc(checks: &Checks<'_>) -> Outcome {
    // Named like this, the targets share the dependencies that clippy has just checked: with the defaults their
    // features would be others, and all of them would be checked again.
    let targets = ["--workspace", "--lib", "--bins", "--examples"];
    let mut command = checks.workspace.cargo(&["doc", "--no-deps", "--locked", "--document-private-items"]);
    command.args(targets);
    process::run(command.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"))?;
    Ok(Vec::new())
}

fn build(checks: &Checks<'_>) -> Outcome {
    let programs = checks.built.programs()?;
    println!("{} test programs", programs.tests.len());
    Ok(Vec::new())
}

fn unit(checks: &Checks<'_>) -> Outcome {
    let others = [INTEGRATION, COMPAT, SIMULATION];
    run_programs(checks, |test| {
        let package = test.package.as_str();
        !others.contains(&package) && !PLUGINS.contains(&package)
    })
}

fn plugins(checks: &Checks<'_>) -> Outcome {
    if let Err(reason) = checks.tools.require(Tool::WasmTargets) {
        return Ok(vec![format!("no plugin can be built: {reason}")]);
    }
    run_programs(checks, |test| PLUGINS.contains(&test.package.as_str()))
}

fn doctest(checks: &Checks<'_>) -> Outcome {
    process::run(&mut checks.workspace.cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"]))?;
    Ok(Vec::new())
}

fn simulation(checks: &Checks<'_>) -> Outcome {
    run_programs(checks, |test| test.package == SIMULATION)
}

fn integration(checks: &Checks<'_>) -> Outcome {
    run_programs(checks, |test| test.package == INTEGRATION)
}

fn compat(checks: &Checks<'_>) -> Outcome {
    run_programs(checks, |test| test.package == COMPAT)
}

/// Why a test program cannot be run here, if so.
fn lacks(checks: &Checks<'_>, test: &TestProgram) -> Option<String> {
    let is_it = |(package, name, _): &&(&str, &str, _)| *package == test.package && *name == test.name;
    let (_, _, needed) = NEEDS.iter().find(is_it)?;
    needed.iter().find_map(|tool| checks.tools.require(*tool).err())
}

/// Runs every chosen test program for which the tools are there, also after one has failed. What single tests
/// left out because this machine does not allow it, they write into a file.
fn run_programs(checks: &Checks<'_>, choose: impl Fn(&TestProgram) -> bool) -> Outcome {
    let programs = checks.built.programs()?;
    let limit = Duration::from_secs(if checks.long { 3 * 60 * 60 } else { 15 * 60 });
    let skipped = checks.workspace.target().join("skipped-tests");
    fs::write(&skipped, "").with_context(|| format!("write '{}'", skipped.display()))?;
    let (mut failed, mut left_out) = (Vec::new(), Vec::new());
    let chosen: Vec<_> = programs.tests.iter().filter(|test| choose(test)).collect();
    anyhow::ensure!(!chosen.is_empty(), "the build made no such test program");
    for test in chosen {
        if let Some(reason) = lacks(checks, test) {
            left_out.push(format!("{}: {reason}", test.name));
            continue;
        }
        println!("--- {} {}", test.package, test.name);
        let mut command = test.command(checks.workspace, programs);
        command.env("MILLRACE_SKIPPED", &skipped);
        if checks.long {
            command.env("MILLRACE_TEST_LONG", "1");
        }
        if let Err(error) = tests_run::run_within(&mut command, limit) {
            failed.push(format!("{} {}: {error:#}", test.package, test.name));
        }
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    left_out.extend(fs::read_to_string(&skipped)?.lines().map(str::to_owned));
    Ok(left_out)
}
