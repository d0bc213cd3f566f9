//! The settings of QUIC and of its UDP sockets.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use millrace_base::limits::{KIB, MIB};
use quinn::{EndpointConfig, MtuDiscoveryConfig, TransportConfig, VarInt};

/// What QUIC's speed depends on, each with its reason. `examples/raw_quic.rs` measures them.
///
/// Left as quinn has them, because nothing was gained: cubic (BBR was slower on loopback), and acknowledging
/// every second packet (every tenth or thirtieth saved nothing measurable, and slows the start of a
/// connection).
#[derive(Clone, Debug)]
pub struct QuicTuning {
    /// Socket buffers each way. With the usual 208 KiB a burst is dropped before the endpoint's task gets
    /// its turn, and each loss halves the congestion window.
    pub socket_buffer_bytes: usize,
    /// Where path-MTU discovery stops. Packets cost per packet, so loopback and jumbo frames gain most from
    /// large ones. quinn hands ten packets to one segmented send, and one above 64 KiB is refused by the
    /// kernel, which quinn takes for a loss: ten times this must stay below 65,507.
    pub mtu_upper_bound: u16,
    /// Unread bytes per stream. Enough for a 1 MiB batch in flight while the one before it is read; 16 MiB
    /// made loopback slower, because more data leaves the CPU's cache before it is read.
    pub stream_window_bytes: u32,
    /// Unread bytes of all streams of a connection: what one peer can make us hold besides the budget of
    /// receive buffers. Less when there are many connections.
    pub connection_window_bytes: u32,
    /// Unacknowledged bytes kept for resending: the most that is in flight to one peer. Less when there are many
    /// connections.
    pub send_window_bytes: u64,
    /// A peer that is silent for this long is gone. Clients that stay send keep-alives.
    pub peer_timeout: Duration,
}

impl Default for QuicTuning {
    fn default() -> Self {
        Self {
            socket_buffer_bytes: 4 * MIB,
            mtu_upper_bound: 6550,
            stream_window_bytes: 4 * MIB as u32,
            connection_window_bytes: 16 * MIB as u32,
            send_window_bytes: 8 * MIB as u64,
            peer_timeout: Duration::from_secs(30),
        }
    }
}

impl QuicTuning {
    /// The settings as quinn takes them; for a server and a client alike.
    pub fn transport_config(&self, streams_max: u32) -> TransportConfig {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(self.mtu_upper_bound);
        let mut config = TransportConfig::default();
        config
            .max_concurrent_bidi_streams(VarInt::from_u32(streams_max))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .stream_receive_window(VarInt::from_u32(self.stream_window_bytes))
            .receive_window(VarInt::from_u32(self.connection_window_bytes))
            .send_window(self.send_window_bytes)
            .max_idle_timeout(self.peer_timeout.try_into().ok())
            .mtu_discovery_config(Some(mtu));
        config
    }

    /// The endpoint's settings: it accepts packets as large as discovery may try.
    pub fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig::default();
        // Refused below 1200 only, which QUIC does not know; the default then stands.
        let _ = config.max_udp_payload_size(self.mtu_upper_bound.max(1472));
        config
    }

    /// Gives a UDP socket its buffers: beyond the system's limit where we may, else as far as it goes. Returns
    /// the size of the smaller one.
    pub fn size_buffers(&self, socket: &UdpSocket) -> io::Result<usize> {
        use rustix::net::sockopt;
        let bytes = self.socket_buffer_bytes;
        if sockopt::set_socket_recv_buffer_size_force(socket, bytes).is_err() {
            sockopt::set_socket_recv_buffer_size(socket, bytes)?;
        }
        sockopt::set_socket_send_buffer_size(socket, bytes)?;
        // The kernel doubles what is asked, for its own accounts, and reports the double.
        Ok(sockopt::socket_recv_buffer_size(socket)?.min(sockopt::socket_send_buffer_size(socket)?) / 2)
    }
}

/// Connections that each get the whole of their windows. What further ones get is divided by as much as there are more.
const WHOLE_WINDOWS: u64 = 32;
/// The smallest window: some full packets in flight.
const WINDOW_BYTES_MIN: u64 = 128 * KIB as u64;

/// A connection's part of a window when there are `connections`.
fn shared_window(whole: u64, connections: u64) -> u64 {
    let part = whole * WHOLE_WINDOWS / connections.max(WHOLE_WINDOWS);
    part.max(WINDOW_BYTES_MIN.min(whole))
}

impl QuicTuning {
    /// Bounds what a connection can make us hold by how many there are.
    pub(crate) fn limit(&self, connection: &quinn::Connection, connections: u64) {
        let receive = shared_window(self.connection_window_bytes.into(), connections);
        // Below 2^32, as the whole is.
        connection.set_receive_window(VarInt::try_from(receive).unwrap_or(VarInt::MAX));
        connection.set_send_window(shared_window(self.send_window_bytes, connections));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_get_smaller_with_more_connections() {
        let whole = 16 * MIB as u64;
        assert_eq!([1, 32].map(|connections| shared_window(whole, connections)), [whole; 2]);
        assert_eq!(shared_window(whole, 64), whole / 2);
        assert_eq!(shared_window(whole, 1_000_000), WINDOW_BYTES_MIN);
        assert_eq!(shared_window(1000, 1_000_000), 1000, "never more than the whole");
    }
}
