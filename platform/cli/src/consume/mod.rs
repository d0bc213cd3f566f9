//! `millrace consume`: prints the records of a topic, as a member of a group if one is named.

mod format;
mod print;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use millrace_client::admin::OffsetSpec;
use millrace_client::{Client, CommitOffset, Consumer, Isolation, StartAt, TopicPartition};
use tokio::time::Instant;

use super::OutputFormat;
use super::connect::{ConnectArgs, close};
use super::output::{note, reader_gone};
use super::topic::count;
use format::RecordFormat;
use print::Printer;

/// How long one poll waits at most.
const A_WHILE: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub struct ConsumeArgs {
    /// The topic to read
    topic: String,
    /// A partition to read; may be repeated [default: all]
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Read as a member of this group: go on where it has got to, share the topic with its other members, and commit
    /// what was printed
    #[arg(long, short, conflicts_with_all = ["partition", "offset", "timestamp", "exit_at_end"])]
    group: Option<String>,
    /// Read what is there already [default: only what comes from now on]; with --group, where it has committed nothing
    #[arg(long, group = "start")]
    from_beginning: bool,
    /// Begin at this offset; negative counts back from the end
    #[arg(long, short, group = "start", allow_negative_numbers = true)]
    offset: Option<i64>,
    /// Begin with the first record of this time or later (milliseconds or RFC 3339)
    #[arg(long, short, group = "start", value_name = "TIME", value_parser = super::time::parse_timestamp_ms)]
    timestamp: Option<i64>,
    /// Stop after this many records
    #[arg(long, short = 'n', alias = "max-records", value_parser = clap::value_parser!(u64).range(1..))]
    max_messages: Option<u64>,
    /// Stop when no record has come for this long
    #[arg(long, value_name = "DURATION", value_parser = super::time::parse_duration)]
    timeout: Option<Duration>,
    /// Stop at the end that the partitions have now
    #[arg(long, short = 'e')]
    exit_at_end: bool,
    /// Leave out records of transactions that are open or aborted
    #[arg(long)]
    read_committed: bool,
    /// `text` (values), `json`, or a pattern: %s value, %k key, %h headers, %t topic, %p partition, %o offset,
    /// %T timestamp
    #[arg(long, short, value_name = "FORMAT", value_parser = RecordFormat::parse)]
    format: Option<RecordFormat>,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn run(args: ConsumeArgs, output: OutputFormat) -> anyhow::Result<()> {
    let client = args.connect.connect().await?;
    let mut printer = Printer::new(args.record_format(output), args.max_messages);
    let outcome = match &args.group {
        Some(group) => read_as_member(&client, group, &args, &mut printer).await,
        None => read_alone(&client, &args, &mut printer).await,
    };
    printer.flush()?;
    close(&client).await;
    outcome?;
    match (args.max_messages, args.timeout) {
        (Some(wanted), Some(timeout)) if printer.printed() < wanted && !args.exit_at_end => bail!(
            "got {} of {wanted} from topic '{}': nothing came for {timeout:?}",
            count(usize::try_from(printer.printed()).unwrap_or(usize::MAX), "record"),
            args.topic
        ),
        _ => Ok(()),
    }
}

impl ConsumeArgs {
    fn record_format(&self, output: OutputFormat) -> RecordFormat {
        self.format.clone().unwrap_or(match output {
            OutputFormat::Text => RecordFormat::values(),
            OutputFormat::Json => RecordFormat::Json,
        })
    }

    const fn isolation(&self) -> Isolation {
        if self.read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
    }
}

async fn read_alone(client: &Client, args: &ConsumeArgs, printer: &mut Printer) -> anyhow::Result<()> {
    let partitions = partitions(client, args).await?;
    let mut consumer = client.consumer().isolation(args.isolation()).build();
    let ends = assign(client, &mut consumer, args, &partitions).await?;
    if !args.from_beginning && args.offset.is_none() && args.timestamp.is_none() && !args.exit_at_end {
        note(&format!("waiting for new records in '{}'; --from-beginning reads what is there", args.topic));
    }
    let outcome = tokio::select! {
        outcome = print_records(&mut consumer, args, &ends, printer) => outcome,
        gone = reader_gone() => Err(gone.into()),
    };
    consumer.close().await;
    outcome
}

/// Reads until there is enough or a signal comes, and leaves the group in good order.
async fn read_as_member(
    client: &Client,
    group: &str,
    args: &ConsumeArgs,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    client.partition_count(&args.topic).await.with_context(|| format!("read topic '{}'", args.topic))?;
    let start = if args.from_beginning { StartAt::Beginning } else { StartAt::End };
    let mut consumer =
        client.consumer().isolation(args.isolation()).group(group).start_without_commit(start).build();
    consumer.subscribe(&[&args.topic]).with_context(|| format!("join group '{group}'"))?;
    let outcome = tokio::select! {
        outcome = print_and_commit(&mut consumer, args, printer) => outcome,
        gone = reader_gone() => Err(gone.into()),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
    };
    consumer.close().await;
    outcome
}

/// A batch counts as read when all of it is printed; what --max-messages cuts off is read again.
async fn print_and_commit(
    consumer: &mut Consumer,
    args: &ConsumeArgs,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let mut last_record = Instant::now();
    while !printer.is_done() {
        let left = args.timeout.map_or(A_WHILE, |timeout| timeout.saturating_sub(last_record.elapsed()));
        if left.is_zero() {
            break;
        }
        let batch = consumer.poll_batch(left.min(A_WHILE)).await;
        if let Some(batch) = batch.with_context(|| format!("read topic '{}'", args.topic))? {
            let next = printer.print_batch(&batch)?;
            let partition = TopicPartition::new(batch.topic(), batch.partition());
            let committed = consumer.commit_offsets(vec![CommitOffset::new(partition, next)]).await;
            committed.context("commit what was printed")?;
            last_record = Instant::now();
        }
    }
    Ok(())
}

async fn partitions(client: &Client, args: &ConsumeArgs) -> anyhow::Result<Vec<i32>> {
    let number = client.partition_count(&args.topic).await;
    let number = number.with_context(|| format!("read topic '{}'", args.topic))?;
    let all = 0..i32::try_from(number)?;
    if let Some(missing) = args.partition.iter().find(|partition| !all.contains(partition)) {
        bail!("topic '{}' has {}, there is no partition {missing}", args.topic, count(number, "partition"));
    }
    Ok(if args.partition.is_empty() { all.collect() } else { args.partition.clone() })
}

/// The partitions' ends at the start: where `--exit-at-end` stops.
type Ends = Vec<(i32, i64)>;

async fn assign(
    client: &Client,
    consumer: &mut Consumer,
    args: &ConsumeArgs,
    partitions: &[i32],
) -> anyhow::Result<Ends> {
    let context = || format!("look up offsets of topic '{}'", args.topic);
    let ends: Ends = if args.exit_at_end || args.offset.is_some() {
        let listed = client.admin().list_offsets(&args.topic, partitions, OffsetSpec::Latest).await;
        listed.with_context(context)?.iter().map(|end| (end.partition, end.offset.unwrap_or(0))).collect()
    } else {
        Vec::new()
    };
    if let Some(offset) = args.offset {
        let starts = client.admin().list_offsets(&args.topic, partitions, OffsetSpec::Earliest).await;
        for (start, (partition, end)) in starts.with_context(context)?.iter().zip(&ends) {
            let offset = within(offset, start.offset.unwrap_or(0), *end)
                .with_context(|| format!("read topic '{}', partition {partition}", args.topic))?;
            consumer
                .assign(&args.topic, &[*partition], StartAt::Offset(offset))
                .await
                .with_context(context)?;
        }
        return Ok(ends);
    }
    let start = match args.timestamp {
        Some(timestamp) => StartAt::Timestamp(timestamp),
        _ if args.from_beginning => StartAt::Beginning,
        _ => StartAt::End,
    };
    consumer.assign(&args.topic, partitions, start).await.with_context(context)?;
    Ok(ends)
}

/// Where `--offset` begins in a partition that has the offsets from `start` to before `end`.
fn within(offset: i64, start: i64, end: i64) -> anyhow::Result<i64> {
    match offset {
        ..0 => Ok(end.saturating_add(offset).max(start)),
        _ if offset < start => bail!(
            "offset {offset} is before its start, which is {start}: older records are deleted; --from-beginning reads \
             all that is left"
        ),
        _ if offset > end => bail!(
            "offset {offset} is beyond its end, which is {end}: --offset {end} waits for the next record, --partition \
             chooses another partition"
        ),
        _ => Ok(offset),
    }
}

async fn print_records(
    consumer: &mut Consumer,
    args: &ConsumeArgs,
    ends: &Ends,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let at_end = |consumer: &Consumer| {
        let reached = |(partition, end): &(i32, i64)| {
            consumer.position(&args.topic, *partition).is_some_and(|position| position >= *end)
        };
        args.exit_at_end && ends.iter().all(reached)
    };
    let mut last_record = Instant::now();
    while !printer.is_done() && !at_end(consumer) {
        let left = args.timeout.map_or(A_WHILE, |timeout| timeout.saturating_sub(last_record.elapsed()));
        if left.is_zero() {
            break;
        }
        let batch = consumer.poll_batch(left.min(A_WHILE)).await;
        if let Some(batch) = batch.with_context(|| format!("read topic '{}'", args.topic))? {
            printer.print_batch(&batch)?;
            last_record = Instant::now();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_within_the_partition_or_refused_with_both_numbers() {
        for (offset, begins) in [(3, 3), (10, 10), (-1, 9), (-7, 3), (-100, 3)] {
            assert_eq!(within(offset, 3, 10).unwrap(), begins, "{offset}");
        }
        let refused = |offset| within(offset, 3, 10).unwrap_err().to_string();
        assert!(refused(11).starts_with("offset 11 is beyond its end, which is 10: "), "{}", refused(11));
        assert!(refused(2).starts_with("offset 2 is before its start, which is 3: "), "{}", refused(2));
    }
}
