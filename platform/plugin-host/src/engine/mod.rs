//! The one engine of a broker: how code is compiled and how much is reserved for running it.

mod ticker;

use std::num::NonZeroUsize;
use std::sync::Arc;

use wasmtime::{Config, Enabled, Engine, OptLevel, PoolingAllocationConfig};

use crate::limits::{HostLimits, MEMORY_BYTES_MAX, STACK_BYTES, TABLE_ELEMENTS_MAX};

pub(crate) use ticker::Ticker;

/// A component has its own module, and those that adapt it: three where the tools are Rust's or C's. Those
/// of Python have thirty, and take the place of ten others.
const CORE_INSTANCES_EACH: u32 = 4;
const TABLES_EACH: u32 = 4;
const TABLES_PER_MODULE: u32 = 4;
/// Frames of a trap's backtrace that are kept.
const BACKTRACE_FRAMES: usize = 32;

/// The engine, and the clock by which it stops what runs too long.
#[derive(Clone)]
pub(crate) struct PluginEngine {
    pub engine: Engine,
    pub ticker: Arc<Ticker>,
}

impl PluginEngine {
    pub fn new(limits: &HostLimits) -> wasmtime::Result<Self> {
        let engine = Engine::new(&config(limits))?;
        let ticker = Arc::new(Ticker::start(&engine)?);
        Ok(Self { engine, ticker })
    }
}

fn config(limits: &HostLimits) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(pool(limits))
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        // The guest's part, and as much for the host's functions that it calls.
        .async_stack_size(4 * STACK_BYTES)
        .cranelift_opt_level(OptLevel::Speed)
        // The same bytes on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Backtraces walk frame pointers; the tables for others cost time when code is loaded.
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES));
    config
}

fn pool(limits: &HostLimits) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let instances = limits.instances;
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_EACH))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES_EACH))
        .total_stacks(instances)
        .max_tables_per_module(TABLES_PER_MODULE)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(limits.slot_resident_bytes)
        .table_keep_resident(4096)
        // Asks the kernel (Linux 6.7) which pages a finished instance has touched, and clears no others.
        .pagemap_scan(Enabled::Auto);
    pool
}
