//! `millrace bench consume`: one consumer reads a topic that was filled just before.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use millrace_client::{Client, Consumer, StartAt};
use serde::Serialize;

use super::produce::{self, BenchAcks, ProduceArgs, Source};
use super::workload::{BenchTopic, Workload};

#[derive(Args, Clone, Debug)]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub workload: Workload,
    /// How long to fill the topic first. What outgrows the broker's memory for recent records
    /// (log.tail_bytes) is read from the disk
    #[arg(long, default_value_t = 0.6)]
    pub fill_seconds: f64,
    /// How often to read all of it, after one time that is not counted: a new connection starts slowly
    #[arg(long, default_value_t = 4)]
    pub passes: u64,
    /// Decode every record instead of counting them by their batches
    #[arg(long)]
    pub walk: bool,
}

/// What one run reached.
#[derive(Debug, Serialize)]
pub struct ConsumeReport {
    pub records: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    /// Bytes of the records' values, in units of 10^6.
    pub mb_per_second: f64,
}

/// Fills a topic and reads it from its beginning to its end.
pub async fn run(client: &Client, args: &ConsumeArgs) -> Result<ConsumeReport> {
    let topic = BenchTopic::prepare(client, &args.workload).await?;
    let result = fill_and_read(client, &topic.name, args).await;
    topic.remove(client).await?;
    result
}

async fn fill_and_read(client: &Client, topic: &str, args: &ConsumeArgs) -> Result<ConsumeReport> {
    let fill = ProduceArgs {
        workload: args.workload.clone(),
        acks: BenchAcks::All,
        source: Source::Prebuilt,
        partitions_per_request: 1,
        in_flight: 16,
        warmup_seconds: 0.0,
        seconds: args.fill_seconds,
    };
    let filled = produce::measure(client, topic, &fill).await?;
    read(client, topic, filled.records, args).await
}

/// Reads the topic's `records` records as often as asked for.
async fn read(client: &Client, topic: &str, records: u64, args: &ConsumeArgs) -> Result<ConsumeReport> {
    let mut consumer = client.consumer().build();
    pass(&mut consumer, topic, records, args).await?;
    let started = Instant::now();
    for _ in 0..args.passes {
        pass(&mut consumer, topic, records, args).await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    consumer.close().await;
    let records = records * args.passes;
    let records_per_second = records as f64 / seconds;
    Ok(ConsumeReport {
        records,
        seconds,
        records_per_second,
        mb_per_second: records_per_second * args.workload.record_bytes as f64 / 1e6,
    })
}

/// Reads the topic from its beginning to its end.
async fn pass(consumer: &mut Consumer, topic: &str, records: u64, args: &ConsumeArgs) -> Result<()> {
    consumer.assign_topic(topic, StartAt::Beginning).await?;
    let (mut seen, mut value_bytes) = (0, 0);
    while seen < records {
        let batch = consumer.poll_batch(Duration::from_secs(10)).await?;
        let Some(batch) = batch else {
            anyhow::bail!("no more records after {seen} of {records}: nothing came for 10 s");
        };
        seen += batch.len() as u64;
        if args.walk {
            value_bytes += batch.iter().map(|record| record.value.map_or(0, <[u8]>::len)).sum::<usize>();
        }
    }
    let expected = records as usize * args.workload.record_bytes;
    ensure!(!args.walk || value_bytes == expected, "read {value_bytes} bytes of values, not {expected}");
    Ok(())
}
