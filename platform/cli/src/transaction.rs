//! `millrace transaction`: which transactions there are, what they hold up, and ending one that nobody ends.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use millrace_client::admin::TransactionInfo;
use millrace_client::{Admin, RequestError};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::OutputFormat;
use super::confirm::confirm;
use super::connect::{ConnectArgs, close};
use super::output::{note, print, table};

/// Kafka's TRANSACTIONAL_ID_NOT_FOUND.
const TRANSACTIONAL_ID_NOT_FOUND: i16 = 105;

#[derive(Debug, Subcommand)]
pub enum TransactionCommand {
    /// List the transactional ids that the brokers know
    List(ListArgs),
    /// Show transactions, with the partitions that they write to
    Describe(DescribeArgs),
    /// Abort a transaction and fence its producer
    Abort(AbortArgs),
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only those in this state, such as Ongoing or PrepareCommit; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// The transactional ids
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct AbortArgs {
    /// The transactional id whose transaction is to be aborted
    #[arg(required_unless_present = "topic")]
    id: Option<String>,
    /// Instead of an id: the topic in which a transaction that no coordinator knows holds readers up
    #[arg(long, requires_all = ["partition", "start_offset"], conflicts_with = "id")]
    topic: Option<String>,
    /// The partition of --topic
    #[arg(long, requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// The offset of that transaction's first record, where readers wait
    #[arg(long, requires = "topic", value_parser = clap::value_parser!(i64).range(0..))]
    start_offset: Option<i64>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn run(command: TransactionCommand, output: OutputFormat) -> anyhow::Result<()> {
    let client = command.connect().connect().await?;
    let admin = client.admin();
    let done = match command {
        TransactionCommand::List(args) => list(&admin, &args, output).await,
        TransactionCommand::Describe(args) => describe(&admin, &args, output).await,
        TransactionCommand::Abort(args) => abort(&admin, &args, output).await,
    };
    close(&client).await;
    done
}

impl TransactionCommand {
    const fn connect(&self) -> &ConnectArgs {
        match self {
            Self::List(args) => &args.connect,
            Self::Describe(args) => &args.connect,
            Self::Abort(args) => &args.connect,
        }
    }
}

async fn list(admin: &Admin, args: &ListArgs, output: OutputFormat) -> anyhow::Result<()> {
    let states: Vec<&str> = args.state.iter().map(String::as_str).collect();
    let listed = admin.list_transactions(&states).await.context("list transactions")?;
    let json: Vec<_> = listed
        .iter()
        .map(|one| {
            json!({
                "transactional_id": one.transactional_id,
                "coordinator": one.coordinator,
                "producer_id": one.producer_id,
                "state": one.state,
            })
        })
        .collect();
    print(output, &json, || {
        if listed.is_empty() {
            note("no transactional ids are known");
            return String::new();
        }
        let rows: Vec<_> = listed
            .into_iter()
            .map(|one| {
                [one.transactional_id, one.coordinator.to_string(), one.producer_id.to_string(), one.state]
            })
            .collect();
        table(["TRANSACTIONAL-ID", "COORDINATOR", "PRODUCER-ID", "STATE"], &rows)
    })
}

async fn describe(admin: &Admin, args: &DescribeArgs, output: OutputFormat) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for id in &args.ids {
        found.push(admin.describe_transaction(id).await.map_err(|error| explained(id, error))?);
    }
    let json: Vec<Value> = found.iter().map(info_json).collect();
    print(output, &json, || {
        let rows: Vec<_> = found
            .iter()
            .map(|one| {
                let partitions: Vec<String> = one.partitions.iter().map(ToString::to_string).collect();
                [
                    one.transactional_id.clone(),
                    one.coordinator.to_string(),
                    one.producer_id.to_string(),
                    one.producer_epoch.to_string(),
                    one.state.clone(),
                    one.timeout_ms.to_string(),
                    one.started_at.map_or_else(|| "-".to_owned(), moment),
                    if partitions.is_empty() { "-".to_owned() } else { partitions.join(",") },
                ]
            })
            .collect();
        let head = [
            "TRANSACTIONAL-ID",
            "COORDINATOR",
            "PRODUCER-ID",
            "PRODUCER-EPOCH",
            "STATE",
            "TIMEOUT-MS",
            "STARTED",
            "PARTITIONS",
        ];
        table(head, &rows)
    })
}

fn info_json(one: &TransactionInfo) -> Value {
    let partitions: Vec<Value> = one
        .partitions
        .iter()
        .map(|one| json!({ "topic": &*one.topic, "partition": one.partition }))
        .collect();
    json!({
        "transactional_id": one.transactional_id,
        "coordinator": one.coordinator,
        "producer_id": one.producer_id,
        "producer_epoch": one.producer_epoch,
        "state": one.state,
        "timeout_ms": one.timeout_ms,
        "started_at": one.started_at,
        "partitions": partitions,
    })
}

/// Milliseconds since the Unix epoch, as RFC 3339 has them.
fn moment(millis: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| millis.to_string())
}

async fn abort(admin: &Admin, args: &AbortArgs, output: OutputFormat) -> anyhow::Result<()> {
    if let Some(id) = &args.id {
        let info = admin.describe_transaction(id).await.map_err(|error| explained(id, error))?;
        if info.started_at.is_none() {
            bail!("transactional id '{id}' has no open transaction: its state is {}", info.state);
        }
        if !args.yes {
            confirm(&format!("abort the transaction of '{id}' and fence its producer?"))?;
        }
        admin.fence_producer(id).await.with_context(|| format!("abort the transaction of '{id}'"))?;
        return print(output, &json!({ "aborted": id, "producer_id": info.producer_id }), || {
            format!("aborted the transaction of '{id}' and fenced its producer")
        });
    }
    let (Some(topic), Some(partition), Some(start)) = (&args.topic, args.partition, args.start_offset) else {
        bail!("name a transactional id, or --topic, --partition and --start-offset");
    };
    let producers = admin.describe_producers(topic, partition).await;
    let producers = producers.with_context(|| format!("read the producers of {topic}-{partition}"))?;
    let Some(producer) = producers.iter().find(|producer| producer.transaction_start == Some(start)) else {
        let open: Vec<String> =
            producers.iter().filter_map(|producer| Some(producer.transaction_start?.to_string())).collect();
        let open = if open.is_empty() {
            "none is open".to_owned()
        } else {
            format!("open are those from {}", open.join(", "))
        };
        bail!("no transaction of {topic}-{partition} begins at offset {start}: {open}");
    };
    if !args.yes {
        confirm(&format!(
            "abort the transaction of producer {} in {topic}-{partition}? Only right if no coordinator knows it",
            producer.producer_id
        ))?;
    }
    let done = admin.abort_hanging(topic, partition, producer).await;
    done.with_context(|| format!("abort the transaction at offset {start} of {topic}-{partition}"))?;
    let json = json!({ "topic": topic, "partition": partition, "producer_id": producer.producer_id });
    print(output, &json, || {
        format!("aborted the transaction of producer {} in {topic}-{partition}", producer.producer_id)
    })
}

fn explained(id: &str, error: RequestError) -> anyhow::Error {
    if error.code() == Some(TRANSACTIONAL_ID_NOT_FOUND) {
        return anyhow::anyhow!(
            "there is no transactional id '{id}': `millrace transaction list` shows those that there are"
        );
    }
    anyhow::Error::new(error).context(format!("transactional id '{id}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_people_write_them() {
        assert_eq!(moment(1_738_321_200_250), "2025-01-31T11:00:00.25Z");
    }
}
