//! `millrace bench produce`: one producer, as fast as it goes or one record at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use millrace_base::{Payload, Piece, TopicId};
use millrace_client::raw::FrameLane;
use millrace_client::{Acks, Client, Delivery, Record};
use millrace_protocol::StrBytes;
use millrace_protocol::frame::{decode_body, decode_response_header};
use millrace_protocol::messages::{ApiKey, ProduceResponse};
use millrace_protocol::produce::{ProduceBody, ProducePartition, ProduceTopic, encode_produce_request};
use serde::Serialize;

use super::latency::{Latencies, Percentiles};
use super::workload::{BenchTopic, Noise, Workload};

/// The newest version that names topics by name, which is all that the benchmark knows of them.
const PRODUCE_VERSION: i16 = 12;

#[derive(Args, Clone, Debug)]
pub struct ProduceArgs {
    #[command(flatten)]
    pub workload: Workload,
    /// When the broker answers: 0, 1 or all
    #[arg(long, default_value = "all", value_name = "ACKS")]
    pub acks: BenchAcks,
    /// Where records come from
    #[arg(long, value_enum, default_value_t = Source::Prebuilt)]
    pub source: Source,
    /// Partitions that share a request (prebuilt batches)
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub partitions_per_request: usize,
    /// Requests in flight (prebuilt batches). With the SDK's producer 1 means one record at a time
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub in_flight: usize,
    /// Warm-up that is not counted
    #[arg(long, default_value_t = 1.0)]
    pub warmup_seconds: f64,
    /// How long to measure
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Batches built beforehand: measures broker and transport
    Prebuilt,
    /// The SDK's producer, record by record: measures what an application gets
    Producer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchAcks {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    All,
}

impl BenchAcks {
    const fn on_wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }

    const fn of_producer(self) -> Acks {
        match self {
            Self::None => Acks::None,
            Self::Leader => Acks::Leader,
            Self::All => Acks::All,
        }
    }
}

/// What one run reached.
#[derive(Debug, Serialize)]
pub struct ProduceReport {
    pub records: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    /// Bytes of the records' values, in units of 10^6.
    pub mb_per_second: f64,
    /// From handing over a request (or a lone record) to its acknowledgement.
    pub latency: Percentiles,
}

impl ProduceReport {
    fn new(records: u64, took: Duration, record_bytes: usize, latencies: &Latencies) -> Self {
        let seconds = took.as_secs_f64();
        let records_per_second = records as f64 / seconds;
        Self {
            records,
            seconds,
            records_per_second,
            mb_per_second: records_per_second * record_bytes as f64 / 1e6,
            latency: latencies.percentiles(),
        }
    }
}

/// Makes the topic, runs, and removes the topic.
pub async fn run(client: &Client, args: &ProduceArgs) -> Result<ProduceReport> {
    let topic = BenchTopic::prepare(client, &args.workload).await?;
    let result = measure(client, &topic.name, args).await;
    topic.remove(client).await?;
    result
}

/// Runs against an existing topic.
pub async fn measure(client: &Client, topic: &str, args: &ProduceArgs) -> Result<ProduceReport> {
    match (args.source, args.in_flight) {
        (Source::Prebuilt, _) => prebuilt(client, topic, args).await,
        (Source::Producer, 1) => one_at_a_time(client, topic, args).await,
        (Source::Producer, _) => through_producer(client, topic, args).await,
    }
}

async fn prebuilt(client: &Client, topic: &str, args: &ProduceArgs) -> Result<ProduceReport> {
    ensure!(
        args.acks != BenchAcks::None,
        "prebuilt batches need an answer to count: use --acks 1 or all, or --source producer"
    );
    ensure!(args.in_flight > 0, "--in-flight is 0; at least one request must be in flight");
    let mut requests = Requests::new(topic, args)?;
    let lane = lane_to_leader(client, topic).await?;
    let mut window = Window { lane, in_flight: FuturesOrdered::new(), latencies: Latencies::new() };
    window.keep_full(&mut requests, args.in_flight, Duration::from_secs_f64(args.warmup_seconds)).await?;
    window.latencies = Latencies::new();
    let started = Instant::now();
    let sent = window.keep_full(&mut requests, args.in_flight, Duration::from_secs_f64(args.seconds)).await?;
    let records = sent * requests.records_per_request as u64;
    Ok(ProduceReport::new(records, started.elapsed(), args.workload.record_bytes, &window.latencies))
}

/// The next request, partition after partition.
pub struct Requests {
    topic: StrBytes,
    batch: Bytes,
    acks: i16,
    partitions: i32,
    partitions_per_request: usize,
    pub records_per_request: usize,
    next_partition: i32,
    next_correlation_id: i32,
}

impl Requests {
    pub fn new(topic: &str, args: &ProduceArgs) -> Result<Self> {
        let per_request = args.partitions_per_request;
        ensure!(
            (1..=args.workload.partitions as usize).contains(&per_request),
            "--partitions-per-request is {per_request}; allowed is 1 to --partitions, {}",
            args.workload.partitions
        );
        Ok(Self {
            topic: StrBytes::from_string(topic.to_owned()),
            batch: args.workload.batch()?,
            acks: args.acks.on_wire(),
            partitions: args.workload.partitions,
            partitions_per_request: per_request,
            records_per_request: per_request * args.workload.batch_records,
            next_partition: 0,
            next_correlation_id: 0,
        })
    }

    fn next(&mut self) -> Result<Vec<Bytes>> {
        let partitions = (0..self.partitions_per_request).map(|_| {
            let index = self.next_partition;
            self.next_partition = (index + 1) % self.partitions;
            ProducePartition { index, records: Payload::from(self.batch.clone()) }
        });
        let topic = ProduceTopic {
            name: self.topic.clone(),
            topic_id: TopicId::ZERO,
            partitions: partitions.collect(),
        };
        let body =
            ProduceBody { transactional_id: None, acks: self.acks, timeout_ms: 30_000, topics: vec![topic] };
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let frame =
            encode_produce_request(self.next_correlation_id, Some("millrace-bench"), PRODUCE_VERSION, body);
        let bytes_of = |piece| match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::File { .. } => unreachable!("the frame was made of memory alone"),
        };
        Ok(frame?.into_pieces().into_iter().map(bytes_of).collect())
    }
}

/// A lane with a bounded number of requests on it.
struct Window {
    lane: FrameLane,
    /// Each resolves to when its request was sent.
    in_flight: FuturesOrdered<BoxFuture<'static, Result<Instant>>>,
    latencies: Latencies,
}

impl Window {
    /// Sends for `time`, then waits for what is left. Returns the number of requests that were answered.
    async fn keep_full(&mut self, requests: &mut Requests, limit: usize, time: Duration) -> Result<u64> {
        let started = Instant::now();
        let mut answered = 0;
        loop {
            while self.in_flight.len() < limit && started.elapsed() < time {
                let sent_at = Instant::now();
                let answer = self.lane.send(requests.next()?);
                let answer = answer.map(move |frame| check_answer(frame?).map(|()| sent_at));
                self.in_flight.push_back(answer.boxed());
            }
            match self.in_flight.next().await {
                Some(sent_at) => self.latencies.record(sent_at?.elapsed()),
                None => return Ok(answered),
            }
            answered += 1;
        }
    }
}

fn check_answer(frame: Bytes) -> Result<()> {
    let (_, mut body) = decode_response_header(frame, ApiKey::Produce, PRODUCE_VERSION)?;
    let response: ProduceResponse = decode_body(&mut body, PRODUCE_VERSION)?;
    for topic in &response.responses {
        for partition in &topic.partition_responses {
            if partition.error_code != 0 {
                let message = partition.error_message.as_ref().map_or("no message", StrBytes::as_str);
                bail!("partition {} answered error {}: {message}", partition.index, partition.error_code);
            }
        }
    }
    Ok(())
}

async fn lane_to_leader(client: &Client, topic: &str) -> Result<FrameLane> {
    let topic = client.admin().describe_topic(topic).await?;
    let leader = topic.partitions.first().and_then(|partition| partition.leader);
    let leader = leader.context("the topic's first partition has no leader")?;
    ensure!(
        topic.partitions.iter().all(|partition| partition.leader == Some(leader)),
        "the partitions have several leaders; prebuilt batches go to one broker"
    );
    Ok(FrameLane::open(client, leader).await?)
}

/// Record by record, as fast as the producer takes them.
async fn through_producer(client: &Client, topic: &str, args: &ProduceArgs) -> Result<ProduceReport> {
    let producer = client.producer().acks(args.acks.of_producer()).build().await?;
    producer.warm_up(topic).await?;
    let mut value = vec![0; args.workload.record_bytes];
    Noise::new(1).fill(&mut value);
    let mut deliveries: VecDeque<(Instant, Delivery)> = VecDeque::new();
    let mut latencies = Latencies::new();
    let warm = Instant::now() + Duration::from_secs_f64(args.warmup_seconds);
    let (mut started, mut records) = (None, 0_u64);
    loop {
        // One look at the clock for many records, as an application would have it.
        let now = Instant::now();
        if started.is_none() && now >= warm {
            producer.flush().await;
            started = Some(Instant::now());
            (records, latencies) = (0, Latencies::new());
        }
        if started.is_some_and(|started| now - started >= Duration::from_secs_f64(args.seconds)) {
            break;
        }
        for _ in 0..256 {
            deliveries.push_back((now, producer.send(topic, Record::value(&value)).await?));
        }
        records += 256;
        while let Some((sent_at, delivery)) = deliveries.front_mut() {
            let Some(stored) = delivery.now_or_never() else { break };
            stored?;
            latencies.record(sent_at.elapsed());
            deliveries.pop_front();
        }
    }
    for (sent_at, delivery) in deliveries {
        delivery.await?;
        latencies.record(sent_at.elapsed());
    }
    let took = started.map_or(Duration::ZERO, |started| started.elapsed());
    producer.close().await;
    Ok(ProduceReport::new(records, took, args.workload.record_bytes, &latencies))
}

async fn one_at_a_time(client: &Client, topic: &str, args: &ProduceArgs) -> Result<ProduceReport> {
    let producer = client.producer().acks(args.acks.of_producer()).build().await?;
    producer.warm_up(topic).await?;
    let value = vec![b'x'; args.workload.record_bytes];
    let mut latencies = Latencies::new();
    let warm = Instant::now() + Duration::from_secs_f64(args.warmup_seconds);
    while Instant::now() < warm {
        producer.send(topic, Record::value(&value)).await?.await?;
    }
    let (started, mut records) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs_f64(args.seconds) {
        let sent_at = Instant::now();
        producer.send(topic, Record::value(&value)).await?.await?;
        latencies.record(sent_at.elapsed());
        records += 1;
    }
    let took = started.elapsed();
    producer.close().await;
    Ok(ProduceReport::new(records, took, args.workload.record_bytes, &latencies))
}
