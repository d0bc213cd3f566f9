//! `log`, standard output and standard error: lines for the operator, so many a second.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmStr};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::limits::LOG_LINE_BYTES_MAX;
use crate::run::State;

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum LogLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

/// Which way a line came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    Log,
    Stdout,
    Stderr,
}

/// One line of a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    pub deployment: &'a str,
    pub version: u32,
    pub partition: u32,
    pub level: LogLevel,
    pub source: LogSource,
    /// Without its line end, cut off at [`LOG_LINE_BYTES_MAX`].
    pub message: &'a str,
    /// Lines of the deployment that were dropped before this one, as there were too many.
    pub dropped: u64,
}

/// Where guests' lines go. Implemented outside this crate; called on the guest's thread, so it must not wait.
pub trait LogSink: Send + Sync + 'static {
    fn write(&self, line: LogLine<'_>);
}

/// Seconds' worth of lines that may come at once.
const BURST_SECONDS: u32 = 10;

/// A deployment's allowance: a token bucket over all its instances.
#[derive(Debug)]
pub(crate) struct LogAllowance {
    lines_per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    lines: f64,
    filled: Instant,
    dropped: u64,
}

impl LogAllowance {
    pub fn new(lines_per_second: u32) -> Self {
        let lines = f64::from(lines_per_second.saturating_mul(BURST_SECONDS));
        let bucket = Mutex::new(Bucket { lines, filled: Instant::now(), dropped: 0 });
        Self { lines_per_second: f64::from(lines_per_second), bucket }
    }

    /// Takes a line out of the allowance, and returns how many were dropped since the last; `None` if this
    /// one is to be dropped.
    fn take(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket.lock();
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        let most = self.lines_per_second * f64::from(BURST_SECONDS);
        bucket.lines = (bucket.lines + passed * self.lines_per_second).min(most);
        bucket.filled = now;
        if bucket.lines < 1.0 {
            bucket.dropped += 1;
            return None;
        }
        bucket.lines -= 1.0;
        Some(std::mem::take(&mut bucket.dropped))
    }

    /// Lines dropped since the last one that was kept.
    pub fn dropped(&self) -> u64 {
        self.bucket.lock().dropped
    }
}

/// One instance's log.
#[derive(Clone)]
pub(crate) struct GuestLog {
    pub sink: Arc<dyn LogSink>,
    pub allowance: Arc<LogAllowance>,
    pub deployment: Arc<str>,
    pub version: u32,
    pub partition: u32,
    pub level: LogLevel,
}

impl GuestLog {
    fn write(&self, level: LogLevel, source: LogSource, message: &str) {
        if level < self.level {
            return;
        }
        let Some(dropped) = self.allowance.take(Instant::now()) else { return };
        let end = message.floor_char_boundary(LOG_LINE_BYTES_MAX);
        self.sink.write(LogLine {
            deployment: &self.deployment,
            version: self.version,
            partition: self.partition,
            level,
            source,
            message: &message[..end],
            dropped,
        });
    }
}

pub(super) fn link(linker: &mut Linker<State>, name: &str) -> wasmtime::Result<()> {
    let mut instance = linker.instance(name)?;
    instance.func_wrap("write", write)?;
    instance.func_wrap("enabled", enabled)
}

fn write(store: StoreContextMut<'_, State>, (level, message): (LogLevel, WasmStr)) -> wasmtime::Result<()> {
    let message = message.to_str(&store)?;
    store.data().log.write(level, LogSource::Log, &message);
    Ok(())
}

fn enabled(store: StoreContextMut<'_, State>, (level,): (LogLevel,)) -> wasmtime::Result<(bool,)> {
    Ok((level >= store.data().log.level,))
}

/// Standard output or error: cut into lines.
#[derive(Clone)]
pub(crate) struct GuestStdio {
    log: GuestLog,
    source: LogSource,
    /// The beginning of a line whose end is not written yet.
    partial: Arc<Mutex<Vec<u8>>>,
}

impl GuestStdio {
    pub fn new(log: GuestLog, source: LogSource) -> Self {
        Self { log, source, partial: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, ends) = match piece.split_last() {
                Some((b'\n', line)) => (line, true),
                _ => (piece, false),
            };
            // What is over the limit is cut off, not kept.
            let room = LOG_LINE_BYTES_MAX.saturating_sub(partial.len());
            partial.extend_from_slice(&line[..line.len().min(room)]);
            if ends {
                self.log.write(self.level(), self.source, &String::from_utf8_lossy(&partial));
                partial.clear();
            }
        }
    }

    const fn level(&self) -> LogLevel {
        match self.source {
            LogSource::Stderr => LogLevel::Warn,
            LogSource::Log | LogSource::Stdout => LogLevel::Info,
        }
    }
}

impl IsTerminal for GuestStdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStdio {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStdio {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for GuestStdio {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

impl AsyncWrite for GuestStdio {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, std::io::Error>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl LogSink for Lines {
        fn write(&self, line: LogLine<'_>) {
            self.0.lock().push(line.message.to_owned());
        }
    }

    #[test]
    fn standard_output_is_cut_into_lines_of_bounded_length() {
        let lines = Arc::<Lines>::default();
        let log = GuestLog {
            sink: Arc::clone(&lines) as Arc<dyn LogSink>,
            allowance: Arc::new(LogAllowance::new(100)),
            deployment: "orders".into(),
            version: 1,
            partition: 0,
            level: LogLevel::Info,
        };
        let stdout = GuestStdio::new(log, LogSource::Stdout);
        stdout.take(b"one\ntw");
        stdout.take(b"o\n\n");
        stdout.take(&vec![b'x'; 3 * LOG_LINE_BYTES_MAX]);
        stdout.take(b"y\nnot ended");
        let lines = lines.0.lock();
        assert_eq!(lines[..3], ["one", "two", ""]);
        assert_eq!(lines[3], "x".repeat(LOG_LINE_BYTES_MAX));
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn an_allowance_fills_with_time_and_counts_what_it_refuses() {
        let allowance = LogAllowance::new(1);
        let start = allowance.bucket.lock().filled;
        for _ in 0..BURST_SECONDS {
            assert_eq!(allowance.take(start), Some(0));
        }
        assert_eq!(allowance.take(start), None);
        assert_eq!(allowance.take(start), None);
        assert_eq!(allowance.dropped(), 2);
        assert_eq!(allowance.take(start + Duration::from_secs(1)), Some(2));
        assert_eq!(allowance.take(start + Duration::from_secs(1)), None);
    }
}
