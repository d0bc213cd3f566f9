//! Finding a record by time takes the memory of a piece, whatever a batch expands to. Alone in its process, whose
//! peak it measures.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use millrace_base::LeaderEpoch;
use millrace_log::AppendOrigin;
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use support::*;

const RECORDS: i64 = 600;
const RECORD_BYTES: usize = 100_000;
const GROWTH_BYTES_MAX: usize = 16 << 20;

#[test]
fn a_lookup_by_time_does_not_hold_what_a_batch_expands_to() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[("max.message.bytes", "67108864")])).unwrap();
    let codecs = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for codec in codecs {
        let mut builder = BatchBuilder::default();
        for number in 0..RECORDS {
            builder.append(NOW_MS + number, None, Some(&[number as u8; RECORD_BYTES]), &[]);
        }
        let batch = Batch::parse(builder.finish(codec, ProducerState::NONE).unwrap()).unwrap();
        assert!(batch.bytes.len() < 4 << 20, "{codec:?}");
        log.append(&[batch], LeaderEpoch(0), AppendOrigin::Producer).unwrap();
    }
    settle(&log);
    let end = log.log_end_offset();
    for position in 0..codecs.len() as i64 {
        let from = position * RECORDS;
        log.set_high_watermark(end);
        if from > 0 {
            log.delete_records(from).unwrap();
        }
        let mut found = None;
        let growth = peak_growth(|| found = log.offset_for_timestamp(NOW_MS + RECORDS - 1, end).unwrap());
        assert_eq!(found.unwrap().offset, from + RECORDS - 1);
        assert!(growth < GROWTH_BYTES_MAX, "{:?}: {growth} bytes more", codecs[position as usize]);
    }
}

/// How much more memory the process had at its peak while `run` ran.
fn peak_growth(run: impl FnOnce()) -> usize {
    // Sets the peak back to what is resident now (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmHWM:");
    run();
    status("VmHWM:") - before
}

fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
