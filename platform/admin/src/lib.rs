//! The broker's HTTP side: `/healthz`, `/readyz` and `/metrics` for those who watch it, `/v1` for those who manage
//! its plugins.
//!
//! It knows nothing of brokers: the binary gives it a registry of metrics, a function that says whether the
//! broker is ready, and the service that answers requests about plugins. The handlers of probes and metrics
//! never wait for anything, so a probe is answered even by a broker in trouble. Requests about plugins may wait
//! for the service, each in a task of its own, and only so many at a time ([`api`]). What a connection can hold, and for
//! how long, stands in [`connections`].

mod api;
mod connections;
mod routes;
mod server;
mod stream;

pub use connections::AdminLimits;
pub use server::{AdminError, AdminOptions, AdminServer, serve};

/// Whether the broker can serve its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// The reason, for the person who looks at the probe's answer.
    NotReady(String),
}
