//! Runs users' WebAssembly: partitioners, transforms and sinks, each a component that implements a world of
//! `sdk/wit/plugin.wit`. The only crate that knows wasmtime.
//!
//! A module is named by the SHA-256 of its bytes ([`ModuleDigest`]), looked at without being run
//! ([`inspect`]), compiled once for this machine ([`PluginHost::prepare`]) and run by a [`Deployment`], which
//! says what it is granted and how much it may use. A [`Transform`], [`Partitioner`] or [`Sink`] is one
//! partition's place in a deployment. It starts an instance when there is a batch, replaces it when it
//! failed, and holds nothing when released.
//!
//! Invariants:
//! - Whatever a guest does ends as a [`Failure`] of its own call, within the limits of [`CallLimits`] and
//!   [`limits::EPOCH_TICK`]. No guest can take a thread, memory or a file that was not given to it.
//! - A guest reaches nothing but what is linked for it, and an import that its deployment does not grant is
//!   neither linked nor deployed.
//! - The same partitioner or transform with the same batches gives the same bytes.
//! - Topics, offsets, retries and failure policies are the caller's; nothing here knows a broker.
//!
//! Calls are futures. A guest yields at every tick, and while it waits for the outside it holds no thread, so
//! that they may run on any runtime with I/O and time; one apart from the broker's own requests keeps those
//! quick.

pub mod limits;
pub mod packing;

mod deployment;
mod engine;
mod grants;
mod host;
mod imports;
mod kinds;
mod library;
mod module;
mod run;
mod shared;

pub use deployment::{Deployment, DeploymentSpec};
pub use grants::{Grants, HttpTarget, NotATarget, Secret};
pub use host::{HostError, HostOptions, HostStats, PluginHost};
pub use imports::log::{LogLevel, LogLine, LogSink, LogSource};
pub use imports::postgres::{Database, DatabaseError, Upsert, Value};
pub use imports::resolve::resolve;
pub use kinds::{Delivery, Partitioner, Sink, SinkFailure, SinkFault, Transform};
pub use library::{CacheKey, LibraryStats, LoadError, ModuleStore};
pub use limits::{CallLimits, HostLimits};
pub use module::{Capability, Kind, ModuleDigest, ModuleError, ModuleInfo, NotADigest, Request, inspect};
pub use run::{Call, Failure, Usage};

pub(crate) use grants::CapabilitySet;
