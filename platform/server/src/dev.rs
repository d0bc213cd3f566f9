//! `millrace dev`: one node with embedded defaults, and what to try next.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use millrace_config::setting::find;
use millrace_config::{BROKER_SETTINGS, BrokerConfig};

use crate::node::{Node, host_and_port};
use crate::serve::serve;
use millrace_cli::OutputFormat;

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
    /// What clients are told to connect to [default: the address of --listen, or this machine's name where that is
    /// all interfaces]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_advertise)]
    advertise: Option<Advertise>,
    /// Where health and metrics are served; port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9080")]
    http: SocketAddr,
}

pub async fn run(args: DevArgs, output: OutputFormat) -> anyhow::Result<()> {
    let mut config = BrokerConfig::dev(&args.data_dir, args.listen, args.http);
    if let Some(Advertise { host, port }) = args.advertise {
        config.listen.advertised_host = Some(host);
        config.listen.advertised_port = port;
    }
    serve(config, output, announcement).await
}

/// Another host than the one listened on, and another port if one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Advertise {
    host: String,
    port: Option<u16>,
}

/// As `listen.advertised_host` and `listen.advertised_port` in a configuration file, with their checks.
fn parse_advertise(text: &str) -> Result<Advertise, String> {
    let (host, port) = split_port(text);
    let checked = |name: &str, value: &str| {
        let setting = find(BROKER_SETTINGS, name).map_err(|error| error.to_string())?;
        setting.parse(value).map_err(|_| format!("'{value}' is not {}", setting.allowed()))
    };
    checked("listen.advertised_host", host)?;
    let port = port.map(|port| checked("listen.advertised_port", port)).transpose()?;
    let port =
        port.map(|port| u16::try_from(port.integer()).map_err(|error| error.to_string())).transpose()?;
    Ok(Advertise { host: host.to_owned(), port })
}

/// An IPv6 address with a port is in brackets, one without may be.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => (text, None),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) if text.parse::<Ipv6Addr>().is_err() => (host, Some(port)),
        _ => (text, None),
    }
}

fn announcement(node: &Node, started_ms: u128) -> String {
    let listen = node.listen_addr();
    let data_dir = &node.config().node.data_dir;
    let program = program();
    let advertised = node.advertised();
    let connection = connection_flags(reachable(listen), data_dir, node.ca_file().as_deref());
    let mut text = format!("Millrace {} is ready ({started_ms} ms)\n\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "  {name:24} {value}").expect("writing to a String does not fail");
    };
    line("Kafka clients (TCP)", &listen);
    line("Millrace clients (QUIC)", &listen);
    line("clients are told", &host_and_port(&advertised.host, advertised.port));
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

/// Where this machine's own commands reach what listens on `listen`; every generated certificate has the loopback
/// addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
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

    #[test]
    fn commands_connect_to_an_address_that_can_be_connected_to() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:9092"), LISTEN);
        assert_eq!(reached("[::]:7"), "[::1]:7");
        assert_eq!(reached("192.0.2.1:7"), "192.0.2.1:7");
    }

    #[test]
    fn a_host_is_advertised_with_or_without_a_port() {
        for (text, host, port) in [
            ("kafka.example", "kafka.example", None),
            ("kafka.example:443", "kafka.example", Some(443)),
            ("192.0.2.1:443", "192.0.2.1", Some(443)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
        ] {
            assert_eq!(parse_advertise(text), Ok(Advertise { host: host.to_owned(), port }), "{text}");
        }
        for wrong in ["", ":1", "0.0.0.0", "[::]:1", "h:", "h:0", "h:65536", "h:x", "http://h:1", "[::1]x"] {
            assert!(parse_advertise(wrong).is_err(), "{wrong}");
        }
    }
}
