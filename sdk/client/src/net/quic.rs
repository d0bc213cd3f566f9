//! The client's QUIC endpoint: one UDP socket for all brokers, tuned for large transfers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::ConnectError;
use crate::settings::QuicTuning;

/// Packets that a broker may receive before it acknowledges.
const ACK_EVERY_PACKETS: u32 = 10;

/// Sockets by address family, made when first needed.
pub(crate) struct QuicDialer {
    tuning: QuicTuning,
    config: ClientConfig,
    v4: Mutex<Option<Endpoint>>,
    v6: Mutex<Option<Endpoint>>,
}

impl QuicDialer {
    pub(crate) fn new(tuning: &QuicTuning, tls: Arc<rustls::ClientConfig>) -> Result<Self, ConnectError> {
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| ConnectError::Tls {
            what: "set up QUIC".to_owned(),
            reason: error.to_string(),
        })?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport_config(tuning)));
        Ok(Self { tuning: tuning.clone(), config, v4: Mutex::new(None), v6: Mutex::new(None) })
    }

    /// Connects to `address`, whose certificate must carry `server_name`.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        server_name: &str,
    ) -> io::Result<quinn::Connection> {
        let endpoint = self
            .endpoint(address)
            .map_err(|error| io::Error::new(error.kind(), format!("open a UDP socket: {error}")))?;
        let connecting =
            endpoint.connect_with(self.config.clone(), address, server_name).map_err(io::Error::other)?;
        Ok(connecting.await?)
    }

    fn endpoint(&self, to: SocketAddr) -> io::Result<Endpoint> {
        let (slot, any) = match to {
            SocketAddr::V4(_) => (&self.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&self.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        let mut slot = slot.lock();
        if let Some(endpoint) = &*slot {
            return Ok(endpoint.clone());
        }
        let socket = Socket::new(Domain::for_address(any), Type::DGRAM, Some(Protocol::UDP))?;
        enlarge_buffers(&socket, self.tuning.socket_buffer_bytes);
        socket.bind(&any.into())?;
        let mut config = EndpointConfig::default();
        config
            .max_udp_payload_size(self.tuning.mtu_upper_bound.max(1472))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let endpoint = Endpoint::new(config, None, socket.into(), Arc::new(quinn::TokioRuntime))?;
        *slot = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// Tells all peers that the client goes, and waits until they can have heard it.
    pub(crate) async fn close(&self) {
        let endpoints: Vec<_> = [&self.v4, &self.v6].iter().filter_map(|slot| slot.lock().take()).collect();
        for endpoint in endpoints {
            endpoint.close(VarInt::from_u32(0), b"client closed");
            endpoint.wait_idle().await;
        }
    }
}

fn transport_config(tuning: &QuicTuning) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(tuning.mtu_upper_bound);
    // The standard's default, an acknowledgement for every second packet, costs a fifth of the goodput.
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY_PACKETS));
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acks))
        .stream_receive_window(VarInt::from_u32(tuning.stream_window_bytes))
        .receive_window(VarInt::from_u32(tuning.connection_window_bytes))
        .send_window(u64::from(tuning.send_window_bytes))
        .mtu_discovery_config(Some(mtu))
        .keep_alive_interval(Some(tuning.keep_alive))
        // Brokers never open streams to a client, nor send it datagrams.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None);
    if let Ok(timeout) = IdleTimeout::try_from(tuning.idle_timeout) {
        config.max_idle_timeout(Some(timeout));
    }
    config
}

/// Asks for buffers beyond the system's limit where the process may (CAP_NET_ADMIN), within it where not. A
/// smaller buffer costs throughput, nothing else, so failure is not reported.
fn enlarge_buffers(socket: &Socket, bytes: usize) {
    let _ = socket.set_send_buffer_size(bytes);
    let _ = socket.set_recv_buffer_size(bytes);
    #[cfg(target_os = "linux")]
    force_buffers(socket, bytes);
}

#[cfg(target_os = "linux")]
fn force_buffers(socket: &Socket, bytes: usize) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_send_buffer_size_force(socket, bytes);
    let _ = sockopt::set_socket_recv_buffer_size_force(socket, bytes);
}
