//! Recovery of a data directory whose files hold anything: write-ahead log, indexes, checkpoint, segments.
//!
//! A directory as a crash leaves it is damaged at the places that the input names, and opened. It opens or is
//! refused; what it opens with can be read, appended to and opened again. Checksums of the engine's own files
//! are taken for right in a fuzzer's build, so that what they guard is reached too. Some inputs have it opened on a
//! full disk, which gets room afterwards.
//!
//! Or nothing is damaged, and the input is what clients wrote: heads of groups of the write-ahead log, frames of
//! batches, anything, put where structure of ours is looked for after a crash. Then the directory opens, with
//! what was written and nothing else.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use millrace_base::{LeaderEpoch, ManualClock, Offset, TopicId, TopicPartition};
use millrace_config::TopicConfig;
use millrace_disk::sim::SimDisk;
use millrace_disk::{Disk, OpenMode};
use millrace_log::{AppendOrigin, EngineStep, Health, LogManager, LogOptions, PartitionLog, Threading};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;

const NOW_MS: i64 = 1_700_000_000_000;
const ROOT: &str = "/data";
const PARTITIONS: i32 = 2;
/// Bit of an input's first byte: the directory is opened on a full disk.
const FULL: u8 = 0x40;

/// A file of the directory: its name, and what it holds.
type Image = Vec<(PathBuf, Vec<u8>)>;

fuzz_target!(|data: &[u8]| {
    static PRISTINE: OnceLock<[Image; 2]> = OnceLock::new();
    let pristine = PRISTINE.get_or_init(|| [directory(false), directory(true)]);
    let Some((which, damage)) = data.split_first() else { return };
    if which % 4 == 3 {
        return believe_nothing(damage);
    }
    let mut image = pristine[usize::from(which % 2)].clone();
    for place in damage.chunks_exact(6) {
        let index = usize::from(place[0]) % image.len();
        let bytes = &mut image[index].1;
        let at = usize::from(u16::from_le_bytes([place[1], place[2]]));
        match place[3] % 4 {
            0 => bytes.truncate(at),
            // Most of what matters is in the first bytes, and in the last.
            1 if at < bytes.len() => {
                let at = bytes.len() - 1 - at;
                bytes[at] = place[4];
            }
            _ => {
                for (byte, value) in bytes.iter_mut().skip(at).zip(&place[4..]) {
                    *byte = *value;
                }
            }
        }
    }
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    restore(&*disk, &image);
    for _ in 0..2 {
        if which & FULL != 0 {
            sim.set_capacity(Some(sim.used_bytes()));
        }
        let opened = open(&disk);
        let is_full = matches!(&opened, Ok((manager, _)) if manager.health() != Health::Ok);
        sim.set_capacity(None);
        let Ok((manager, _)) = opened else { return };
        if is_full {
            assert!(which & FULL != 0, "{:?}", manager.health());
            if !manager.step(EngineStep::Checkpoint) {
                let health = manager.health();
                assert!(matches!(health, Health::Failed(_)), "there is room, and it still waits: {health:?}");
                return;
            }
        }
        for number in 0..PARTITIONS {
            use_partition(&manager, number);
        }
        if manager.close().is_err() {
            return;
        }
    }
});

/// Writes values made of `forged` until files of the write-ahead log are written over, and loses power.
fn believe_nothing(forged: &[u8]) {
    /// Bytes between the beginning of a group and that of the value in it, less the value's length.
    const BEFORE_VALUE: usize = 64 + 56 + 61;
    let Some((rounds, forged)) = forged.split_first() else { return };
    let forged = if forged.is_empty() { &b"MRWG\x02\0"[..] } else { forged };
    let sim = SimDisk::new(7);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let (manager, _) = open(&disk).expect("an empty directory opens");
    let log = manager.create(partition(0), Arc::default()).expect("a partition is made");
    let mut written = 0;
    let commit = |log: &PartitionLog, value: &[u8]| {
        append(log, value).expect("there is room");
        while !manager.step(EngineStep::Wal) {
            assert!(manager.step(EngineStep::Checkpoint), "{:?}", manager.health());
        }
    };
    for round in 0..30 + usize::from(rounds % 32) {
        let mut value = vec![0; 3 * 4096];
        for block in 1..3 {
            // A record's header has about ten bytes; one of the rounds meets the beginning of a block.
            let at = block * 4096 - BEFORE_VALUE - 8 - round % 4;
            value[at..].iter_mut().zip(forged).for_each(|(byte, forged)| *byte = *forged);
        }
        commit(&log, &value);
        written += 1;
    }
    commit(&log, b"a short group, behind which an earlier value lies");
    drop((log, manager));
    sim.crash();
    sim.restart();
    let (manager, _) = open(&disk).expect("nothing is damaged");
    assert_eq!(manager.partitions(), [partition(0)]);
    let log = manager.partition(&partition(0)).expect("it is there");
    assert_eq!(log.log_end_offset(), written + 1);
}

/// Reads all that a partition says it has, and appends.
fn use_partition(manager: &LogManager, number: i32) {
    let config = Arc::new(TopicConfig { segment_bytes: 2000, ..TopicConfig::default() });
    let Ok(log) = manager.create(partition(number), config) else { return };
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert!(start <= end, "{start} <= {end}");
    let mut at = start;
    while at < end {
        let Ok(read) = log.read(at, Offset::MAX, 1 << 16, true) else { break };
        assert!(read.next_offset > at, "a read moves on");
        let _ = read.payload.read_to_bytes();
        at = read.next_offset;
    }
    let _ = log.offset_for_timestamp(NOW_MS + 5, end);
    let _ = append(&log, b"after the damage");
    while manager.step(EngineStep::Wal) {}
}

/// A directory with closed segments and indexes, and groups in the write-ahead log that are in no segment.
fn directory(closed: bool) -> Image {
    let sim = SimDisk::new(7);
    let disk: Arc<dyn Disk> = Arc::new(sim);
    let (manager, _) = open(&disk).expect("an empty directory opens");
    let config = Arc::new(TopicConfig { segment_bytes: 2000, ..TopicConfig::default() });
    let logs: Vec<_> = (0..PARTITIONS)
        .map(|number| manager.create(partition(number), config.clone()).expect("a partition is made"))
        .collect();
    for round in 0..12u8 {
        for log in &logs {
            append(log, &[round; 300]).expect("there is room");
        }
        while manager.step(EngineStep::Wal) {}
    }
    if closed {
        manager.close().expect("it closes");
    }
    drop((logs, manager));
    let mut image = Vec::new();
    collect(&*disk, Path::new(ROOT), &mut image);
    image
}

fn open(disk: &Arc<dyn Disk>) -> Result<(LogManager, millrace_log::RecoveryReport), millrace_log::OpenError> {
    let options = LogOptions {
        wal_bytes: 1 << 16,
        tail_bytes: 1 << 20,
        threading: Threading::Stepped,
        ..LogOptions::default()
    };
    LogManager::open(disk.clone(), Path::new(ROOT), options, Arc::new(ManualClock::at_ms(NOW_MS)))
}

fn partition(number: i32) -> TopicPartition {
    let topic: TopicId = "0123456789abcdef0123456789abcdef".parse().expect("it is an id");
    TopicPartition::new(topic, number)
}

fn append(log: &PartitionLog, value: &[u8]) -> Result<(), millrace_log::AppendError> {
    let mut builder = BatchBuilder::default();
    builder.append(NOW_MS, None, Some(value), &[]);
    let bytes = builder.finish(Codec::None, ProducerState::NONE).expect("it is short");
    let batch = Batch::parse(bytes).expect("it was just built");
    log.append(&[batch], LeaderEpoch(0), AppendOrigin::Producer).map(|_| ())
}

fn collect(disk: &dyn Disk, dir: &Path, image: &mut Image) {
    for entry in disk.list(dir).expect("the directory is there") {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            collect(disk, &path, image);
            continue;
        }
        let file = disk.open(&path, OpenMode::default()).expect("the file is there");
        let mut bytes = vec![0; file.len().expect("it has a length") as usize];
        let len = file.read_at(&mut bytes, 0).expect("it can be read");
        bytes.truncate(len);
        image.push((path, bytes));
    }
}

fn restore(disk: &dyn Disk, image: &Image) {
    for (path, bytes) in image {
        disk.create_dir_all(path.parent().expect("it is in a directory")).expect("the disk is empty");
        let mode = OpenMode { create_new: true, ..OpenMode::default() };
        let file = disk.open(path, mode).expect("the disk is empty");
        file.write_all_at(&[bytes], 0).expect("there is room");
    }
}
