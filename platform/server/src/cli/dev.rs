//! `millrace dev`: one node with embedded defaults, and what to try next.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use millrace_config::BrokerConfig;

use super::OutputFormat;
use super::serve::serve;
use crate::node::Node;

const DATA_DIR: &str = "./millrace-data";
const LISTEN: &str = "127.0.0.1:9092";

#[derive(Args, Debug)]
pub struct DevArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Where clients connect: TCP for Kafka clients, UDP for QUIC; port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", default_value = LISTEN)]
    listen: SocketAddr,
    /// Where health and metrics are served; port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9080")]
    http: SocketAddr,
}

pub async fn run(args: DevArgs, output: OutputFormat) -> anyhow::Result<()> {
    let config = BrokerConfig::dev(&args.data_dir, args.listen, args.http);
    serve(config, output, announcement).await
}

fn announcement(node: &Node, started_ms: u128) -> String {
    let listen = node.listen_addr();
    let data_dir = &node.config().node.data_dir;
    let program = program();
    let connection = connection_flags(listen, data_dir, node.ca_file().as_deref());
    let mut text = format!("Millrace {} is ready ({started_ms} ms)\n\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "  {name:24} {value}").expect("writing to a String does not fail");
    };
    line("Kafka clients (TCP)", &listen);
    line("Millrace clients (QUIC)", &listen);
    line("health and metrics", &format_args!("http://{}/metrics", node.http_addr()));
    line("data", &data_dir.display());
    if let Some(ca) = node.ca_file() {
        line("CA certificate", &ca.display());
    }
    text.push_str("\nTry next, in another terminal:\n");
    for command in [
        format!("{program} topic create orders --partitions 3{connection}"),
        format!("echo hello | {program} produce orders{connection}"),
        format!("{program} consume orders --from-beginning{connection}"),
    ] {
        text.push_str(&format!("  {command}\n"));
    }
    text.push_str("\nCtrl-C stops it.\n");
    text
}

/// How this program was called: a path such as `target/release/millrace` works as it is.
fn program() -> String {
    std::env::args().next().filter(|name| !name.contains(' ')).unwrap_or_else(|| "millrace".to_owned())
}

/// What the commands need to be told where the defaults do not fit.
fn connection_flags(listen: SocketAddr, data_dir: &Path, ca: Option<&Path>) -> String {
    let mut flags = String::new();
    if listen.to_string() != LISTEN {
        flags.push_str(&format!(" --bootstrap {listen}"));
    }
    if let Some(ca) = ca.filter(|_| data_dir != Path::new(DATA_DIR)) {
        flags.push_str(&format!(" --ca {}", ca.display()));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_only_what_differs_from_their_defaults() {
        let flags = |listen: &str, dir: &str| {
            let ca = Path::new(dir).join("tls/ca.pem");
            connection_flags(listen.parse().unwrap(), Path::new(dir), Some(&ca))
        };
        assert_eq!(flags(LISTEN, DATA_DIR), "");
        assert_eq!(flags("127.0.0.1:7", "/x"), " --bootstrap 127.0.0.1:7 --ca /x/tls/ca.pem");
    }
}
