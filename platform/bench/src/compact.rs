//! `millrace bench compact`: a topic with many keys is compacted while records arrive at a fixed rate. What compaction
//! takes in time, bytes and memory, and what it does to the latency of those records.
//!
//! The latencies are measured twice in one run, before compaction and beside it: their ratio counts, not they.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use millrace_client::admin::{ConfigChange, ConfigResource, NewTopic};
use millrace_client::{Acks, Client, Record, Transport};
use serde::Serialize;

use super::broker::BenchBroker;
use super::end_to_end::{self, EndToEndArgs};
use super::latency::Percentiles;
use super::workload::{Noise, Workload};

const TOPIC: &str = "compacted";

/// The broker looks for something to compact every 15 seconds.
const START_LIMIT: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct CompactArgs {
    /// Where the broker keeps its data; a new directory inside of it is made and removed
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// Bytes of values to compact, in units of 10^6
    #[arg(long, default_value_t = 10_000, value_name = "MB")]
    pub mb: u64,
    /// Keys that they are of, each written as often as any other
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    pub keys: u64,
    /// Size of a record's value
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    pub record_bytes: usize,
    /// Rate of the records beside it, in 10^6 bytes of values a second
    #[arg(long, default_value_t = 20.0, value_name = "MB")]
    pub rate_mb: f64,
    /// How long to measure them at a time
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
}

/// What one run came to.
#[derive(Debug, Serialize)]
pub struct CompactReport {
    pub records: u64,
    pub keys: u64,
    pub seconds: f64,
    /// What was read and written a second.
    pub mb_per_second: f64,
    pub read_mb: f64,
    pub written_mb: f64,
    pub removed_mb: f64,
    /// Runs that it took: one if the keys had room in memory.
    pub runs: f64,
    /// Before compaction, and the most while it ran.
    pub resident_mib: f64,
    pub resident_mib_max: f64,
    /// End to end, of records at the fixed rate.
    pub before: Percentiles,
    pub beside: Vec<Percentiles>,
}

pub async fn run(args: &CompactArgs) -> Result<CompactReport> {
    ensure!(args.keys > 0, "--keys is 0; at least one is needed");
    ensure!(args.record_bytes > 0, "--record-bytes is 0; at least one is needed");
    let dir = tempfile::Builder::new().prefix("millrace-bench-").tempdir_in(&args.dir)?;
    let broker = BenchBroker::start(dir.path())?;
    let client = broker.connect(Transport::Tcp).await?;
    let topic = NewTopic::new(TOPIC, 1).config("segment.bytes", (100 << 20).to_string());
    client.admin().create_topic(topic).await?;
    let records = fill(&client, args).await?;
    let load = EndToEndArgs {
        workload: Workload { record_bytes: 1024, batch_records: 1, partitions: 1, topic: None },
        rate_mb: args.rate_mb,
        warmup_seconds: 1.0,
        seconds: args.seconds,
    };
    let before = end_to_end::run(&client, &load).await?.end_to_end;
    let resident_mib = broker.resident_mib()?;
    begin(&client).await?;
    wait_for_start(&broker).await?;
    let started = Instant::now();
    let mut beside = Vec::new();
    let mut resident_mib_max = resident_mib;
    while compactions(&broker)? == 0.0 || is_running(&broker).await? {
        let (measured, resident) =
            tokio::join!(end_to_end::run(&client, &load), most_resident(&broker, args));
        beside.push(measured?.end_to_end);
        resident_mib_max = resident_mib_max.max(resident?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let metrics = broker.metrics()?;
    let mb = |name: &str| metrics.get(name).copied().unwrap_or(0.0) / 1e6;
    let (read_mb, written_mb) =
        (mb("millrace_log_compaction_read_bytes_total"), mb("millrace_log_compaction_written_bytes_total"));
    let report = CompactReport {
        records,
        keys: args.keys,
        seconds,
        mb_per_second: (read_mb + written_mb) / seconds,
        read_mb,
        written_mb,
        removed_mb: mb("millrace_log_compaction_removed_bytes_total"),
        runs: compactions(&broker)?,
        resident_mib,
        resident_mib_max,
        before,
        beside,
    };
    broker.stop()?;
    Ok(report)
}

/// Writes the records, their keys in an order that has nothing to do with their numbers.
async fn fill(client: &Client, args: &CompactArgs) -> Result<u64> {
    let records = args.mb * 1_000_000 / args.record_bytes as u64;
    let producer = client.producer().acks(Acks::All).build().await?;
    producer.warm_up(TOPIC).await?;
    let mut value = vec![0; args.record_bytes];
    Noise::new(1).fill(&mut value);
    for number in 0..records {
        // An odd multiplier reaches every number of 64 bits once.
        let key = (number % args.keys).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        drop(producer.send(TOPIC, Record::value(&value).with_key(&key)).await?);
    }
    producer.close().await;
    Ok(records)
}

/// Has the topic be compacted.
async fn begin(client: &Client) -> Result<()> {
    let changes =
        [ConfigChange::set("cleanup.policy", "compact"), ConfigChange::set("min.cleanable.dirty.ratio", "0")];
    client.admin().alter_configs(&ConfigResource::Topic(TOPIC.to_owned()), &changes).await?;
    Ok(())
}

async fn wait_for_start(broker: &BenchBroker) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while read_bytes(broker)? == 0.0 {
        ensure!(Instant::now() < deadline, "compaction did not begin within {START_LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Whether anything was read within a second.
async fn is_running(broker: &BenchBroker) -> Result<bool> {
    let before = read_bytes(broker)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(read_bytes(broker)? > before)
}

/// The most memory that the broker holds for as long as is measured.
async fn most_resident(broker: &BenchBroker, args: &CompactArgs) -> Result<f64> {
    let until = Instant::now() + Duration::from_secs_f64(args.seconds);
    let mut most = broker.resident_mib()?;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
        most = most.max(broker.resident_mib()?);
    }
    Ok(most)
}

fn compactions(broker: &BenchBroker) -> Result<f64> {
    metric(broker, "millrace_log_compactions_total")
}

fn read_bytes(broker: &BenchBroker) -> Result<f64> {
    metric(broker, "millrace_log_compaction_read_bytes_total")
}

fn metric(broker: &BenchBroker, name: &str) -> Result<f64> {
    let metrics = broker.metrics()?;
    metrics.get(name).copied().with_context(|| format!("the broker has no metric {name}"))
}
