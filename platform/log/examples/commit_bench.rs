//! How much the engine commits: `cargo run --release -p millrace-log --example commit_bench [dir [seconds]]`.
//!
//! Appends from two threads to 1, 10 and 1000 partitions and counts what became durable; then single
//! commits, one after the other, from append to the listener's call. `amp` is bytes written to the disk per
//! byte appended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use millrace_base::{LeaderEpoch, SystemClock, TopicId, TopicPartition};
use millrace_config::TopicConfig;
use millrace_disk::RealDisk;
use millrace_log::{AppendOrigin, LogManager, LogOptions, PartitionLog};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState, split_batches};
use millrace_protocol::compression::Codec;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const LONE_COMMITS: usize = 5000;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    println!(
        "partitions   batch      GB/s    amp    wal MB  groups  direct   syncs  checkpoints  restart ms (MB read)"
    );
    for batch_bytes in [1 << 20, 64 << 10, 1 << 10] {
        for partitions in [1, 10, 1000] {
            let dir = tempfile::tempdir_in(&base)?;
            throughput(dir.path(), partitions, batch_bytes, Duration::from_secs(seconds))?;
            remove(dir, &base)?;
        }
    }
    let dir = tempfile::tempdir_in(&base)?;
    quiet(dir.path())?;
    remove(dir, &base)?;
    println!("\nlone commits    p50 µs    p99 µs    max µs");
    for batch_bytes in [100, 1 << 10, 16 << 10, 64 << 10, 1 << 20] {
        let dir = tempfile::tempdir_in(&base)?;
        latency(dir.path(), batch_bytes)?;
        remove(dir, &base)?;
    }
    Ok(())
}

/// Removing gigabytes may keep a file system's journal busy for a while; the next measurement waits for it.
fn remove(dir: tempfile::TempDir, base: &Path) -> Outcome<()> {
    dir.close()?;
    std::fs::File::open(base)?.sync_all()?;
    thread::sleep(Duration::from_secs(1));
    Ok(())
}

fn open(dir: &Path, partitions: i32) -> Outcome<(LogManager, Vec<Arc<PartitionLog>>)> {
    let options = LogOptions { tail_bytes: 2 << 30, ..LogOptions::default() };
    let (manager, _) = LogManager::open(Arc::new(RealDisk), dir, options, Arc::new(SystemClock))?;
    let topic = TopicId::random();
    let config = Arc::new(TopicConfig { max_message_bytes: 8 << 20, ..TopicConfig::default() });
    let logs = (0..partitions)
        .map(|number| manager.create(TopicPartition::new(topic, number), Arc::clone(&config)))
        .collect::<Result<_, _>>()?;
    Ok((manager, logs))
}

fn batch(bytes: usize) -> Outcome<Batch> {
    let mut builder = BatchBuilder::with_capacity(bytes + 100);
    let value = vec![b'x'; bytes.saturating_sub(80).max(1)];
    builder.append(1_700_000_000_000, None, Some(&value), &[]);
    let encoded = builder.finish(Codec::None, ProducerState::NONE)?;
    Ok(split_batches(encoded, usize::MAX)?.remove(0))
}

fn throughput(dir: &Path, partitions: i32, batch_bytes: usize, time: Duration) -> Outcome<()> {
    let (manager, logs) = open(dir, partitions)?;
    let batch = batch(batch_bytes)?;
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    thread::scope(|scope| {
        for producer in 0..2 {
            let (manager, logs, batch, stop) = (&manager, &logs, &batch, &stop);
            scope.spawn(move || produce(manager, logs, batch, producer, stop));
        }
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    while manager.metrics().pending_bytes > 0 {
        thread::sleep(Duration::from_micros(200));
    }
    let took = started.elapsed().as_secs_f64();
    let metrics = manager.metrics();
    let written = (metrics.wal_bytes + metrics.segment_bytes) as f64;
    // As after a kill: nothing is closed in order.
    drop(logs);
    drop(manager);
    let options = LogOptions::default();
    let (_, report) = LogManager::open(Arc::new(RealDisk), dir, options, Arc::new(SystemClock))?;
    println!(
        "{partitions:10} {batch_bytes:8} {:8.2} {:6.3} {:9} {:7} {:7} {:7} {:6} {:15} ({})",
        metrics.appended_bytes as f64 / took / 1e9,
        written / metrics.appended_bytes as f64,
        metrics.wal_bytes >> 20,
        metrics.wal_groups,
        metrics.direct_commits,
        metrics.syncs,
        metrics.checkpoints,
        report.took.as_millis(),
        (report.scanned_bytes + report.replayed_bytes) >> 20,
    );
    Ok(())
}

fn produce(manager: &LogManager, logs: &[Arc<PartitionLog>], batch: &Batch, from: usize, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut next = from;
    while !stop.load(Ordering::Relaxed) {
        runtime.block_on(manager.admit(batch.bytes.len()));
        let log = &logs[next % logs.len()];
        let appended = log.append(std::slice::from_ref(batch), LeaderEpoch(0), AppendOrigin::Producer);
        appended.expect("a sound disk with room");
        next += if logs.len() == 1 { 0 } else { 2 };
    }
}

/// Ten thousand partitions with a record each: what they cost together.
fn quiet(dir: &Path) -> Outcome<()> {
    const PARTITIONS: i32 = 10_000;
    let (manager, logs) = open(dir, PARTITIONS)?;
    let batch = batch(100)?;
    let started = Instant::now();
    for log in &logs {
        log.append(std::slice::from_ref(&batch), LeaderEpoch(0), AppendOrigin::Producer)?;
    }
    while manager.metrics().pending_bytes > 0 {
        thread::sleep(Duration::from_micros(100));
    }
    let (committed, metrics) = (started.elapsed().as_millis(), manager.metrics());
    drop(logs);
    drop(manager);
    let options = LogOptions::default();
    let (manager, killed) =
        LogManager::open(Arc::new(RealDisk), dir, options.clone(), Arc::new(SystemClock))?;
    let started = Instant::now();
    manager.close()?;
    let closed = started.elapsed().as_millis();
    drop(manager);
    let (_, report) = LogManager::open(Arc::new(RealDisk), dir, options, Arc::new(SystemClock))?;
    println!(
        "\n{PARTITIONS} quiet partitions: {committed} ms to commit a record in each ({} groups, {} MB of tails), \
         restart after a kill {} ms, closing {closed} ms, restart {} ms",
        metrics.wal_groups,
        metrics.tail_bytes >> 20,
        killed.took.as_millis(),
        report.took.as_millis(),
    );
    Ok(())
}

fn latency(dir: &Path, batch_bytes: usize) -> Outcome<()> {
    let (manager, logs) = open(dir, 1)?;
    let log = &logs[0];
    let batch = batch(batch_bytes)?;
    let caller: Thread = thread::current();
    log.on_durable(Arc::new(move |_| caller.unpark()));
    let mut micros = Vec::new();
    for _ in 0..LONE_COMMITS.min((1 << 30) / batch_bytes) {
        // As a client that waits for each: a moment passes between two.
        thread::sleep(Duration::from_micros(300));
        let started = Instant::now();
        let appended = log.append(std::slice::from_ref(&batch), LeaderEpoch(0), AppendOrigin::Producer)?;
        while log.durable_end_offset() <= appended.last_offset {
            thread::park();
        }
        micros.push(started.elapsed().as_micros());
    }
    micros.sort_unstable();
    let at = |part: f64| micros[((micros.len() - 1) as f64 * part) as usize];
    println!("{batch_bytes:12} {:9} {:9} {:9}", at(0.5), at(0.99), at(1.0));
    drop(manager);
    Ok(())
}
