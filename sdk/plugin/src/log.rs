//! Lines for the deployment's log: `millrace plugin logs` and the topic `__plugin_logs`.
//!
//! The macros [`trace!`](crate::trace), [`debug!`](crate::debug), [`info!`](crate::info),
//! [`warn!`](crate::warn) and [`error!`](crate::error!) format only what is kept.

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

/// Whether lines of this level are kept.
pub fn enabled(level: Level) -> bool {
    host::enabled(level)
}

/// Writes a line.
pub fn write(level: Level, message: &str) {
    host::write(level, message);
}

/// Writes a line of the level that comes first.
#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($argument:tt)+) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, &::std::format!($($argument)+));
        }
    };
}

/// Writes a line about a single step.
#[macro_export]
macro_rules! trace { ($($argument:tt)+) => { $crate::__log!(Trace, $($argument)+) }; }

/// Writes a line that helps to find a mistake.
#[macro_export]
macro_rules! debug { ($($argument:tt)+) => { $crate::__log!(Debug, $($argument)+) }; }

/// Writes a line that an operator may want to know.
#[macro_export]
macro_rules! info { ($($argument:tt)+) => { $crate::__log!(Info, $($argument)+) }; }

/// Writes a line about what may be wrong.
#[macro_export]
macro_rules! warn { ($($argument:tt)+) => { $crate::__log!(Warn, $($argument)+) }; }

/// Writes a line about what is wrong.
#[macro_export]
macro_rules! error { ($($argument:tt)+) => { $crate::__log!(Error, $($argument)+) }; }

#[cfg(target_arch = "wasm32")]
mod host {
    use super::Level;
    use crate::bindings::host_log;

    pub(super) fn enabled(level: Level) -> bool {
        host_log::enabled(to_host(level))
    }

    pub(super) fn write(level: Level, message: &str) {
        host_log::write(to_host(level), message);
    }

    fn to_host(level: Level) -> host_log::Level {
        match level {
            Level::Trace => host_log::Level::Trace,
            Level::Debug => host_log::Level::Debug,
            Level::Info => host_log::Level::Info,
            Level::Warn => host_log::Level::Warn,
            Level::Error => host_log::Level::Error,
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::log as host;
