//! `millrace bench plugin`: what plugins do on this machine, all figures in one run.
//!
//! Each part has a broker of its own on an empty directory. Nothing is subtracted from a figure: what the same
//! path costs without a plugin is a figure beside it.

mod cold_start;
mod deploy;
mod idle;
mod module;
mod throughput;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use millrace_client::Client;
use millrace_client::plugins::{
    Definition, FailurePolicy, GrantDefinitions, Kind, LimitOverrides, LogLevel, ModuleDigest, StartPosition,
};
use serde::Serialize;

use super::broker::BenchBroker;

/// What `plugins/build.sh` writes, seen from the repository's root.
const MODULE: &str = "target/plugins/wasm32-unknown-unknown/release/guest_filter.wasm";

#[derive(Args, Clone, Debug)]
pub struct PluginArgs {
    /// Where the brokers keep their data; a new directory inside of it is made and removed
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// Transform to measure with: one that keeps records whose value begins with an even byte
    #[arg(long, default_value = MODULE, value_name = "FILE")]
    pub module: PathBuf,
    /// Partitions of the input and of the output topic
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub partitions: i32,
    /// How long to fill the input topic with records of 100 bytes
    #[arg(long, default_value_t = 2.0)]
    pub fill_seconds: f64,
    /// Deployments whose first event is timed
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub cold_deployments: u32,
    /// Deployments that do nothing, each of a module of its own
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    pub idle_deployments: u32,
    /// Only these parts
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Records through a transform from topic to topic
    Throughput,
    /// A module of 1 MiB
    Deploy,
    /// First events of idle deployments
    ColdStart,
    /// Many deployments without work
    Idle,
}

#[derive(Debug, Serialize)]
pub struct PluginReport {
    module_bytes: usize,
    throughput: Option<throughput::Throughput>,
    deploy: Option<deploy::Deploys>,
    cold_start: Option<cold_start::ColdStart>,
    idle: Option<idle::Idle>,
}

pub async fn run(args: &PluginArgs) -> Result<PluginReport> {
    ensure!(args.partitions > 0, "--partitions is {}; at least one is needed", args.partitions);
    ensure!(args.cold_deployments > 0, "--cold-deployments is 0; leave the part out with --only");
    ensure!(args.idle_deployments > 0, "--idle-deployments is 0; leave the part out with --only");
    let module = module::read(&args.module)?;
    let dir = tempfile::Builder::new().prefix("millrace-bench-").tempdir_in(&args.dir)?;
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let data_dir = |name: &str| dir.path().join(name);
    let mut report = PluginReport {
        module_bytes: module.len(),
        throughput: None,
        deploy: None,
        cold_start: None,
        idle: None,
    };
    if wanted(Part::Throughput) {
        report.throughput = Some(throughput::run(&data_dir("throughput"), args, &module).await?);
    }
    if wanted(Part::Deploy) {
        report.deploy = Some(deploy::run(&data_dir("deploy"), &module).await?);
    }
    if wanted(Part::ColdStart) {
        report.cold_start = Some(cold_start::run(&data_dir("cold"), args, &module).await?);
    }
    if wanted(Part::Idle) {
        report.idle = Some(idle::run(&data_dir("idle"), args, &module).await?);
    }
    Ok(report)
}

/// A transform of one output, with every setting at its default.
fn definition(module: ModuleDigest, topic: &str, output: &str, start: StartPosition) -> Definition {
    Definition {
        module,
        kind: Kind::Transform,
        topic: topic.to_owned(),
        outputs: vec![output.to_owned()],
        start,
        failure: FailurePolicy::default(),
        config: Default::default(),
        grants: GrantDefinitions::default(),
        limits: LimitOverrides::default(),
        log_level: LogLevel::default(),
    }
}

/// Uploads `module` and deploys it from now on.
async fn deploy(client: &Client, name: &str, module: Bytes, topic: &str, output: &str) -> Result<()> {
    let plugins = client.plugins();
    let info = plugins.upload(module, |_, _| {}).await.context("upload a module")?;
    let definition = definition(info.digest, topic, output, StartPosition::Latest);
    plugins.deploy(name, definition, false).await.with_context(|| format!("deploy '{name}'"))?;
    Ok(())
}

/// Waits until one of the broker's metrics, added up over its labels, is 0 or missing.
async fn wait_for_none(broker: &BenchBroker, metric: &str, patience: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let value = broker.metrics()?.get(metric).copied().unwrap_or(0.0);
        if value == 0.0 {
            return Ok(());
        }
        ensure!(started.elapsed() < patience, "{metric} is still {value} after {patience:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PluginArgs,
    }

    #[test]
    fn parts_are_chosen_by_name() {
        let args = |line: &[&str]| Line::try_parse_from(line).map(|line| line.args);
        assert!(args(&["bench"]).unwrap().only.is_empty());
        let chosen = args(&["bench", "--only", "cold-start,idle"]).unwrap().only;
        assert_eq!(chosen, [Part::ColdStart, Part::Idle]);
        assert!(args(&["bench", "--only", "coldstart"]).is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_measured_is_refused_before_a_broker_starts() {
        let args = Line::parse_from(["bench", "--partitions", "0"]).args;
        assert!(run(&args).await.unwrap_err().to_string().contains("--partitions is 0"));
        let args = Line::parse_from(["bench", "--module", "/does/not/exist.wasm"]).args;
        assert!(format!("{:#}", run(&args).await.unwrap_err()).contains("plugins/build.sh"));
    }

    #[test]
    fn the_definition_is_one_that_a_broker_takes() {
        let definition = definition(ModuleDigest::of(b"m"), "in", "out", StartPosition::Earliest);
        assert_eq!(definition.validate(), Ok(()));
    }
}
