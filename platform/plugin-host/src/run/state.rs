//! What a store carries: the instance's WASI context, its log and output, and its memory limit.

use std::sync::Arc;

use wasmtime::ResourceLimiter;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::meter::Meter;
use crate::Deployment;
use crate::imports::http::Egress;
use crate::imports::log::{GuestLog, GuestStdio, LogSource};
use crate::imports::{RealTime, Scope, ScopeClock, ScopeRandom};
use crate::limits::TABLE_ELEMENTS_MAX;
use crate::module::Kind;
use crate::packing::Collector;

/// Core instances, tables and memories that one component may have.
const CORE_INSTANCES_MAX: usize = 100;

pub(crate) struct State {
    pub deployment: Arc<Deployment>,
    pub log: GuestLog,
    pub output: Collector,
    pub(super) scope: Arc<Scope>,
    pub(super) meter: Arc<Meter>,
    pub(super) memory: MemoryLimit,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    egress: Egress,
    table: ResourceTable,
}

impl State {
    pub fn new(deployment: &Arc<Deployment>, partition: u32) -> Self {
        let log = deployment.guest_log(partition);
        let scope = Arc::new(Scope::default());
        Self {
            wasi: wasi(deployment, &log, &scope),
            log,
            output: Collector::default(),
            scope,
            meter: Arc::<Meter>::default(),
            memory: MemoryLimit::new(deployment.limits().memory_bytes),
            http: WasiHttpCtx::new(),
            egress: deployment.egress(),
            table: ResourceTable::new(),
            deployment: Arc::clone(deployment),
        }
    }
}

/// No arguments, environment, files or sockets.
fn wasi(deployment: &Deployment, log: &GuestLog, scope: &Arc<Scope>) -> WasiCtx {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(GuestStdio::new(log.clone(), LogSource::Stdout))
        .stderr(GuestStdio::new(log.clone(), LogSource::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    match deployment.kind() {
        Kind::Sink => {
            wasi.wall_clock(RealTime(deployment.clock()));
        }
        Kind::Partitioner | Kind::Transform => {
            wasi.wall_clock(ScopeClock(Arc::clone(scope)))
                .monotonic_clock(ScopeClock(Arc::clone(scope)))
                .secure_random(ScopeRandom(Arc::clone(scope)))
                .insecure_random(ScopeRandom(Arc::clone(scope)))
                .insecure_random_seed(deployment.seed());
        }
    }
    wasi.build()
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.egress }
    }
}

/// Bounds the linear memory of an instance: of all its memories together.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    limit: usize,
    used: usize,
    /// Whether growth was refused since the call began.
    pub refused: bool,
}

impl MemoryLimit {
    const fn new(limit: usize) -> Self {
        Self { limit, used: 0, refused: false }
    }

    /// Memory never shrinks, so what is used is the peak.
    pub const fn peak(&self) -> usize {
        self.used
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        CORE_INSTANCES_MAX
    }
}
