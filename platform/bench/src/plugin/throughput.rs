//! From topic to topic: a filter over records that are there already, beside a plain produce of the same data.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millrace_client::admin::NewTopic;
use millrace_client::plugins::StartPosition;
use millrace_client::{Client, Transport};
use serde::Serialize;

use super::{PluginArgs, definition};
use crate::broker::BenchBroker;
use crate::produce::{self, BenchAcks, ProduceArgs, ProduceReport, Source};
use crate::workload::Workload;

/// How often it is looked how far the plugin is: far less than what is measured, and far more than looking costs.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A partition that does not come further in this time never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rounds that count. One before them does not: memory is touched, threads start, the module is compiled.
const ROUNDS: usize = 3;

#[derive(Debug, Serialize)]
pub struct Throughput {
    partitions: i32,
    record_bytes: usize,
    rounds: Vec<Round>,
    /// The median of the rounds.
    records_per_cpu_second: f64,
    /// The median of the rounds.
    ratio_to_produce: f64,
}

/// Records produced to a new topic, and the same records through a deployment of its own.
#[derive(Debug, Serialize)]
struct Round {
    /// Prebuilt batches over TCP, acks=all.
    produce: ProduceReport,
    produce_records_per_cpu_second: f64,
    filter: Pass,
    ratio_to_produce: f64,
}

/// The whole input once through a deployment.
#[derive(Clone, Copy, Debug, Serialize)]
struct Pass {
    records_read: i64,
    records_written: f64,
    seconds: f64,
    records_per_second: f64,
    /// Of the whole broker.
    cpu_seconds: f64,
    records_per_cpu_second: f64,
    /// Of it, the plugin's calls: compiled code and what it calls of the host.
    plugin_cpu_seconds: f64,
}

pub async fn run(data_dir: &Path, args: &PluginArgs, module: &Bytes) -> Result<Throughput> {
    eprintln!("topic to topic …");
    let broker = BenchBroker::start(data_dir)?;
    let client = broker.connect(Transport::Tcp).await?;
    let mut rounds = Vec::new();
    for number in 0..=ROUNDS {
        let round = round(&broker, &client, args, module, number).await?;
        if number > 0 {
            eprintln!(
                "  produced {:.1} M records/s, filtered {:.1} ({:.1} a CPU-second)",
                round.produce.records_per_second / 1e6,
                round.filter.records_per_second / 1e6,
                round.filter.records_per_cpu_second / 1e6
            );
            rounds.push(round);
        }
    }
    client.close().await;
    broker.stop()?;
    Ok(Throughput {
        partitions: args.partitions,
        record_bytes: fill_args(args).workload.record_bytes,
        records_per_cpu_second: median(rounds.iter().map(|round| round.filter.records_per_cpu_second)),
        ratio_to_produce: median(rounds.iter().map(|round| round.ratio_to_produce)),
        rounds,
    })
}

async fn round(
    broker: &BenchBroker,
    client: &Client,
    args: &PluginArgs,
    module: &Bytes,
    number: usize,
) -> Result<Round> {
    let [input, output] = ["in", "out"].map(|name| format!("{name}-{number}"));
    for topic in [&input, &output] {
        client
            .admin()
            .create_topic(NewTopic::new(topic, args.partitions))
            .await
            .context("make the topics")?;
    }
    let cpu = broker.cpu_time()?;
    let produce = produce::measure(client, &input, &fill_args(args)).await?;
    let produce_cpu = broker.cpu_time()? - cpu;
    let filter = pass(broker, client, module, &input, &output).await?;
    ensure!(
        filter.records_read == i64::try_from(produce.records)?,
        "the plugin read {} records of {}",
        filter.records_read,
        produce.records
    );
    for topic in [&input, &output] {
        client.admin().delete_topic(topic).await?;
    }
    Ok(Round {
        produce_records_per_cpu_second: produce.records as f64 / produce_cpu.as_secs_f64(),
        ratio_to_produce: filter.records_per_second / produce.records_per_second,
        produce,
        filter,
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn fill_args(args: &PluginArgs) -> ProduceArgs {
    ProduceArgs {
        workload: Workload {
            record_bytes: 100,
            batch_records: 1000,
            partitions: args.partitions,
            topic: None,
        },
        acks: BenchAcks::All,
        source: Source::Prebuilt,
        partitions_per_request: 1,
        in_flight: 16,
        warmup_seconds: 0.0,
        seconds: args.fill_seconds,
    }
}

/// From the deploy to the commit of the last record.
async fn pass(
    broker: &BenchBroker,
    client: &Client,
    module: &Bytes,
    input: &str,
    output: &str,
) -> Result<Pass> {
    let (plugins, name) = (client.plugins(), "filter");
    let info = plugins.upload(module.clone(), |_, _| {}).await?;
    let before = broker.metrics()?;
    let (started, cpu) = (Instant::now(), broker.cpu_time()?);
    plugins.deploy(name, definition(info.digest, input, output, StartPosition::Earliest), false).await?;
    let records_read = finished(client, name).await?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), broker.cpu_time()? - cpu);
    let after = broker.metrics()?;
    plugins.delete(name).await?;
    let delta =
        |name: &str| after.get(name).copied().unwrap_or(0.0) - before.get(name).copied().unwrap_or(0.0);
    Ok(Pass {
        records_read,
        records_written: delta("millrace_plugin_records_out_total"),
        seconds,
        records_per_second: records_read as f64 / seconds,
        cpu_seconds: cpu.as_secs_f64(),
        records_per_cpu_second: records_read as f64 / cpu.as_secs_f64(),
        plugin_cpu_seconds: delta("millrace_plugin_cpu_seconds_total"),
    })
}

/// Waits until everything is committed; returns how many records that were.
async fn finished(client: &Client, name: &str) -> Result<i64> {
    let (mut offsets, mut moved) = (0, Instant::now());
    loop {
        let partitions = client.plugins().describe(name).await?.partitions;
        let now: i64 = partitions.iter().filter_map(|partition| partition.offset).sum();
        if partitions.iter().all(|partition| partition.lag() == Some(0)) {
            return Ok(now);
        }
        if let Some(error) = partitions.iter().find_map(|partition| partition.error.as_ref()) {
            anyhow::bail!("the plugin fails: {error}");
        }
        if now != offsets {
            (offsets, moved) = (now, Instant::now());
        }
        ensure!(moved.elapsed() < PATIENCE, "the plugin is at {now} records for {PATIENCE:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
