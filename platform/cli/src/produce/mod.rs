//! `millrace produce`: standard input or files become records.

mod input;
mod lines;
mod send;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use millrace_client::{Acks, Compression};
use serde_json::json;

use super::OutputFormat;
use super::connect::{ConnectArgs, close};
use super::output::{note, print};
use super::topic::count;
use input::InputForm;
use lines::{LineFormat, parse_headers};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AcksArg {
    /// Never wait for an answer
    #[value(name = "0")]
    None,
    /// When the leader has the record
    #[value(name = "1")]
    Leader,
    /// When every in-sync replica has it on disk
    #[value(name = "all", alias = "-1")]
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CompressionArg {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Args, Debug)]
pub struct ProduceArgs {
    /// The topic to write to
    topic: String,
    /// How standard input is split into records
    #[arg(long, short, value_enum, default_value_t)]
    input: InputForm,
    /// Send this file as one record instead of reading standard input; may be repeated
    #[arg(long, short = 'f', value_name = "PATH", conflicts_with_all = ["input", "key_separator", "line_headers", "null_value"])]
    file: Vec<PathBuf>,
    /// Split each record into key and value at the first of these
    #[arg(long, short = 'K', value_name = "TEXT", value_parser = parse_escaped)]
    key_separator: Option<String>,
    /// Headers of every record
    #[arg(long, short = 'H', value_name = "NAME=VALUE,...", value_parser = parse_headers, default_value = "",
        hide_default_value = true)]
    headers: lines::Headers,
    /// Each line begins with headers of its own: `name:value,name:value<TAB>`
    #[arg(long)]
    line_headers: bool,
    /// What stands between a line's headers and the rest, with --line-headers
    #[arg(long, value_name = "TEXT", default_value = "\\t", value_parser = parse_escaped, requires = "line_headers")]
    line_headers_separator: String,
    /// A key or value of exactly this text is null; a null value deletes its key from a compacted topic
    #[arg(long, short = 'Z', value_name = "TEXT")]
    null_value: Option<String>,
    /// The partition to send to [default: by key, or by load without one]
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// When a record counts as stored
    #[arg(long, short, value_enum, default_value = "all")]
    acks: AcksArg,
    /// How batches are compressed
    #[arg(long, short = 'z', value_enum, default_value_t)]
    compression: CompressionArg,
    /// How long a batch waits for more records
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = super::time::parse_duration)]
    linger: Duration,
    /// How long a record may take until it is stored
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::time::parse_duration)]
    timeout: Duration,
    /// Largest record, batch and request
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    max_bytes: usize,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn run(args: ProduceArgs, output: OutputFormat) -> anyhow::Result<()> {
    let splits_lines = args.key_separator.is_some() || args.line_headers || args.null_value.is_some();
    anyhow::ensure!(
        args.input != InputForm::Json || !splits_lines,
        "--input json says keys, headers and nulls itself: leave out --key-separator, --line-headers and --null-value"
    );
    let client = args.connect.connect().await?;
    let producer = client
        .producer()
        .acks(match args.acks {
            AcksArg::None => Acks::None,
            AcksArg::Leader => Acks::Leader,
            AcksArg::All => Acks::All,
        })
        .compression(match args.compression {
            CompressionArg::None => Compression::None,
            CompressionArg::Gzip => Compression::Gzip,
            CompressionArg::Snappy => Compression::Snappy,
            CompressionArg::Lz4 => Compression::Lz4,
            CompressionArg::Zstd => Compression::Zstd,
        })
        .idempotent(args.acks == AcksArg::All)
        .linger(args.linger)
        .delivery_timeout(args.timeout)
        .max_request_bytes(args.max_bytes)
        .build()
        .await?;
    let format = LineFormat {
        key_separator: args.key_separator,
        headers: args.headers,
        line_headers_separator: args.line_headers.then_some(args.line_headers_separator),
        null_value: args.null_value,
        partition: args.partition,
    };
    let sent = if args.file.is_empty() {
        send::send_input(&producer, &args.topic, (args.input, &format), args.max_bytes).await
    } else {
        send::send_files(&producer, &args.topic, &format, &args.file, args.max_bytes).await
    };
    if sent.is_ok() {
        // With acks=0 nothing has been answered; this waits until everything has been read.
        producer.close().await;
    }
    close(&client).await;
    let sent = sent?;
    match output {
        OutputFormat::Json => print(
            output,
            &json!({ "topic": args.topic, "records": sent.records, "bytes": sent.bytes }),
            String::new,
        ),
        OutputFormat::Text => {
            note(&format!("{} stored in topic '{}'", count(sent.records, "record"), args.topic));
            Ok(())
        }
    }
}

/// `\t` and `\n` as shells do not make them.
fn parse_escaped(text: &str) -> Result<String, String> {
    let text = text.replace("\\t", "\t").replace("\\n", "\n");
    if text.is_empty() { Err("expected at least one character".to_owned()) } else { Ok(text) }
}

fn parse_size(text: &str) -> Result<usize, String> {
    millrace_config::units::parse_size(text)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected a size such as 4096 or 1MiB".to_owned())
}
