//! `millrace plugin test`: a module runs over a file of records, in the plugin host and without a broker.

mod bench;
mod report;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use millrace_plugin_host::Kind;

use super::module::{LocalModule, require_grants};
use super::records::{FileRecord, parse_lines};
use super::settings::SettingsArgs;
use crate::cli::OutputFormat;
use crate::cli::output::note;
use bench::{Bench, Setup};
use report::Report;

/// Modules above it bring a language's runtime, and compiling them takes a while.
const LARGE_MODULE_BYTES: u64 = 2 << 20;

#[derive(Args, Debug)]
pub struct TestArgs {
    /// The module (.wasm), or the directory of a project, which is built first
    #[arg(value_name = "MODULE|DIR")]
    module: PathBuf,
    /// The records, one a line: `{"key":…, "value":…, "headers":{…}, "timestamp":…}`, or else the line is the value;
    /// `-` reads standard input
    #[arg(long, short, value_name = "FILE")]
    records: PathBuf,
    /// An output topic of a transform; may be repeated [default: output]
    #[arg(long, value_name = "NAME")]
    output_topic: Vec<String>,
    /// The input topic that the plugin is told
    #[arg(long, value_name = "NAME", default_value = "input")]
    topic: String,
    /// Partitions that a partitioner chooses among
    #[arg(long, short, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// Records in a batch
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
    /// What the result looks like [default: as --output says]
    #[arg(long, value_enum)]
    format: Option<OutputFormat>,
    /// What the deployment would say. Granted hosts are really reached; rows for a database are only printed
    #[command(flatten)]
    settings: SettingsArgs,
}

pub async fn run(args: TestArgs, output: OutputFormat) -> anyhow::Result<()> {
    let output = args.format.unwrap_or(output);
    let records = read_records(&args.records)?;
    let module = LocalModule::read_or_build(&args.module)?;
    if module.info.kind != Kind::Transform && !args.output_topic.is_empty() {
        bail!("a {} has no output topics: leave --output-topic out", module.info.kind);
    }
    let setup = setup(&args)?;
    require_grants(&module.info, &setup.grants)?;
    if module.info.size_bytes > LARGE_MODULE_BYTES {
        note("compiling the module…");
    }
    let mut report = Report::new(module.info.clone(), setup.outputs.clone());
    let mut bench = Bench::start(module, setup).await?;
    let batch_size = usize::try_from(args.batch_size)?;
    for (index, chunk) in records.chunks(batch_size).enumerate() {
        let step = bench.step(chunk, index * batch_size).await?;
        let failed = step.outcome.is_err();
        report.add(step);
        if failed {
            break;
        }
    }
    report.print(&records, output)
}

fn setup(args: &TestArgs) -> anyhow::Result<Setup> {
    let mut setup = Setup {
        topic: args.topic.clone(),
        outputs: args.output_topic.clone(),
        partitions: args.partitions,
        ..Setup::default()
    };
    if setup.outputs.is_empty() {
        setup.outputs.push("output".to_owned());
    }
    args.settings.add_config(&mut setup.config);
    args.settings.add_grants(&mut setup.grants)?;
    args.settings.add_limits(&mut setup.limits)?;
    if let Some(level) = args.settings.log_level {
        setup.log_level = level.into();
    }
    Ok(setup)
}

fn read_records(path: &Path) -> anyhow::Result<Vec<FileRecord>> {
    let text = if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text).context("read standard input")?;
        text
    } else {
        fs::read(path).with_context(|| format!("read records {}", path.display()))?
    };
    let records = parse_lines(&text).with_context(|| format!("read records {}", path.display()))?;
    if records.is_empty() {
        bail!("{} holds no records: expected one a line", path.display());
    }
    Ok(records)
}
