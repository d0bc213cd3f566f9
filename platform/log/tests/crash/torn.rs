//! A write of two batches that the power cuts into.

use std::path::Path;
use std::sync::Arc;

use crate::support::*;
use millrace_disk::Disk;
use millrace_disk::sim::SimDisk;
use millrace_log::{EngineStep, LogManager, LogOptions, Threading};

/// Two batches in one write that is torn; then a batch of the first one's length is committed in its place.
/// Returns whether the second batch was still on the disk when that was done.
pub fn torn_write_leaves_a_batch_behind(seed: u64) -> bool {
    let disk = SimDisk::new(seed);
    let open = || {
        let options =
            LogOptions { wal_bytes: 64 * 1024, threading: Threading::Stepped, ..LogOptions::default() };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (manager, _) = LogManager::open(shared, Path::new("/data"), options, clock()).unwrap();
        let log = manager.create(tp(0), config(&[])).unwrap();
        (manager, log)
    };
    let (manager, log) = open();
    // The batches end with a block: the padding of a last block would wipe what stands behind it.
    let len = 20_480 - (batch(&[0; 20_000]).bytes.len() - 20_000);
    let (first, second) = (vec![1; len], vec![2; len]);
    append(&log, batch(&first)).unwrap();
    append(&log, batch(&second)).unwrap();
    // The segment's directory and file are made, then it is written.
    disk.crash_at(disk.operations() + 2);
    manager.step(EngineStep::Direct);
    drop((manager, log));
    disk.restart();
    let path = format!("/data/topics/{}/00000000000000000000.log", tp(0));
    let on_disk = disk.open(Path::new(&path), millrace_disk::OpenMode::default()).map(|file| {
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    });
    let has_second = on_disk.is_ok_and(|bytes| bytes.windows(second.len()).any(|window| window == second));

    let (manager, log) = open();
    if log.log_end_offset() > 0 {
        return false;
    }
    append(&log, batch(&vec![3; len])).unwrap();
    assert!(manager.step(EngineStep::Direct));
    assert_eq!(log.durable_end_offset(), 1);
    drop((manager, log));
    disk.crash();
    disk.restart();
    let (_manager, log) = open();
    assert_eq!(records(&log, 0), [(0, vec![3; len])], "seed {seed}");
    has_second
}
