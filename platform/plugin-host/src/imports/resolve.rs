//! Where the names of granted hosts may lead.
//!
//! A grant by name trusts whoever answers for the name to say where it is, but not to point it at this machine or
//! at what only this machine may ask, such as a cloud's metadata. The addresses are looked at where they are
//! connected to, so that an answer that changes meanwhile changes nothing. Addresses that are granted by number
//! are never resolved and so never looked at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::vec;

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// The metadata service of a cloud, at an address that is otherwise a private one.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// A name that leads where none may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` leads to {address}, which a grant by name does not open (loopback, link-local, metadata and multicast \
     addresses); grant the address itself if that is meant"
)]
pub(super) struct Prohibited {
    name: String,
    address: IpAddr,
}

/// The system's resolver, without the addresses that are closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver;

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move { resolve(name.as_str()).await.map(Vec::into_iter) })
    }
}

/// The addresses of a host that was granted by its name, without those that are closed; their port is 0. None left is
/// [`io::ErrorKind::PermissionDenied`].
pub async fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
    if name.len() > 253 {
        return Err(io::Error::other("a host's name has no more than 253 bytes"));
    }
    let found = tokio::net::lookup_host((name, 0)).await?.collect();
    open(name, found).map_err(|closed| io::Error::new(io::ErrorKind::PermissionDenied, closed))
}

/// Of the addresses that `name` has, those that may be connected to.
fn open(name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Prohibited> {
    // Who grants this name means this machine.
    let name = name.trim_end_matches('.');
    let is_localhost = name.eq_ignore_ascii_case("localhost");
    let may = |address: IpAddr| is_open(address) || is_localhost && address.is_loopback();
    let first_closed = found.iter().map(SocketAddr::ip).find(|address| !may(*address));
    let open: Vec<_> = found.into_iter().filter(|address| may(address.ip())).collect();
    match first_closed {
        Some(address) if open.is_empty() => Err(Prohibited { name: name.to_owned(), address }),
        _ => Ok(open),
    }
}

/// Private networks are open: what is granted by name is often there.
fn is_open(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_open_v4(address),
        IpAddr::V6(address) => {
            let is_closed = address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address == METADATA_V6
                // An IPv4 address in an old form, or behind a translator.
                || embedded(address).is_some_and(|address| !is_open_v4(address));
            !is_closed
        }
    }
}

fn is_open_v4(address: Ipv4Addr) -> bool {
    let is_this_network = address.octets()[0] == 0;
    let is_closed = address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || is_this_network;
    !is_closed
}

/// The IPv4 address within `::a.b.c.d` and `64:ff9b::a.b.c.d`.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [first, second, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    let is_known = matches!((first, second), (0, 0) | (0x64, 0xff9b));
    is_known.then(|| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_no_address_of_this_machine_and_to_no_metadata() {
        for closed in [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!is_open(closed.parse().unwrap()), "{closed}");
        }
        for public in ["93.184.216.34", "10.0.0.7", "192.168.1.2", "172.16.0.1", "fd00::7", "2606:2800::1"] {
            assert!(is_open(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn closed_addresses_are_left_out_and_localhost_means_this_machine() {
        let addresses = |all: &[&str]| -> Vec<SocketAddr> {
            all.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect()
        };
        let mixed = addresses(&["127.0.0.1", "10.0.0.7"]);
        assert_eq!(open("hooks.example.com", mixed), Ok(addresses(&["10.0.0.7"])));
        let refused = open("hooks.example.com", addresses(&["169.254.169.254"])).unwrap_err().to_string();
        assert!(refused.starts_with("`hooks.example.com` leads to 169.254.169.254"), "{refused}");
        let here = addresses(&["127.0.0.1", "::1"]);
        assert_eq!(open("localhost", here.clone()), Ok(here));
        assert!(open("localhost", addresses(&["169.254.169.254"])).is_err());
    }
}
