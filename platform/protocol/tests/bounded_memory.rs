//! Checking a batch takes the memory of a piece, whatever it expands to. Alone in its process, whose peak it measures.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use millrace_protocol::batch::{Batch, BatchBuilder, HEADER_LEN, ProducerState};
use millrace_protocol::compression::Codec;

const EXPANDED_BYTES: usize = 30 << 20;
const GROWTH_BYTES_MAX: usize = 12 << 20;

#[test]
fn a_check_does_not_hold_what_a_batch_expands_to() {
    for record_bytes in [1000, EXPANDED_BYTES / 2] {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let batch = batch(codec, record_bytes);
            assert!(batch.bytes.len() < 8 << 20);
            let growth = peak_growth(|| batch.validate_records(EXPANDED_BYTES * 2).unwrap());
            assert!(
                growth < GROWTH_BYTES_MAX,
                "{codec:?} with records of {record_bytes}: {growth} bytes more"
            );
        }
    }
    // As librdkafka writes snappy: one block as long as the batch.
    let plain = batch(Codec::None, 1000);
    let mut bytes = plain.bytes[..HEADER_LEN].to_vec();
    bytes.extend(snap::raw::Encoder::new().compress_vec(&plain.bytes[HEADER_LEN..]).unwrap());
    bytes[22] = Codec::Snappy as u8;
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let raw = Batch::parse(bytes.into()).unwrap();
    drop(plain);
    let growth = peak_growth(|| raw.validate_records(EXPANDED_BYTES * 2).unwrap());
    assert!(growth < GROWTH_BYTES_MAX, "raw snappy: {growth} bytes more");
}

fn batch(codec: Codec, record_bytes: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    let value: Vec<u8> = (0..record_bytes as u32).map(|n| (n % 97) as u8).collect();
    for number in 0..EXPANDED_BYTES / record_bytes {
        builder.append(number as i64, None, Some(&value), &[]);
    }
    Batch::parse(builder.finish(codec, ProducerState::NONE).unwrap()).unwrap()
}

/// How much more memory the process had at its peak while `run` ran.
fn peak_growth(run: impl FnOnce()) -> usize {
    // Sets the peak back to what is resident now (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_bytes();
    run();
    peak_bytes() - before
}

fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
