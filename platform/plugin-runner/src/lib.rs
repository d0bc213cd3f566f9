//! Drives plugins beside the data: which deployments there are, what each reads next, where its output goes,
//! and what happens when it fails.
//!
//! The metadata says what is deployed; [`millrace_plugin_host`] runs one call; everything between them is here.
//! Partitions are reached through the port [`Partitions`](millrace_coordinator::Partitions), so that this crate knows no broker.
//!
//! Invariants:
//! - An input offset is committed after every output of the records before it is acknowledged, never earlier.
//! - One partition's records are worked on in their order, one batch at a time.
//! - What fails holds up its own deployment and partition only.

mod dead_letter;
mod logs;
mod metrics;
mod modules;
mod offsets;
mod partitioners;
mod plugins;
mod postgres;
mod pressure;
mod route;
mod runner;
mod secrets;
mod service;
mod spec;
#[cfg(test)]
mod testing;
mod worker;

pub use logs::{LOG_TOPIC, PluginLogs};
pub use metrics::{DeploymentMetrics, PluginMetrics};
pub use modules::{Modules, StoredModule};
pub use partitioners::Partitioners;
pub use plugins::{Plugins, PluginsError, PluginsOptions};
pub use postgres::{NotADatabase, PostgresDatabase};
pub use secrets::{Secrets, SecretsError};
pub use service::{Progress, Service, ServiceParts};
pub use spec::{GrantSource, spec};
