//! Measures what the hot paths rest on: checksum, building a batch, walking it, decoding a produce request.
//!
//! `cargo run --release -p millrace-protocol --example throughput`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_base::{Payload, TopicId};
use millrace_protocol::batch::{Batch, BatchBuilder, HEADER_LEN, ProducerState, split_batches};
use millrace_protocol::compression::Codec;
use millrace_protocol::frame::{RequestFrame, decode_body};
use millrace_protocol::messages::ProduceRequest;
use millrace_protocol::produce::{ProduceBody, ProducePartition, ProduceTopic, encode_produce_request};
use millrace_protocol::{StrBytes, crc};

const VALUE: &[u8] = &[0x5a; 100];
const RECORDS: u32 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for len in [1 << 10, 16 << 10, 1 << 20] {
        let data = vec![0xa5; len];
        let each = time(|| crc::crc32c(black_box(&data)));
        println!("crc32c of {len:>8} B: {:>6.1} GB/s", len as f64 / each.as_nanos() as f64);
    }
    for codec in Codec::ALL {
        let each = time(|| build(codec));
        report(&format!("build, {}", codec.name()), each);
    }
    for codec in Codec::ALL {
        let batch = &split_batches(build(codec), usize::MAX)?[0];
        report(&format!("expand and walk, {}", codec.name()), time(|| walk(batch)));
        report(&format!("validate, {}", codec.name()), time(|| batch.validate_records(1 << 30)));
    }
    let batch = build(Codec::None);
    report("split and verify", time(|| split_batches(batch.clone(), usize::MAX).map(|b| b[0].verify())));

    let frame = produce_frame(batch)?;
    let each = time(|| {
        let mut request = RequestFrame::decode(frame.clone())?;
        decode_body::<ProduceRequest>(&mut request.body, request.api_version)
    });
    println!("decode a produce request: {} ns", each.as_nanos());
    Ok(())
}

fn build(codec: Codec) -> Bytes {
    let mut batch = BatchBuilder::with_capacity(HEADER_LEN + RECORDS as usize * 120);
    for n in 0..RECORDS {
        batch.append(1_700_000_000_000 + i64::from(n), None, Some(black_box(VALUE)), &[]);
    }
    batch.finish(codec, ProducerState::NONE).unwrap_or_default()
}

/// As a consumer reads, for comparison: all of it in memory, every field a slice.
fn walk(batch: &Batch) -> Option<usize> {
    let records = batch.records(1 << 30).ok()?;
    Some(records.iter().flatten().filter(|record| black_box(record).offset >= 0).count())
}

fn produce_frame(batch: Bytes) -> Result<Bytes, Box<dyn std::error::Error>> {
    let partitions = vec![ProducePartition { index: 0, records: Payload::from(batch) }];
    let name = StrBytes::from_static_str("events");
    let topics = vec![ProduceTopic { name, topic_id: TopicId::ZERO, partitions }];
    let body = ProduceBody { transactional_id: None, acks: -1, timeout_ms: 30_000, topics };
    let frame = encode_produce_request(1, Some("throughput"), 9, body)?.read_to_bytes()?;
    Ok(frame.slice(4..))
}

fn report(what: &str, each: Duration) {
    let records_per_s = f64::from(RECORDS) / each.as_secs_f64();
    println!("{what:<24} {:>6.1} M records of {} B/s", records_per_s / 1e6, VALUE.len());
}

/// The best of many runs: what the code costs when nothing else has the core.
fn time<T>(mut run: impl FnMut() -> T) -> Duration {
    let mut best = Duration::MAX;
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..10 {
            black_box(run());
        }
        best = best.min(start.elapsed() / 10);
    }
    best
}
