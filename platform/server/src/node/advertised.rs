//! The address that clients are told, and the names that a generated certificate carries for it.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use millrace_config::broker::ListenConfig;

use super::StartError;

/// Where to listen, and what to tell clients about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Never with port 0.
    pub listen: SocketAddr,
    pub host: String,
    pub port: u16,
}

impl Advertised {
    /// Settles what the configuration leaves open: a free port for port 0, this machine's name for an
    /// unspecified address.
    pub fn of(listen: &ListenConfig) -> Result<Self, StartError> {
        let mut address = listen.address;
        if address.port() == 0 {
            let port = free_port(address.ip()).map_err(|source| StartError::Port { address, source })?;
            address.set_port(port);
        }
        Ok(Self {
            listen: address,
            host: host(listen),
            port: listen.advertised_port.unwrap_or_else(|| address.port()),
        })
    }
}

fn host(listen: &ListenConfig) -> String {
    match &listen.advertised_host {
        Some(host) => host.clone(),
        None if listen.address.ip().is_unspecified() => machine_name(),
        None => listen.address.ip().to_string(),
    }
}

/// What clients may connect to besides the loopback names.
pub fn certificate_names(listen: &ListenConfig) -> Vec<String> {
    let mut names = vec![host(listen)];
    if listen.address.ip().is_unspecified() {
        names.push(machine_name());
    }
    names.sort();
    names.dedup();
    names
}

/// As it is written after `--bootstrap`: an IPv6 address in brackets.
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// A port that is free for TCP and UDP. Metadata names the port before the listener takes it, hence the
/// short time in which somebody else could; that start then fails and says so.
fn free_port(ip: IpAddr) -> std::io::Result<u16> {
    const ATTEMPTS: usize = 16;
    let mut last_error = None;
    for _ in 0..ATTEMPTS {
        let tcp = TcpListener::bind((ip, 0))?;
        let port = tcp.local_addr()?.port();
        match UdpSocket::bind((ip, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str, host: Option<&str>, port: Option<u16>) -> ListenConfig {
        let address = address.parse().unwrap();
        ListenConfig { address, advertised_host: host.map(str::to_owned), advertised_port: port }
    }

    #[test]
    fn clients_are_told_what_the_configuration_says() {
        let plain = Advertised::of(&listen("127.0.0.1:9092", None, None)).unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("127.0.0.1", 9092));
        let behind_proxy = Advertised::of(&listen("0.0.0.0:9092", Some("kafka.example"), Some(443))).unwrap();
        assert_eq!((behind_proxy.host.as_str(), behind_proxy.port), ("kafka.example", 443));
        assert_eq!(behind_proxy.listen.port(), 9092);
        let everywhere = Advertised::of(&listen("0.0.0.0:9092", None, None)).unwrap();
        assert_eq!(everywhere.host, machine_name());
    }

    #[test]
    fn port_0_becomes_a_free_port() {
        let advertised = Advertised::of(&listen("127.0.0.1:0", None, None)).unwrap();
        assert_ne!(advertised.port, 0);
        assert_eq!(advertised.listen.port(), advertised.port);
    }

    #[test]
    fn a_certificate_covers_what_is_advertised() {
        assert_eq!(certificate_names(&listen("127.0.0.1:9092", Some("a.example"), None)), ["a.example"]);
        assert!(certificate_names(&listen("0.0.0.0:1", Some("a.example"), None)).contains(&machine_name()));
    }
}
