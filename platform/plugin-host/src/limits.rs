//! What plugins may use: of the host together, and of a call each. Every limit has a default and its reason.

use std::time::Duration;

use millrace_base::limits::{BATCH_BYTES_MAX, GIB, KIB, MIB};

/// Largest module that is accepted. Components of interpreted languages carry their interpreter: 12 MiB for
/// JavaScript, 40 MiB for Python.
pub const MODULE_BYTES_MAX: usize = 64 * MIB;

/// How often a running guest is looked at: it can outrun its deadline by this much, and a neighbour on the
/// same thread waits for it no longer than this.
pub const EPOCH_TICK: Duration = Duration::from_millis(2);

/// Memory that one linear memory may grow to, whatever a deployment allows.
pub const MEMORY_BYTES_MAX: usize = GIB;

/// Elements of one table; interpreters have some ten thousand functions in theirs.
pub const TABLE_ELEMENTS_MAX: usize = 64 * KIB;

/// Bytes of a guest's call stack; a recursion that never ends is stopped here.
pub const STACK_BYTES: usize = 512 * KIB;

/// Longest line that the log takes; the rest of a longer one is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 8 * KIB;

/// What the host reserves for all plugins together, once, when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Instances that live at one time. A slot costs address space, not memory, until it is used.
    pub instances: u32,
    /// Memory that the slots of finished instances keep for the next, each; what is beyond goes back to the
    /// system. Starting an instance in kept memory spares page faults.
    pub slot_resident_bytes: usize,
    /// Threads that compile. They run at the lowest priority, so that deploying takes nothing from serving.
    pub compile_threads: usize,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self { instances: 1000, slot_resident_bytes: 64 * KIB, compile_threads: 2 }
    }
}

/// What one deployment's instances may use in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Processor time: what a guest computes. Waiting, for the outside or for a processor, does not count.
    pub busy: Duration,
    /// Time by the clock, waiting included.
    pub elapsed: Duration,
    /// Linear memory of an instance.
    pub memory_bytes: usize,
    /// Bytes of a call's output.
    pub output_bytes: usize,
    /// Records of a call's output: its fan-out.
    pub output_records: u64,
    /// Records of one output block in bytes; what fits the output topics' largest batch.
    pub block_bytes: usize,
    /// Bytes of an input batch after decompression.
    pub input_bytes: usize,
    /// Log lines a second, over all instances of the deployment; ten seconds' worth may come at once.
    pub log_lines_per_second: u32,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            // Three orders of magnitude more than a batch of a thousand records needs.
            busy: Duration::from_secs(1),
            elapsed: Duration::from_secs(30),
            // Interpreters start at some 40 MiB; what counts is used memory, not this limit.
            memory_bytes: 128 * MIB,
            output_bytes: 64 * MIB,
            output_records: 1_000_000,
            // Below Kafka's default max.message.bytes of 1 MiB, with room for the header.
            block_bytes: 1_000_000,
            input_bytes: BATCH_BYTES_MAX,
            log_lines_per_second: 100,
        }
    }
}

const _: () = assert!(MODULE_BYTES_MAX < MEMORY_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < MEMORY_BYTES_MAX, "a batch must fit into a guest");
const _: () = assert!(MEMORY_BYTES_MAX <= 4 * GIB, "linear memories are 32 bits");
