//! Logs on standard error: a broker's tell of its life, a command's are silent unless asked for.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Args, Clone, Debug)]
pub struct LoggingArgs {
    /// What to log: a level, or levels by module as in `info,millrace_broker=debug`
    #[arg(
        long = "log",
        value_name = "FILTER",
        env = "MILLRACE_LOG",
        global = true,
        help_heading = "Global options"
    )]
    pub filter: Option<String>,
    /// How log lines on standard error look
    #[arg(long, value_enum, default_value_t, global = true, help_heading = "Global options")]
    pub log_format: LogFormat,
}

/// Installs the subscriber. A filter that makes no sense is reported and the default taken: it must not
/// keep a broker from starting.
pub fn start(args: &LoggingArgs, default: &str) {
    let (filter, refused) = match args.filter.as_deref().map(EnvFilter::try_new) {
        None => (EnvFilter::new(default), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(default), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => builder.compact().init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "the --log filter is not understood; logging as by default ({default})");
    }
}
