//! Many deployments without work: the memory that each takes, and what producers notice of them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use millrace_client::admin::NewTopic;
use millrace_client::{Client, Transport};
use serde::Serialize;

use super::{PluginArgs, deploy, module, wait_for_none};
use crate::broker::BenchBroker;
use crate::latency::Percentiles;
use crate::produce::{self, BenchAcks, ProduceArgs, Source};
use crate::workload::Workload;

/// Topics that the deployments read, in turn.
const INPUTS: u32 = 50;
/// Deployments before the first look at the memory: what these touch first, the others share.
const FIRST: u32 = 50;
/// Deploys at one time: one compiles while another's metadata is on its way to the disk.
const AT_ONCE: usize = 4;

#[derive(Debug, Serialize)]
pub struct Idle {
    deployments: u32,
    deploys_per_second: f64,
    resident_before_mib: f64,
    /// With every module's code still loaded.
    resident_deployed_mib: f64,
    /// With the code unloaded.
    resident_after_mib: f64,
    kb_each: f64,
    restarted: Restarted,
    /// Lone records of 1 KiB to another topic, acks=all.
    produce_before: Percentiles,
    produce_with: Percentiles,
    idle_cpu_percent: f64,
}

/// The broker started anew with all deployments: what they take, without what their deploys left behind.
#[derive(Debug, Serialize)]
struct Restarted {
    ready_after_ms: f64,
    resident_mib: f64,
    /// More than the empty broker had when it was started.
    kb_each: f64,
}

pub async fn run(data_dir: &Path, args: &PluginArgs, module: &Bytes) -> Result<Idle> {
    eprintln!("{} idle deployments …", args.idle_deployments);
    let broker = BenchBroker::start(data_dir)?;
    let client = broker.connect(Transport::Tcp).await?;
    for topic in (0..INPUTS).map(input).chain(["out".to_owned(), "other".to_owned()]) {
        client.admin().create_topic(NewTopic::new(topic, 1)).await.context("make the topics")?;
    }
    let resident_empty = broker.resident_mib()?;
    deploy_all(&client, 0..FIRST, module).await?;
    let produce_before = lone_records(&client).await?;
    let resident_before = broker.resident_mib()?;

    let (started, count) = (Instant::now(), args.idle_deployments);
    deploy_all(&client, FIRST..FIRST + count, module).await?;
    let deploys_per_second = f64::from(count) / started.elapsed().as_secs_f64();
    let resident_deployed = broker.resident_mib()?;
    eprintln!("  {deploys_per_second:.0} deploys/s; waiting until the code is unloaded …");
    wait_for_none(&broker, "millrace_plugin_modules_loaded", Duration::from_secs(180)).await?;
    let resident_after = broker.resident_mib()?;
    let (time, cpu) = (Duration::from_secs(5), broker.cpu_time()?);
    tokio::time::sleep(time).await;
    let idle_cpu = (broker.cpu_time()? - cpu).as_secs_f64() / time.as_secs_f64();
    let produce_with = lone_records(&client).await?;
    client.close().await;
    broker.stop()?;

    let restarted = restart(data_dir, resident_empty, FIRST + count)?;
    let kb_each = kb_each(resident_after - resident_before, count);
    eprintln!("  {kb_each:.1} KB each, {:.1} after a restart", restarted.kb_each);
    Ok(Idle {
        deployments: count,
        deploys_per_second,
        resident_before_mib: resident_before,
        resident_deployed_mib: resident_deployed,
        resident_after_mib: resident_after,
        kb_each,
        restarted,
        produce_before,
        produce_with,
        idle_cpu_percent: 100.0 * idle_cpu,
    })
}

fn input(number: u32) -> String {
    format!("input-{}", number % INPUTS)
}

async fn deploy_all(client: &Client, numbers: std::ops::Range<u32>, module: &Bytes) -> Result<()> {
    let deploys = numbers.map(|number| async move {
        let module = module::distinct(module, number);
        deploy(client, &format!("idle-{number}"), module, &input(number), "out").await
    });
    stream::iter(deploys).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

async fn lone_records(client: &Client) -> Result<Percentiles> {
    let args = ProduceArgs {
        workload: Workload { record_bytes: 1024, batch_records: 1, partitions: 1, topic: None },
        acks: BenchAcks::All,
        source: Source::Prebuilt,
        partitions_per_request: 1,
        in_flight: 1,
        warmup_seconds: 0.5,
        seconds: 4.0,
    };
    Ok(produce::measure(client, "other", &args).await?.latency)
}

fn restart(data_dir: &Path, resident_empty: f64, deployments: u32) -> Result<Restarted> {
    let broker = BenchBroker::start(data_dir)?;
    // Until every deployment has found its offsets; the broker is ready before.
    let mut busy = broker.cpu_time()?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = broker.cpu_time()?;
        if now - busy < Duration::from_millis(100) {
            break;
        }
        busy = now;
    }
    let resident_mib = broker.resident_mib()?;
    let restarted = Restarted {
        ready_after_ms: broker.ready_after.as_secs_f64() * 1e3,
        resident_mib,
        kb_each: kb_each(resident_mib - resident_empty, deployments),
    };
    broker.stop()?;
    Ok(restarted)
}

fn kb_each(mib: f64, count: u32) -> f64 {
    mib * f64::from(1 << 20) / 1e3 / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_out_in_units_of_1000_bytes() {
        assert!((kb_each(100.0, 1024) - 102.4).abs() < 1e-9);
    }

    #[test]
    fn inputs_are_read_in_turn() {
        assert_eq!(input(0), input(INPUTS));
        assert_ne!(input(0), input(1));
    }
}
