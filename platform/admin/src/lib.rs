//! The broker's HTTP side: `/healthz`, `/readyz` and `/metrics`.
//!
//! It knows nothing of brokers: the binary gives it a registry of metrics and a function that says whether
//! the broker is ready. Its handlers never wait for anything, so a probe is answered even by a broker in
//! trouble.

mod routes;
mod server;

pub use server::{AdminError, AdminOptions, AdminServer, serve};

/// Whether the broker can serve its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// The reason, for the person who looks at the probe's answer.
    NotReady(String),
}
