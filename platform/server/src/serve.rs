//! `millrace server`, and what it shares with `millrace dev`: run until told to stop, then stop in order.

use std::path::PathBuf;
use std::process;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use millrace_config::BrokerConfig;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::node::{Node, host_and_port};
use millrace_cli::OutputFormat;
use millrace_cli::output::{note, print};

/// What a shell reports of a process that was interrupted.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(Args, Debug)]
pub struct ServerArgs {
    /// The configuration file; `millrace config reference` explains it
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
}

pub async fn run(args: ServerArgs, output: OutputFormat) -> anyhow::Result<()> {
    let config = BrokerConfig::load(&args.config)?;
    serve(config, output, |node, _| {
        let advertised = node.advertised();
        format!(
            "millrace listens on {}, tells clients {}, HTTP on {}",
            node.listen_addr(),
            host_and_port(&advertised.host, advertised.port),
            node.http_addr()
        )
    })
    .await
}

/// Starts a node, announces it on standard output once it is ready, and runs it until SIGTERM or SIGINT. A
/// second signal ends the process at once.
pub async fn serve(
    config: BrokerConfig,
    output: OutputFormat,
    announce: impl FnOnce(&Node, u128) -> String,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    // Before anything is opened: a signal during the start must not leave a half-written directory.
    let mut signals = Signals::listen()?;
    let node = tokio::select! {
        started = Node::start(config) => started?,
        name = signals.next() => {
            tracing::info!("{name} during the start: giving up");
            process::exit(EXIT_INTERRUPTED);
        }
    };
    let started_ms = begun.elapsed().as_millis();
    let ready = json!({
        "listen": node.listen_addr(),
        "http": node.http_addr(),
        "advertised": host_and_port(&node.advertised().host, node.advertised().port),
        "data_dir": node.config().node.data_dir,
        "ca": node.ca_file(),
        "cluster_id": node.cluster_id(),
        "started_ms": u64::try_from(started_ms).unwrap_or(u64::MAX),
    });
    tracing::info!(
        node = %node.config().node.id,
        listen = %node.listen_addr(),
        http = %node.http_addr(),
        cluster = node.cluster_id(),
        started_ms,
        "broker is ready"
    );
    // Nobody may be reading; a broker does not stop for that.
    print(output, &ready, || announce(&node, started_ms)).ok();

    let name = signals.next().await;
    tracing::info!("{name}: stopping; a second signal ends the process at once");
    note("stopping; Ctrl-C again ends it at once");
    tokio::select! {
        () = node.shutdown() => {}
        name = signals.next() => {
            tracing::warn!("{name} again: ended without closing the log, the next start will recover it");
            process::exit(EXIT_INTERRUPTED);
        }
    }
    tracing::info!("stopped");
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let handle = |kind| signal(kind).context("handle signals");
        Ok(Self { terminate: handle(SignalKind::terminate())?, interrupt: handle(SignalKind::interrupt())? })
    }

    /// The name of the next signal that asks to stop.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
