//! Bytes to and from brokers: sockets, TLS, frames and lanes. Knows nothing of topics or requests.

mod certificates;
mod dialer;
mod eyeballs;
mod frames;
mod lane;
mod pool;
mod quic;
mod tls;
mod wire;

pub(crate) use dialer::{Dialer, Link};
pub(crate) use lane::{Lane, LaneError};
