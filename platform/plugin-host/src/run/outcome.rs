//! How a call ended and what it took.

use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::library::LoadError;
use crate::limits::CallLimits;
use crate::packing::{BlockError, InputError};

/// Why a call gave nothing. The instance is gone, but for [`Self::Refused`], and the next call starts another.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The guest returned an error of its own.
    #[error("the plugin refuses the batch: {0}")]
    Refused(String),
    /// The guest's `start` returned an error.
    #[error("the plugin does not start: {0}")]
    StartRefused(String),
    /// The guest did what it must not: `message` says what, `backtrace` where, in its own functions.
    #[error("the plugin trapped: {message}")]
    Trap { message: String, backtrace: String },
    /// The guest computed for longer than it may.
    #[error("the plugin ran for longer than {limit:?}")]
    Timeout { limit: Duration, backtrace: String },
    /// The guest, or what it waited for, took longer than it may.
    #[error("the plugin took longer than {limit:?}, most of it waiting")]
    Elapsed { limit: Duration },
    /// The guest failed after it was refused memory.
    #[error("the plugin needs more memory than the {limit} bytes that it may use")]
    MemoryLimit { limit: usize, backtrace: String },
    /// The output is over one of the deployment's limits.
    #[error("{0}")]
    OutputTooLarge(BlockError),
    /// The output is not what the contract says.
    #[error("the plugin's output is malformed: {0}")]
    Malformed(String),
    /// The batch cannot be given to a plugin.
    #[error("the batch cannot be read: {0}")]
    Input(InputError),
    /// The module's code is not to be had.
    #[error(transparent)]
    Load(LoadError),
    /// As many instances live as may, or the system lacks memory; later it may work.
    #[error("no instance can be started now: {0}")]
    Busy(String),
}

impl Failure {
    /// Whether the same call may succeed later without anybody having changed anything.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Elapsed { .. } | Self::Load(LoadError::Read { .. }))
    }

    /// Where in the guest it happened, if that is known.
    pub fn backtrace(&self) -> Option<&str> {
        match self {
            Self::Trap { backtrace, .. }
            | Self::Timeout { backtrace, .. }
            | Self::MemoryLimit { backtrace, .. } => Some(backtrace),
            _ => None,
        }
    }
}

/// Why the host itself ends a call.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the time is up")]
    Timeout,
    #[error("{0}")]
    Output(BlockError),
}

/// What the engine reports, as an operator should read it.
pub(super) fn failure(error: &wasmtime::Error, limits: &CallLimits, memory_refused: bool) -> Failure {
    let backtrace = || {
        error
            .downcast_ref::<WasmBacktrace>()
            .map_or_else(String::new, |frames| frames.to_string().trim_end().to_owned())
    };
    match error.downcast_ref::<Stop>() {
        Some(Stop::Timeout) => return Failure::Timeout { limit: limits.busy, backtrace: backtrace() },
        Some(Stop::Output(error)) if error.is_over_limit() => return Failure::OutputTooLarge(error.clone()),
        Some(Stop::Output(error)) => return Failure::Malformed(error.to_string()),
        None => {}
    }
    if memory_refused {
        return Failure::MemoryLimit { limit: limits.memory_bytes, backtrace: backtrace() };
    }
    let message = if let Some(trap) = error.downcast_ref::<Trap>() {
        let text = trap.to_string();
        text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
    } else if let Some(exit) = error.downcast_ref::<I32Exit>() {
        format!("it exited with status {}", exit.0)
    } else {
        error.root_cause().to_string()
    };
    Failure::Trap { message, backtrace: backtrace() }
}

/// What a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// From beginning to end.
    pub elapsed: Duration,
    /// The part of it in which an instance was started and told where it is.
    pub starting: Duration,
    /// Processor time: the guest's computing and the host's work for it.
    pub busy: Duration,
    /// The most linear memory that the instance has used so far, in bytes.
    pub memory_peak: usize,
    pub input_bytes: usize,
    pub output_bytes: usize,
    pub output_records: u64,
    /// Whether an instance had to be started.
    pub cold_start: bool,
}

/// How a call ended, and what it took either way.
#[derive(Clone, Debug)]
pub struct Call<T> {
    pub result: Result<T, Failure>,
    pub usage: Usage,
}
