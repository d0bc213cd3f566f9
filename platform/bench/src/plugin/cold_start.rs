//! From an event to its output in a consumer's hands, in every state that a deployment can be in.
//!
//! One event at a time, to one deployment after another, each with a module and an input topic of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use millrace_client::admin::NewTopic;
use millrace_client::{Acks, Client, Consumer, Producer, Record, StartAt, Transport};
use serde::Serialize;

use super::{PluginArgs, deploy, module, wait_for_none};
use crate::broker::BenchBroker;
use crate::latency::{Latencies, Percentiles};

/// What the filter keeps, and what it does not.
const KEPT: u8 = 0;
const DROPPED: u8 = 1;
const PATIENCE: Duration = Duration::from_secs(10);

/// From handing a record to the producer (acks=all) to holding what it became.
#[derive(Debug, Serialize)]
pub struct ColdStart {
    /// Produced and fetched, no plugin in between.
    without_plugin: Percentiles,
    /// Produced, acknowledged, produced again and fetched: what any plugin's event goes through.
    produced_twice: Percentiles,
    /// An instance is there.
    warm: Percentiles,
    /// The first event ever; the code is loaded since the deploy.
    first_event: Percentiles,
    /// The instance was given back for want of work; the code is loaded.
    instance_released: Percentiles,
    /// The code was unloaded as well.
    code_unloaded: Percentiles,
}

pub async fn run(data_dir: &Path, args: &PluginArgs, module: &Bytes) -> Result<ColdStart> {
    eprintln!("cold start of {} deployments …", args.cold_deployments);
    let broker = BenchBroker::start(data_dir)?;
    let client = broker.connect(Transport::Tcp).await?;
    let count = args.cold_deployments;
    let mut probe = Probe::new(&client).await?;
    for number in 0..count {
        probe.prepare(&client, number).await?;
    }
    let plain: Vec<String> = (0..count).map(|_| "out".to_owned()).collect();
    let inputs: Vec<String> = (0..count).map(topic).collect();
    let without_plugin = probe.time(&plain, 1).await?;
    let produced_twice = probe.time(&plain, 2).await?;
    for number in 0..count {
        let module = module::distinct(module, number);
        deploy(&client, &topic(number), module, &topic(number), "out").await?;
    }
    let first_event = probe.time(&inputs, 1).await?;
    let warm = probe.time(&inputs, 1).await?;
    wait_for_none(&broker, "millrace_plugin_instances", Duration::from_secs(30)).await?;
    let instance_released = probe.time(&inputs, 1).await?;
    eprintln!("  waiting until the code is unloaded …");
    wait_for_none(&broker, "millrace_plugin_modules_loaded", Duration::from_secs(180)).await?;
    let code_unloaded = probe.time(&inputs, 1).await?;
    probe.close().await;
    client.close().await;
    broker.stop()?;
    let report =
        ColdStart { without_plugin, produced_twice, warm, first_event, instance_released, code_unloaded };
    eprintln!(
        "  p99: {} ms without a plugin, {} warm, {} released, {} unloaded",
        without_plugin.p99_ms, warm.p99_ms, instance_released.p99_ms, code_unloaded.p99_ms
    );
    Ok(report)
}

fn topic(number: u32) -> String {
    format!("event-{number}")
}

/// A producer, and a consumer of the topic where everything comes out.
struct Probe {
    producer: Producer,
    consumer: Consumer,
    next: u64,
}

impl Probe {
    async fn new(client: &Client) -> Result<Self> {
        client.admin().create_topic(NewTopic::new("out", 1)).await?;
        let producer = client.producer().acks(Acks::All).build().await?;
        producer.warm_up("out").await?;
        let mut consumer = client.consumer().build();
        consumer.assign_topic("out", StartAt::Beginning).await?;
        Ok(Self { producer, consumer, next: 0 })
    }

    /// Makes an input topic and has a record in it that no deployment is given, so that neither the producer
    /// nor the log does anything for the first time later.
    async fn prepare(&mut self, client: &Client, number: u32) -> Result<()> {
        let topic = topic(number);
        client.admin().create_topic(NewTopic::new(&topic, 1)).await?;
        self.producer.warm_up(&topic).await?;
        self.producer.send(&topic, Record::value(&[DROPPED])).await?.await?;
        Ok(())
    }

    /// An event to each of the topics, one after the other. All but the last of `times` acknowledgements are
    /// waited for; the last record's output is.
    async fn time(&mut self, topics: &[String], times: u32) -> Result<Percentiles> {
        let mut latencies = Latencies::new();
        for topic in topics {
            let started = Instant::now();
            for _ in 1..times {
                self.producer.send(topic, Record::value(&[DROPPED])).await?.await?;
            }
            let number = self.next.to_le_bytes();
            self.next += 1;
            let mut value = vec![KEPT];
            value.extend(number);
            let delivery = self.producer.send(topic, Record::value(&value)).await?;
            self.wait_for(&value).await.with_context(|| format!("an event of topic '{topic}'"))?;
            latencies.record(started.elapsed());
            delivery.await?;
        }
        Ok(latencies.percentiles())
    }

    async fn wait_for(&mut self, value: &[u8]) -> Result<()> {
        loop {
            let batch = self.consumer.poll_batch(PATIENCE).await?;
            let batch = batch.with_context(|| format!("nothing came out for {PATIENCE:?}"))?;
            if batch.iter().any(|record| record.value == Some(value)) {
                return Ok(());
            }
        }
    }

    async fn close(mut self) {
        self.consumer.close().await;
        self.producer.close().await;
    }
}
