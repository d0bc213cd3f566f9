//! What the disk gives on its own: sequential writes and small commits, without a broker.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, OFlags};
use serde::Serialize;

use super::latency::{Latencies, Percentiles};
use super::workload::Noise;

const BLOCK: usize = 4 << 10;
const LARGE: usize = 4 << 20;

/// Raw figures of the file system that holds the benchmark's directory.
#[derive(Debug, Serialize)]
pub struct DiskLimit {
    /// 4 MiB appended to a new file through the page cache, then fdatasync, again and again.
    pub buffered_mb_per_second: f64,
    /// The same with direct I/O; absent where the file system refuses it.
    pub direct_mb_per_second: Option<f64>,
    /// 4 KiB overwritten in a file that exists, then fdatasync.
    pub commit_4k: Percentiles,
}

/// Measures in a file of its own under `directory`, `time` for each figure; the file is removed.
pub fn measure(directory: &Path, time: Duration) -> Result<DiskLimit> {
    let path = directory.join(format!(".millrace-bench-{}", std::process::id()));
    let result = measure_in(&path, time);
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(%error, path = %path.display(), "remove the benchmark's file");
    }
    result
}

fn measure_in(path: &Path, time: Duration) -> Result<DiskLimit> {
    let buffered = append(&open(path, OFlags::empty())?, time)?;
    let direct = match open(path, OFlags::DIRECT) {
        Ok(file) => Some(append(&file, time)?),
        Err(_) => None,
    };
    Ok(DiskLimit {
        buffered_mb_per_second: buffered,
        direct_mb_per_second: direct,
        commit_4k: commit(&open(path, OFlags::empty())?, time)?,
    })
}

fn open(path: &Path, flags: OFlags) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).custom_flags(flags.bits() as i32);
    options.open(path).with_context(|| format!("open {}", path.display()))
}

/// A buffer that direct I/O accepts: `len` bytes inside of it start at a block's boundary.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn noise(len: usize) -> Self {
        let mut memory = vec![0; len + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Noise::new(len as u64).fill(&mut memory[start..start + len]);
        Self { memory, start, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

/// Appends until `time` is over or 8 GiB are written; MB (10^6) a second.
fn append(file: &File, time: Duration) -> Result<f64> {
    let block = Aligned::noise(LARGE);
    let started = Instant::now();
    let mut written = 0_u64;
    while started.elapsed() < time && written < 8 << 30 {
        file.write_all_at(block.bytes(), written).context("append")?;
        file.sync_data().context("sync")?;
        written += LARGE as u64;
    }
    Ok(written as f64 / 1e6 / started.elapsed().as_secs_f64())
}

fn commit(file: &File, time: Duration) -> Result<Percentiles> {
    let size = 64 << 20;
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size).context("preallocate")?;
    let zeroes = vec![0; LARGE];
    for position in (0..size).step_by(LARGE) {
        file.write_all_at(&zeroes, position).context("fill")?;
    }
    file.sync_all().context("sync")?;
    let block = Aligned::noise(BLOCK);
    let mut latencies = Latencies::new();
    let (started, mut position) = (Instant::now(), 0);
    while started.elapsed() < time {
        let begun = Instant::now();
        file.write_all_at(block.bytes(), position).context("overwrite")?;
        file.sync_data().context("sync")?;
        latencies.record(begun.elapsed());
        position = (position + BLOCK as u64) % size;
    }
    Ok(latencies.percentiles())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_measurement_leaves_no_file_behind() {
        let directory = tempfile::tempdir().unwrap();
        let limit = measure(directory.path(), Duration::from_millis(20)).unwrap();
        assert!(limit.buffered_mb_per_second > 0.0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
