//! `millrace plugin logs`: what a deployment's plugin wrote, and what its runner has to say about it.
//!
//! The lines of all deployments are records of one internal topic, read as any topic is. Those that are there are
//! put into the order of their times, since each partition of the topic has only its own; those that come later
//! are shown as they come.

mod line;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use millrace_base::{Clock, SystemClock};
use millrace_client::admin::OffsetSpec;
use millrace_client::{Client, Consumer, ConsumerRecord, StartAt};

use super::settings::LogLevelArg;
use crate::OutputFormat;
use crate::connect::{ConnectArgs, close};
use crate::output::{note, reader_gone};
use crate::time::parse_duration;
use crate::topic::is_unknown_topic;
use line::{Filter, Line};

/// Where the lines are.
const TOPIC: &str = "__plugin_logs";

/// How long one wait for records lasts, and how often a missing topic is asked for.
const A_WHILE: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub struct LogsArgs {
    /// The deployment
    name: String,
    /// Go on with the lines that come
    #[arg(long, short)]
    follow: bool,
    /// Lines no older than this, such as 10m, or all
    #[arg(long, value_name = "DURATION|all", default_value = "all", value_parser = parse_since)]
    since: Since,
    /// Lines of this level and above
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "trace", hide_default_value = true)]
    level: LogLevelArg,
    /// Lines about this partition of the input topic
    #[arg(long, short)]
    partition: Option<u32>,
    /// Of the lines that are there, at most the last so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10_000)]
    lines: usize,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    All,
    Ago(Duration),
}

fn parse_since(text: &str) -> Result<Since, String> {
    if text == "all" { Ok(Since::All) } else { parse_duration(text).map(Since::Ago) }
}

pub async fn run(args: LogsArgs, output: OutputFormat) -> anyhow::Result<()> {
    let client = args.connect.connect().await?;
    let done = tokio::select! {
        done = show(&client, &args, output) => done,
        gone = reader_gone() => Err(gone.into()),
    };
    close(&client).await;
    done
}

async fn show(client: &Client, args: &LogsArgs, output: OutputFormat) -> anyhow::Result<()> {
    let Some(partitions) = partitions(client, args.follow).await? else {
        note("no plugin has logged anything yet");
        return Ok(());
    };
    let mut consumer = client.consumer().build();
    let done = read(client, &mut consumer, &partitions, args, output).await;
    consumer.close().await;
    done
}

/// The log's partitions; `None` if there is no log yet, unless that is to be waited for.
async fn partitions(client: &Client, wait: bool) -> anyhow::Result<Option<Vec<i32>>> {
    loop {
        match client.partition_count(TOPIC).await {
            Ok(number) => return Ok(Some((0..i32::try_from(number)?).collect())),
            Err(error) if is_unknown_topic(&error) && wait => tokio::time::sleep(A_WHILE).await,
            Err(error) if is_unknown_topic(&error) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read topic '{TOPIC}'")),
        }
    }
}

async fn read(
    client: &Client,
    consumer: &mut Consumer,
    partitions: &[i32],
    args: &LogsArgs,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let context = || format!("read topic '{TOPIC}'");
    let filter =
        Filter { deployment: args.name.clone(), level: args.level.into(), partition: args.partition };
    let ends =
        client.admin().list_offsets(TOPIC, partitions, OffsetSpec::Latest).await.with_context(context)?;
    let ends: Vec<(i32, i64)> = ends.iter().map(|end| (end.partition, end.offset.unwrap_or(0))).collect();
    let start = match args.since {
        Since::All => StartAt::Beginning,
        Since::Ago(ago) => {
            let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
            StartAt::Timestamp(SystemClock.now_ms().saturating_sub(ago))
        }
    };
    consumer.assign(TOPIC, partitions, start).await.with_context(context)?;
    let mut past = Past::new(args.lines);
    let at_end = |consumer: &Consumer| {
        let reached = |(partition, end): &(i32, i64)| {
            consumer.position(TOPIC, *partition).is_some_and(|position| position >= *end)
        };
        ends.iter().all(reached)
    };
    while !at_end(consumer) {
        if let Some(batch) = consumer.poll_batch(A_WHILE).await.with_context(context)? {
            batch.records().filter(|record| filter.takes(record)).for_each(|record| past.add(&record));
        }
    }
    past.print(args, output)?;
    if !args.follow {
        return Ok(());
    }
    loop {
        if let Some(batch) = consumer.poll_batch(A_WHILE).await.with_context(context)? {
            let lines = batch.records().filter(|record| filter.takes(record));
            write_lines(lines.filter_map(|record| Line::read(&record)), output)?;
        }
    }
}

/// The last lines of those that are there, by their times.
struct Past {
    lines: BTreeMap<(i64, usize), Line>,
    max: usize,
    read: usize,
}

impl Past {
    const fn new(max: usize) -> Self {
        Self { lines: BTreeMap::new(), max, read: 0 }
    }

    fn add(&mut self, record: &ConsumerRecord) {
        if let Some(line) = Line::read(record) {
            self.add_line(line);
        }
    }

    fn add_line(&mut self, line: Line) {
        // Lines of one time stay in the order in which they were read.
        self.lines.insert((line.timestamp, self.read), line);
        self.read += 1;
        if self.lines.len() > self.max {
            self.lines.pop_first();
        }
    }

    fn print(self, args: &LogsArgs, output: OutputFormat) -> io::Result<()> {
        if self.read > self.max {
            note(&format!("{} older lines are left out: --lines shows more", self.read - self.max));
        }
        if self.read == 0 && !args.follow {
            note(&format!("there are no such lines of '{}'", args.name));
        }
        write_lines(self.lines.into_values(), output)
    }
}

fn write_lines(lines: impl Iterator<Item = Line>, output: OutputFormat) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        match output {
            OutputFormat::Text => stdout.write_all(line.text().as_bytes())?,
            OutputFormat::Json => writeln!(stdout, "{}", line.json())?,
        }
    }
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_all_or_a_duration() {
        assert_eq!(parse_since("all"), Ok(Since::All));
        assert_eq!(parse_since("10m"), Ok(Since::Ago(Duration::from_secs(600))));
        assert!(parse_since("yesterday").is_err());
    }

    #[test]
    fn the_last_lines_are_kept_in_the_order_of_their_times() {
        let mut past = Past::new(3);
        for (timestamp, message) in [(5, "e"), (1, "a"), (3, "b"), (3, "c"), (4, "d")] {
            past.add_line(Line::new(timestamp, message));
        }
        let kept: Vec<&str> = past.lines.values().map(Line::message).collect();
        assert_eq!((kept, past.read), (vec!["c", "d", "e"], 5));
    }
}
