//! Measures what the hot paths rest on: checksum, building a batch, walking it, decoding a produce request.
//!
//! `cargo run --release -p millrace-protocol --example throughput`

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_base::{Payload, TopicId};
use millrace_protocol::batch::{Batch, BatchBuilder, HEADER_LEN, ProducerState, split_batches};
use millrace_protocol::compression::Codec;
use millrace_protocol::frame::{RequestFrame, decode_body};
use millrace_protocol::messages::ProduceRequest;
use millrace_protocol::produce::{ProduceBody, ProducePartition, ProduceTopic, encode_produce_request};
use millrace_protocol::{StrBytes, crc};

const VALUE_BYTES: usize = 100;
const RECORDS: u32 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for len in [1 << 10, 16 << 10, 1 << 20] {
        let data = vec![0xa5; len];
        let each = time(|| crc::crc32c(black_box(&data)));
        println!("crc32c of {len:>8} B: {:>6.1} GB/s", len as f64 / each.as_nanos() as f64);
    }
    for codec in Codec::ALL {
        let each = time(|| build(codec));
        let ratio = f64::from(RECORDS) * VALUE_BYTES as f64 / build(codec).len() as f64;
        report(&format!("build, {} (1 : {ratio:.1})", codec.name()), each);
    }
    for codec in Codec::ALL {
        let batch = &split_batches(build(codec), usize::MAX)?[0];
        report(&format!("expand and walk, {}", codec.name()), time(|| walk(batch)));
        report(&format!("validate, {}", codec.name()), time(|| batch.validate_records(1 << 30)));
    }
    for codec in Codec::ALL {
        let sent = &split_batches(build(Codec::None), usize::MAX)?[0];
        let len = sent.bytes.len() - HEADER_LEN;
        report(&format!("encode anew, {}", codec.name()), time(|| sent.recode(codec, None, len, usize::MAX)));
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

/// An order as JSON, which codecs shrink to a third or so.
fn put_value(n: u32, value: &mut Vec<u8>) {
    value.clear();
    let (customer, amount) = (n.wrapping_mul(2_654_435_761), n.wrapping_mul(40_503) % 100_000);
    let _ = write!(
        value,
        r#"{{"order":{n},"customer":"{customer:08x}","amount":{amount},"currency":"EUR","note":""#
    );
    value.resize(VALUE_BYTES - 2, b'.');
    value.extend_from_slice(br#""}"#);
}

fn build(codec: Codec) -> Bytes {
    let mut batch = BatchBuilder::with_capacity(HEADER_LEN + RECORDS as usize * 120);
    let mut value = Vec::with_capacity(VALUE_BYTES);
    for n in 0..RECORDS {
        put_value(n, &mut value);
        batch.append(1_700_000_000_000 + i64::from(n), None, Some(black_box(&value)), &[]);
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
    println!("{what:<26} {:>6.1} M records of {} B/s", records_per_s / 1e6, VALUE_BYTES);
}

/// The best of many runs: what the code costs when nothing else has the core. Short ones are timed by the ten.
fn time<T>(mut run: impl FnMut() -> T) -> Duration {
    let mut each = |runs: u32| {
        let start = Instant::now();
        for _ in 0..runs {
            black_box(run());
        }
        start.elapsed() / runs
    };
    let mut best = each(10);
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        best = best.min(each(if best < Duration::from_micros(20) { 10 } else { 1 }));
    }
    best
}
