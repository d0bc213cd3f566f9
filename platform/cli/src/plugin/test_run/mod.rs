//! `millrace plugin test`: a module runs over a file of records, in the plugin host and without a broker.

mod bench;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use millrace_protocol::plugins::{
    Definition, FailurePolicy, GrantDefinitions, Kind, LimitOverrides, LogLevel, ModuleInfo, StartPosition,
};

use super::build::read_or_build;
use super::module::require_grants;
use super::records::{FileRecord, parse_lines};
use super::settings::SettingsArgs;
use crate::OutputFormat;
use crate::output::note;
use bench::Bench;
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
    let module = read_or_build(&args.module)?;
    let definition = definition(&args, &module.info)?;
    require_grants(&module.info, &definition.grants)?;
    if module.info.size_bytes > LARGE_MODULE_BYTES {
        note("compiling the module…");
    }
    let mut report = Report::new(module.info.clone(), definition.outputs.clone());
    let mut bench = Bench::start(module, definition, args.partitions).await?;
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

/// The deployment that is tested, checked as a broker would.
fn definition(args: &TestArgs, info: &ModuleInfo) -> anyhow::Result<Definition> {
    let mut definition = Definition {
        module: info.digest,
        kind: info.kind,
        topic: args.topic.clone(),
        outputs: args.output_topic.clone(),
        start: StartPosition::default(),
        failure: FailurePolicy::default(),
        config: BTreeMap::new(),
        grants: GrantDefinitions::default(),
        limits: LimitOverrides::default(),
        log_level: args.settings.log_level.map_or_else(LogLevel::default, LogLevel::from),
    };
    if info.kind == Kind::Transform && definition.outputs.is_empty() {
        definition.outputs.push("output".to_owned());
    }
    args.settings.add_config(&mut definition.config);
    args.settings.add_grants(&mut definition.grants)?;
    args.settings.add_limits(&mut definition.limits)?;
    definition.validate()?;
    Ok(definition)
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
