//! What a guest can call: one file an interface. Nothing here is reachable without having been linked, and
//! what needs a grant is linked only for deployments that grant some of it.

pub(crate) mod http;
pub(crate) mod log;
mod output;
pub(crate) mod postgres;
pub(crate) mod resolve;
mod secrets;
mod time;

use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::CapabilitySet;
use crate::module::{Capability, contract_version};
use crate::run::State;

pub(crate) use time::{RealTime, Scope, ScopeClock, ScopeRandom, mix};

/// Everything that a deployment with `capabilities` may import.
pub(crate) fn linker(engine: &Engine, capabilities: CapabilitySet) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    let version = contract_version();
    let name = |interface: &str| format!("millrace:plugin/{interface}@{version}");
    log::link(&mut linker, &name("log"))?;
    output::link(&mut linker, &name("output"))?;
    if capabilities.contains(Capability::Http) {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    if capabilities.contains(Capability::Secrets) {
        secrets::link(&mut linker, &name("secrets"))?;
    }
    if capabilities.contains(Capability::Postgres) {
        postgres::link(&mut linker, &name("postgres"))?;
    }
    Ok(linker)
}
