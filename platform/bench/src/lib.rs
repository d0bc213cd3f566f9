//! `millrace bench`: what this broker does on this machine, beside what the machine can do at all.
//!
//! Figures of different runs do not compare on machines that others use too; ratios within one run do. So
//! `suite` measures everything in one go against a broker of its own, limits included.

mod broker;
mod compact;
mod consume;
mod disk;
mod end_to_end;
mod latency;
mod machine;
mod plugin;
mod produce;
mod quic;
mod suite;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;

use machine::Machine;
use millrace_cli::connect::ConnectArgs;

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// What QUIC and the disk give on their own
    Limit(LimitArgs),
    /// One producer as fast as it goes
    Produce(Connected<produce::ProduceArgs>),
    /// One consumer over a topic that is filled first
    Consume(Connected<consume::ConsumeArgs>),
    /// Latency from producer to consumer at a fixed rate
    EndToEnd(Connected<end_to_end::EndToEndArgs>),
    /// What plugins do, in one run against brokers that are started for it
    Plugin(plugin::PluginArgs),
    /// Compaction of a topic with many keys, with records that arrive beside it, against a broker that is started for it
    Compact(compact::CompactArgs),
    /// Everything but plugins in one run, against a broker that is started for it
    Suite(suite::SuiteArgs),
}

/// A benchmark that needs a running broker.
#[derive(Args, Debug)]
pub struct Connected<A: Args> {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    bench: A,
}

#[derive(Args, Clone, Debug)]
pub struct LimitArgs {
    /// Directory on the file system to measure
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// How long each figure is measured
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
}

/// Raw figures of the machine.
#[derive(Debug, Serialize)]
pub struct LimitReport {
    quic: Vec<quic::QuicLimit>,
    disk: disk::DiskLimit,
}

/// Runs one benchmark and prints its report as JSON.
pub async fn run(command: BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Limit(args) => print("limit", limit(&args).await?),
        BenchCommand::Produce(args) => {
            print("produce", produce::run(&args.connect.connect().await?, &args.bench).await?)
        }
        BenchCommand::Consume(args) => {
            print("consume", consume::run(&args.connect.connect().await?, &args.bench).await?)
        }
        BenchCommand::EndToEnd(args) => {
            print("end-to-end", end_to_end::run(&args.connect.connect().await?, &args.bench).await?)
        }
        BenchCommand::Compact(args) => print("compact", compact::run(&args).await?),
        BenchCommand::Plugin(args) => print("plugin", plugin::run(&args).await?),
        BenchCommand::Suite(args) => print("suite", suite::run(&args).await?),
    }
}

/// QUIC at the usual path MTU and at the largest that the settings allow, then the disk.
async fn limit(args: &LimitArgs) -> Result<LimitReport> {
    let time = Duration::from_secs_f64(args.seconds);
    let usual_mtu = 1452;
    let mut quic = Vec::new();
    for mtu in [usual_mtu, millrace_transport::QuicTuning::default().mtu_upper_bound] {
        quic.push(quic::measure(mtu, time).await?);
    }
    let dir = args.dir.clone();
    let disk = tokio::task::spawn_blocking(move || disk::measure(&dir, time)).await??;
    Ok(LimitReport { quic, disk })
}

fn print(bench: &'static str, report: impl Serialize) -> Result<()> {
    #[derive(Serialize)]
    struct Report<R> {
        bench: &'static str,
        machine: Machine,
        report: R,
    }
    let report = Report { bench, machine: Machine::read(), report };
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
