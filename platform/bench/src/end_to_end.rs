//! `millrace bench end-to-end`: from the instant a record was due to the instant a consumer holds it.
//!
//! The schedule is fixed beforehand (one record every `record bytes / rate`), and a record's latency counts
//! from its place in the schedule, not from when the sender got round to it: a stall is charged to every
//! record that it delayed (no coordinated omission).

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use millrace_client::{Acks, Client, Consumer, Producer, Record, StartAt};
use serde::Serialize;

use super::latency::{Latencies, Percentiles};
use super::workload::{BenchTopic, Noise, Workload};

#[derive(Args, Clone, Debug)]
pub struct EndToEndArgs {
    #[command(flatten)]
    pub workload: Workload,
    /// Rate of the schedule in 10^6 bytes of values a second
    #[arg(long, default_value_t = 20.0, value_name = "MB")]
    pub rate_mb: f64,
    /// Warm-up that is not counted
    #[arg(long, default_value_t = 2.0)]
    pub warmup_seconds: f64,
    /// How long to measure
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// What one run reached.
#[derive(Debug, Serialize)]
pub struct EndToEndReport {
    pub scheduled_records_per_second: f64,
    pub records: u64,
    /// From the scheduled instant to the consumer.
    pub end_to_end: Percentiles,
}

/// When each record is due: record `n` at `start + n * period`.
#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    period: Duration,
    warmup_records: u64,
    records: u64,
}

impl Schedule {
    fn due(&self, n: u64) -> Instant {
        self.start + Duration::from_nanos(self.period.as_nanos() as u64 * n)
    }
}

/// Makes the topic, runs, and removes the topic.
pub async fn run(client: &Client, args: &EndToEndArgs) -> Result<EndToEndReport> {
    ensure!(args.rate_mb > 0.0, "--rate-mb is {}; it must be above 0", args.rate_mb);
    ensure!(
        args.workload.record_bytes >= 8,
        "--record-bytes must be at least 8: a record carries its number"
    );
    let topic = BenchTopic::prepare(client, &args.workload).await?;
    let result = measure(client, &topic.name, args).await;
    topic.remove(client).await?;
    result
}

async fn measure(client: &Client, topic: &str, args: &EndToEndArgs) -> Result<EndToEndReport> {
    let producer = client.producer().acks(Acks::All).build().await?;
    producer.warm_up(topic).await?;
    let mut consumer = client.consumer().build();
    consumer.assign_topic(topic, StartAt::Beginning).await?;
    let per_second = args.rate_mb * 1e6 / args.workload.record_bytes as f64;
    let count = |seconds: f64| (seconds * per_second) as u64;
    let schedule = Schedule {
        start: Instant::now() + Duration::from_millis(200),
        period: Duration::from_secs_f64(1.0 / per_second),
        warmup_records: count(args.warmup_seconds),
        records: count(args.warmup_seconds + args.seconds),
    };
    let sender = spawn_sender(producer, topic.to_owned(), args.workload.clone(), schedule)?;
    let latencies = receive(&mut consumer, schedule).await?;
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    consumer.close().await;
    Ok(EndToEndReport {
        scheduled_records_per_second: per_second,
        records: schedule.records - schedule.warmup_records,
        end_to_end: latencies.percentiles(),
    })
}

/// A thread of its own, because the runtime's timers are a millisecond apart.
fn spawn_sender(
    producer: Producer,
    topic: String,
    workload: Workload,
    schedule: Schedule,
) -> Result<thread::JoinHandle<Result<()>>> {
    let runtime = tokio::runtime::Handle::current();
    let send_all = move || {
        let _entered = runtime.enter();
        let mut value = vec![0; workload.record_bytes];
        Noise::new(1).fill(&mut value);
        let partitions = workload.partitions as u64;
        for n in 0..schedule.records {
            if let Some(wait) = schedule.due(n).checked_duration_since(Instant::now()) {
                thread::sleep(wait);
            }
            value[..8].copy_from_slice(&n.to_le_bytes());
            let record = Record::value(&value).with_partition((n % partitions) as i32);
            // The consumer sees whether it arrived.
            drop(producer.try_send(&topic, record).context("send on schedule")?);
        }
        runtime.block_on(producer.close());
        Ok(())
    };
    thread::Builder::new().name("bench-sender".to_owned()).spawn(send_all).context("start the sender")
}

async fn receive(consumer: &mut Consumer, schedule: Schedule) -> Result<Latencies> {
    let mut latencies = Latencies::new();
    let mut received = 0;
    while received < schedule.records {
        let batch = consumer.poll_batch(Duration::from_secs(10)).await?;
        let batch = batch.with_context(|| format!("nothing came for 10 s after {received} records"))?;
        let now = Instant::now();
        for record in batch.iter() {
            let number = record.value.and_then(|value| value.first_chunk::<8>());
            let n = u64::from_le_bytes(*number.context("a record without its number")?);
            if n >= schedule.warmup_records {
                latencies.record(now.saturating_duration_since(schedule.due(n)));
            }
            received += 1;
        }
    }
    Ok(latencies)
}
