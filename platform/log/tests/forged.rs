//! Clients' bytes that look like the engine's own structure: nothing in them is ever believed.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use std::path::Path;
use std::sync::Arc;

use millrace_base::TopicPartition;
use millrace_disk::Disk;
use millrace_disk::sim::SimDisk;
use millrace_log::{EngineStep, LogManager, LogOptions, Threading};
use millrace_protocol::crc::crc32c;
use support::*;

/// A sealed group of the write-ahead log with these numbers and entries, and zeros for what cannot be known.
fn forged_group(sequence: u64, number: u64, entry: Option<TopicPartition>) -> Vec<u8> {
    let mut group = vec![0; 64];
    if let Some(tp) = entry {
        let forged = batch(b"forged");
        group.extend(tp.topic.0.as_bytes());
        group.extend(tp.partition.to_le_bytes());
        group.extend((forged.bytes.len() as u32).to_le_bytes());
        group.extend(0i64.to_le_bytes());
        group.extend(1i64.to_le_bytes());
        group.extend([0; 16]);
        group.extend(&forged.bytes);
    }
    let len = group.len() as u32;
    group[..4].copy_from_slice(b"MRWG");
    group[4..6].copy_from_slice(&2u16.to_le_bytes());
    group[12..16].copy_from_slice(&len.to_le_bytes());
    group[16..24].copy_from_slice(&sequence.to_le_bytes());
    group[24..32].copy_from_slice(&number.to_le_bytes());
    group[32..36].copy_from_slice(&u32::from(entry.is_some()).to_le_bytes());
    let crc = crc32c(&group[12..]);
    group[8..12].copy_from_slice(&crc.to_le_bytes());
    group
}

/// Values written before the last one: two a file, and one in the file that is written when the power goes.
const ROUNDS: i64 = 41;

fn open_small(disk: &SimDisk) -> LogManager {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = LogOptions { wal_bytes: 64 * 1024, threading: Threading::Stepped, ..LogOptions::default() };
    LogManager::open(shared, Path::new("/data"), options, clock()).unwrap().0
}

/// Writes values made of `forged` until files of the write-ahead log have been used again, loses power with a
/// file half written, and looks at what is there then.
fn survives(forged: &[u8]) {
    // One of the shifts puts copies at the beginning of a block.
    for shift in 0..64 {
        let disk = SimDisk::new(1);
        let manager = open_small(&disk);
        let log = manager.create(tp(0), config(&[])).unwrap();
        let value = [vec![b'.'; shift], forged.repeat(5000 / forged.len())].concat();
        for _ in 0..ROUNDS {
            append(&log, batch(&value)).unwrap();
            while !manager.step(EngineStep::Wal) {
                assert!(manager.step(EngineStep::Checkpoint));
            }
        }
        // A short group, behind which a block of an earlier value lies.
        append(&log, batch(b"last")).unwrap();
        assert!(manager.step(EngineStep::Wal));
        drop((log, manager));
        disk.crash();
        disk.restart();
        let manager = open_small(&disk);
        assert_eq!(manager.partitions(), [tp(0)], "shifted by {shift}");
        let records = records(&manager.partition(&tp(0)).unwrap(), 0);
        let (last, before) = records.split_last().unwrap();
        assert_eq!((last.0, &last.1[..]), (ROUNDS, &b"last"[..]), "shifted by {shift}");
        assert!(before.iter().all(|(_, found)| *found == value), "shifted by {shift}");
    }
}

#[test]
fn a_value_that_looks_like_a_later_group_is_a_value() {
    survives(&forged_group(1 << 62, 1 << 62, None));
}

#[test]
fn a_value_that_looks_like_a_group_of_another_version_is_a_value() {
    let mut forged = forged_group(1, 1, None);
    forged[4] = 77;
    survives(&forged);
}

#[test]
fn a_value_that_looks_like_the_next_group_adds_nothing() {
    let (sequence, number) = (2 + ROUNDS as u64 / 2, ROUNDS as u64 + 1);
    survives(&forged_group(sequence, number, Some(tp(1))));
}
