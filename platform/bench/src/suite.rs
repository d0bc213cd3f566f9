//! `millrace bench suite`: all figures in one run, against a broker of its own on an empty directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use millrace_client::{Client, Transport};
use serde::Serialize;
use serde_json::{Value, json};

use super::broker::BenchBroker;
use super::consume::{self, ConsumeArgs};
use super::end_to_end::{self, EndToEndArgs};
use super::produce::{self, BenchAcks, ProduceArgs, Source};
use super::workload::Workload;
use super::{LimitArgs, LimitReport, limit};

#[derive(Args, Clone, Debug)]
pub struct SuiteArgs {
    /// Where the broker keeps its data; a new directory inside of it is made and removed
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// How long each figure is measured
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Only the figures whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct SuiteReport {
    limit: Option<LimitReport>,
    idle: Idle,
    figures: Vec<Figure>,
}

/// The broker before it has done anything.
#[derive(Debug, Serialize)]
struct Idle {
    ready_after_ms: f64,
    resident_mib: f64,
    cpu_percent: f64,
}

/// One figure, with what the broker did meanwhile.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    result: Value,
    broker: Value,
}

pub async fn run(args: &SuiteArgs) -> Result<SuiteReport> {
    let dir = tempfile::Builder::new().prefix("millrace-bench-").tempdir_in(&args.dir)?;
    warm_memory(dir.path())?;
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only));
    let limit = match wanted("limit") {
        true => Some(limit(&LimitArgs { dir: dir.path().to_owned(), seconds: args.seconds.min(3.0) }).await?),
        false => None,
    };
    let broker = BenchBroker::start(&dir.path().join("data"))?;
    let idle = idle(&broker)?;
    warm_broker(&broker).await?;
    let mut figures = Vec::new();
    for case in cases(args.seconds) {
        if wanted(&case.name) {
            eprintln!("{} …", case.name);
            let figure = measure(&broker, &case).await.with_context(|| case.name.clone())?;
            eprintln!("  {}", figure.result);
            figures.push(figure);
        }
    }
    broker.stop()?;
    Ok(SuiteReport { limit, idle, figures })
}

/// Memory that a virtual machine has not used yet is slow at its first touch: use some, give it back.
fn warm_memory(dir: &Path) -> Result<()> {
    use std::io::Write;
    let path = dir.join("warm");
    let mut file = std::fs::File::create(&path)?;
    let block = vec![1; 4 << 20];
    for _ in 0..(3 << 30) / block.len() {
        file.write_all(&block)?;
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(())
}

/// Fills the broker's memory for recent records once, so that what follows finds it in use.
async fn warm_broker(broker: &BenchBroker) -> Result<()> {
    eprintln!("warming up …");
    let client = broker.connect(Transport::Tcp).await?;
    let fill = produce_args(1024, 1, Source::Prebuilt, 3.0);
    produce::run(&client, &fill).await?;
    client.close().await;
    Ok(())
}

fn idle(broker: &BenchBroker) -> Result<Idle> {
    let time = Duration::from_secs(5);
    let before = broker.cpu_time()?;
    std::thread::sleep(time);
    let used = broker.cpu_time()? - before;
    Ok(Idle {
        ready_after_ms: broker.ready_after.as_secs_f64() * 1e3,
        resident_mib: broker.resident_mib()?,
        cpu_percent: 100.0 * used.as_secs_f64() / time.as_secs_f64(),
    })
}

struct Case {
    name: String,
    transport: Transport,
    bench: Bench,
}

enum Bench {
    Produce(ProduceArgs),
    Consume(ConsumeArgs),
    EndToEnd(EndToEndArgs),
}

fn produce_args(record_bytes: usize, partitions: i32, source: Source, seconds: f64) -> ProduceArgs {
    ProduceArgs {
        workload: Workload { record_bytes, batch_records: 1000, partitions, topic: None },
        acks: BenchAcks::All,
        source,
        partitions_per_request: 1,
        in_flight: 16,
        warmup_seconds: 1.0,
        seconds,
    }
}

fn cases(seconds: f64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, transport: Transport, bench: Bench| {
        let transport_name = transport.name().to_lowercase();
        cases.push(Case { name: format!("{transport_name} {name}"), transport, bench });
    };
    let produce = |record_bytes, partitions, source| produce_args(record_bytes, partitions, source, seconds);
    let consume = |record_bytes, walk| ConsumeArgs {
        workload: Workload { record_bytes, batch_records: 1000, partitions: 1, topic: None },
        fill_seconds: 0.6,
        passes: 4,
        walk,
    };
    for transport in [Transport::Quic, Transport::Tcp] {
        add("produce 1 KiB", transport, Bench::Produce(produce(1024, 1, Source::Prebuilt)));
        add("produce 1 KiB through the SDK", transport, Bench::Produce(produce(1024, 1, Source::Producer)));
        add("consume 1 KiB", transport, Bench::Consume(consume(1024, false)));
        add("produce 100 B", transport, Bench::Produce(produce(100, 1, Source::Prebuilt)));
        add("produce 100 B through the SDK", transport, Bench::Produce(produce(100, 1, Source::Producer)));
        add("consume 100 B, every record decoded", transport, Bench::Consume(consume(100, true)));
        let lone = |source| {
            let args = produce(1024, 1, source);
            let workload = Workload { batch_records: 1, ..args.workload };
            Bench::Produce(ProduceArgs { workload, in_flight: 1, ..args })
        };
        add("lone record", transport, lone(Source::Prebuilt));
        add("lone record through the SDK", transport, lone(Source::Producer));
        let end_to_end = EndToEndArgs {
            workload: Workload { record_bytes: 1024, batch_records: 1, partitions: 1, topic: None },
            rate_mb: 20.0,
            warmup_seconds: 2.0,
            seconds: 2.0 * seconds,
        };
        add("end to end at 20 MB/s", transport, Bench::EndToEnd(end_to_end));
        for partitions in [10, 1000] {
            let mut args = produce(1024, partitions, Source::Prebuilt);
            // The same batches and requests for both: 10 partitions a request, 64 KiB each.
            args.workload.batch_records = 64;
            args.partitions_per_request = 10;
            add(&format!("produce 1 KiB to {partitions} partitions"), transport, Bench::Produce(args));
        }
        add("produce 1 KiB to 10 partitions, large", transport, {
            Bench::Produce(produce(1024, 10, Source::Prebuilt))
        });
    }
    cases
}

async fn measure(broker: &BenchBroker, case: &Case) -> Result<Figure> {
    let client: Client = broker.connect(case.transport).await?;
    let (metrics, cpu) = (broker.metrics()?, broker.cpu_time()?);
    let result = match &case.bench {
        Bench::Produce(args) => serde_json::to_value(produce::run(&client, args).await?),
        Bench::Consume(args) => serde_json::to_value(consume::run(&client, args).await?),
        Bench::EndToEnd(args) => serde_json::to_value(end_to_end::run(&client, args).await?),
    }?;
    client.close().await;
    let (after, cpu) = (broker.metrics()?, broker.cpu_time()? - cpu);
    let delta =
        |name: &str| after.get(name).copied().unwrap_or(0.0) - metrics.get(name).copied().unwrap_or(0.0);
    let appended = delta("millrace_log_appended_bytes_total");
    let written = delta("millrace_log_wal_bytes_total") + delta("millrace_log_segment_bytes_total");
    let broker = json!({
        "cpu_seconds": cpu.as_secs_f64(),
        "resident_mib": broker.resident_mib()?,
        "appended_bytes": appended,
        "disk_bytes_per_appended_byte": if appended > 0.0 { written / appended } else { 0.0 },
        "syncs": delta("millrace_log_syncs_total"),
    });
    Ok(Figure { name: case.name.clone(), result, broker })
}
