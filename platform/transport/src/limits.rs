//! What one peer, and all of them together, can make the broker hold, and for how long.

use std::time::Duration;

use millrace_base::limits::{FRAME_BYTES_MAX, KIB, MIB, SMALL_REQUESTS_SHARE};

/// Bytes read at a time where no frame is in progress.
pub(crate) const SCRATCH_BYTES: usize = 64 * KIB;

/// The first byte of a TLS connection, a handshake record's type.
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;
/// The shortest frame whose length begins with that byte.
const FIRST_BYTE_OF_TLS: usize = (TLS_HANDSHAKE as usize) << 24;

const _: () = assert!(FRAME_BYTES_MAX < FIRST_BYTE_OF_TLS, "plain Kafka must not be taken for TLS");

/// The bounds of a listener. Every default is a broker's; [`validate`](Self::validate) checks the relations.
#[derive(Clone, Debug)]
pub struct TransportLimits {
    /// Open connections of all transports, half-open ones included. Further ones are closed at once, unless one that is
    /// idle makes room.
    pub connections_max: usize,
    /// Open connections from one address; `None` for as many as `connections_max`. Off by default because
    /// many clients can share one address behind a gateway.
    pub connections_per_ip_max: Option<usize>,
    /// Largest frame that a peer may announce.
    pub frame_bytes_max: usize,
    /// From the accepted connection to the end of its handshake, or the first byte on plain TCP. Kafka
    /// clients speak at once; ten seconds suffer a slow network.
    pub handshake_timeout: Duration,
    /// Without a request, and with none in flight. Kafka's `connections.max.idle.ms`.
    pub idle_timeout: Duration,
    /// As `idle_timeout`, from where on a connection makes room for another when all of `connections_max` are taken.
    pub idle_min: Duration,
    /// Without progress while a frame is on its way, or a reply to the peer. Each byte earns time back, as
    /// `bytes_per_second_min` says. Clients give up a request after as long.
    pub stall_timeout: Duration,
    /// Slowest pace at which a frame may arrive, and replies may be read.
    pub bytes_per_second_min: usize,
    /// As `stall_timeout`, for frames while receive memory is short, and for replies while theirs is.
    pub short_stall_timeout: Duration,
    /// As `bytes_per_second_min`, for frames while receive memory is short.
    pub short_bytes_per_second_min: usize,
    /// How long the replies still owed to a peer that has closed its sending side are waited for.
    pub half_close_timeout: Duration,
    /// Requests of one pipeline whose replies are not sent yet. Kafka's clients keep at most five.
    pub in_flight_max: usize,
    /// Bytes of those requests and replies. One request or reply is always let through.
    pub in_flight_bytes_max: usize,
    /// Receive buffers of all connections together, an eighth of it for small frames alone. A frame takes its share
    /// as it arrives, and waits for it where there is none.
    pub receive_bytes_max: usize,
    /// Replies of all connections that are in memory and not read yet. While they hold as much a pipeline gets one at a
    /// time, and while they hold four times as much none.
    pub reply_bytes_max: usize,
    /// Of the receive buffers, how many bytes stay allocated for reuse while nobody needs them.
    pub receive_pool_bytes: usize,
    /// Concurrent streams of one QUIC connection.
    pub streams_max: u32,
    /// Streams of all QUIC connections together; further ones are reset. Clients use a handful each.
    pub quic_streams_max: usize,
    /// QUIC handshakes in progress from which a new client must prove its address first (a Retry), so that
    /// forged addresses cost no handshake.
    pub retry_above: usize,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_ip_max: None,
            frame_bytes_max: FRAME_BYTES_MAX,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            idle_min: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            bytes_per_second_min: 64 * KIB,
            short_stall_timeout: Duration::from_secs(3),
            short_bytes_per_second_min: MIB,
            half_close_timeout: Duration::from_secs(5),
            in_flight_max: 100,
            in_flight_bytes_max: 32 * MIB,
            receive_bytes_max: 512 * MIB,
            reply_bytes_max: 512 * MIB,
            receive_pool_bytes: 64 * MIB,
            streams_max: 256,
            quic_streams_max: 32_768,
            retry_above: 256,
        }
    }
}

/// Limits that contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    #[error("{name} is 0; it must be at least 1")]
    Zero { name: &'static str },
    #[error(
        "receive_bytes_max {receive} without its share for small frames is below frame_bytes_max {frame}: the \
         largest frame could never be read"
    )]
    FrameAboveBudget { receive: usize, frame: usize },
    #[error("frame_bytes_max {frame} is above {limit}, from where on a frame looks like a TLS handshake")]
    FrameAboveFormat { frame: usize, limit: usize },
}

impl TransportLimits {
    /// Checks what the transports rely on.
    pub fn validate(&self) -> Result<(), LimitsError> {
        let counts = [
            ("connections_max", self.connections_max),
            ("frame_bytes_max", self.frame_bytes_max),
            ("bytes_per_second_min", self.bytes_per_second_min),
            ("short_bytes_per_second_min", self.short_bytes_per_second_min),
            ("in_flight_max", self.in_flight_max),
            ("in_flight_bytes_max", self.in_flight_bytes_max),
            ("reply_bytes_max", self.reply_bytes_max),
            ("streams_max", self.streams_max as usize),
        ];
        for (name, value) in counts {
            if value == 0 {
                return Err(LimitsError::Zero { name });
            }
        }
        if self.receive_bytes_max - self.small_receive_bytes() < self.frame_bytes_max {
            return Err(LimitsError::FrameAboveBudget {
                receive: self.receive_bytes_max,
                frame: self.frame_bytes_max,
            });
        }
        let limit = FIRST_BYTE_OF_TLS - 1;
        if self.frame_bytes_max > limit {
            return Err(LimitsError::FrameAboveFormat { frame: self.frame_bytes_max, limit });
        }
        Ok(())
    }

    /// The part of the receive buffers that only small frames get.
    pub(crate) const fn small_receive_bytes(&self) -> usize {
        self.receive_bytes_max / SMALL_REQUESTS_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_agree_and_contradictions_are_named() {
        TransportLimits::default().validate().unwrap();
        let small = TransportLimits { receive_bytes_max: MIB, ..TransportLimits::default() };
        assert!(small.validate().unwrap_err().to_string().contains("receive_bytes_max"));
        let none = TransportLimits { in_flight_max: 0, ..TransportLimits::default() };
        assert!(none.validate().unwrap_err().to_string().contains("in_flight_max"));
    }
}
