//! How long it takes until a module runs that the broker has not seen before.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use millrace_client::Transport;
use millrace_client::admin::NewTopic;
use serde::Serialize;

use super::{deploy, module};
use crate::broker::BenchBroker;
use crate::latency::{Latencies, Percentiles};

const LARGE: usize = 1 << 20;
const TIMES: u32 = 5;

/// Upload, check, compile and deploy, until the workers know where they begin.
#[derive(Debug, Serialize)]
pub struct Deploys {
    module: Percentiles,
    /// The module with its own functions over and over.
    large_module_bytes: usize,
    large_module: Percentiles,
}

pub async fn run(data_dir: &Path, module: &Bytes) -> Result<Deploys> {
    eprintln!("deploy …");
    let broker = BenchBroker::start(data_dir)?;
    let client = broker.connect(Transport::Tcp).await?;
    for topic in ["in", "out"] {
        client.admin().create_topic(NewTopic::new(topic, 1)).await?;
    }
    // Makes the host, which a broker without plugins does not have.
    deploy(&client, "warm-up", module.clone(), "in", "out").await?;
    let large = module::padded(module, LARGE)?;
    let mut percentiles = Vec::new();
    for (name, module) in [("small", module), ("large", &large)] {
        let mut latencies = Latencies::new();
        for number in 1..=TIMES {
            let module = module::distinct(module, number);
            let started = Instant::now();
            deploy(&client, &format!("{name}-{number}"), module, "in", "out").await?;
            latencies.record(started.elapsed());
        }
        let times = latencies.percentiles();
        eprintln!("  {} bytes: median {} ms", module.len(), times.p50_ms);
        percentiles.push(times);
    }
    client.close().await;
    broker.stop()?;
    Ok(Deploys { module: percentiles[0], large_module_bytes: large.len(), large_module: percentiles[1] })
}
