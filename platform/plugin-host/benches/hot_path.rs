//! What a record costs in the host, and what an instance does. One command:
//!
//! ```text
//! cargo bench -p millrace-plugin-host
//! ```
//!
//! Every figure is the best of several rounds on one thread, by the processor time that they took, and ratios
//! are of one run: the filter's logic is the same source, compiled to WebAssembly and natively. The guest is built by `rustc`, which needs the
//! target `wasm32-unknown-unknown`.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_plugin_host::packing::{Collector, OutputLimits};
use millrace_plugin_host::{CallLimits, Deployment, Kind, Transform};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use tokio::runtime::Runtime;

#[path = "../../../tests/guests/filter_logic.rs"]
mod filter_logic;
// The tests' own helper, of which a benchmark needs a part.
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../tests/hosting/guests.rs"]
mod guests;

use guests::{Bench, guest};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(200);

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start a runtime");
    let bench = Bench::new();
    let limits = CallLimits { busy: Duration::from_secs(5), ..CallLimits::default() };
    let filter = bench.deploy_with(filter_guest(), Kind::Transform, limits);
    let identity = bench.deploy_with(guest("identity", "transform"), Kind::Transform, limits);

    for records in [100, 1000, 5000] {
        filter_rates(&runtime, &filter, records);
    }
    for records in [60, 500, 900] {
        identity_rates(&runtime, &identity, records);
    }
    overheads(&runtime, &bench, &identity);
    idle_deployments(&runtime);
}

/// Rounds of each of `works` in turn, and how often a second each ran in its best.
fn rates<const N: usize>(mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [0.0f64; N];
    for _ in 0..ROUNDS {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let (began, mut times) = (thread_time(), 0u32);
            let mut taken = Duration::ZERO;
            while taken < ROUND {
                for _ in 0..10 {
                    work();
                }
                times += 10;
                taken = thread_time() - began;
            }
            *best = best.max(f64::from(times) / taken.as_secs_f64());
        }
    }
    best
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time passes forwards")
}

/// Half of the records begin with an even byte.
fn batch(records: usize, value_bytes: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    for index in 0..records {
        let mut value = vec![b'v'; value_bytes];
        value[0] = (index * 7 / 3) as u8;
        builder.append(1_700_000_000_000 + index as i64, None, Some(&value), &[]);
    }
    let bytes = builder.finish(Codec::None, ProducerState::NONE).expect("a batch without compression");
    Batch::parse(bytes).expect("a batch")
}

fn filter_rates(runtime: &Runtime, deployment: &Arc<Deployment>, records: usize) {
    let input = batch(records, 100);
    let mut transform = Transform::new(Arc::clone(deployment), 0);
    let mut hosted = || {
        black_box(runtime.block_on(transform.transform(&input)).result.expect("the filter works"));
    };
    let mut block = Vec::new();
    let mut logic = || {
        filter_logic::filter(black_box(&input.bytes), &mut block);
        black_box(&block);
    };
    let limits = OutputLimits { outputs: 1, bytes: usize::MAX, records: u64::MAX, block_bytes: usize::MAX };
    let mut native_block = Vec::new();
    let mut native = || {
        filter_logic::filter(black_box(&input.bytes), &mut native_block);
        let mut collector = Collector::default();
        collector.take(&native_block, &limits).expect("a good block");
        black_box(collector.into_batches());
    };
    let [hosted, native, logic] = rates([&mut hosted, &mut native, &mut logic]);
    let records = records as f64;
    println!(
        "filter, {records:>5} records of 100 B a batch: {:6.1} M records/s; natively {:6.1} to the same batches \
         ({:.0} %), {:6.1} for the logic alone ({:.0} %)",
        hosted * records / 1e6,
        native * records / 1e6,
        100.0 * hosted / native,
        logic * records / 1e6,
        100.0 * hosted / logic,
    );
}

fn identity_rates(runtime: &Runtime, deployment: &Arc<Deployment>, records: usize) {
    let input = batch(records, 1024);
    let mut transform = Transform::new(Arc::clone(deployment), 0);
    let [hosted] = rates([&mut || {
        black_box(runtime.block_on(transform.transform(&input)).result.expect("the identity works"));
    }]);
    println!(
        "identity, {records:>4} records of 1 KiB a batch: {:6.2} GB/s",
        hosted * input.bytes.len() as f64 / 1e9
    );
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn overheads(runtime: &Runtime, bench: &Bench, deployment: &Arc<Deployment>) {
    let input = batch(1, 100);
    let mut transform = Transform::new(Arc::clone(deployment), 0);
    let [warm] = rates([&mut || {
        black_box(runtime.block_on(transform.transform(&input)).result.expect("the identity works"));
    }]);
    let [started] = rates([&mut || {
        transform.release();
        black_box(runtime.block_on(transform.transform(&input)).result.expect("the identity works"));
    }]);
    let (call, start) = (1e6 / warm, 1e6 / started - 1e6 / warm);
    println!("a call with one record: {call:.2} µs; an instance, its start and end: {start:.2} µs");

    let mut cold: Vec<_> = (0..500)
        .map(|_| {
            transform.release();
            assert!(bench.host.unload_idle(Duration::ZERO) > 0, "it is not loaded any more");
            let began = Instant::now();
            black_box(runtime.block_on(transform.transform(&input)).result.expect("the identity works"));
            began.elapsed()
        })
        .collect();
    cold.sort_unstable();
    println!(
        "a first event with the code unloaded: median {:?}, p99 {:?}",
        percentile(&cold, 50),
        percentile(&cold, 99)
    );
}

/// Each of a module of its own, used once and idle since.
fn idle_deployments(runtime: &Runtime) {
    const DEPLOYMENTS: usize = 500;
    let bench = Bench::new();
    let module = guest("identity", "transform");
    let input = batch(1, 100);
    let run = |number: usize| {
        let deployment = bench.deploy_with(distinct(&module, number), Kind::Transform, CallLimits::default());
        let mut transform = Transform::new(Arc::clone(&deployment), 0);
        runtime.block_on(transform.transform(&input)).result.expect("the identity works");
        transform.release();
        bench.host.unload_idle(Duration::ZERO);
        transform
    };
    // What the first ones touch, the others share.
    let mut deployments: Vec<_> = (0..50).map(run).collect();
    let before = resident_bytes();
    deployments.extend((50..50 + DEPLOYMENTS).map(run));
    let each = resident_bytes().saturating_sub(before) / DEPLOYMENTS;
    let of_module = module.len();
    println!(
        "an idle deployment: {:.1} KB resident, of which {:.1} are the module, that this program keeps in memory",
        each as f64 / 1e3,
        of_module as f64 / 1e3
    );
    black_box(deployments);
}

/// The same module with another digest: a custom section with a number.
fn distinct(module: &Bytes, number: usize) -> Bytes {
    let number = u32::try_from(number).expect("a small number").to_le_bytes();
    [&module[..], &[0, 6, 1, b'n'], &number].concat().into()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: usize = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

fn filter_guest() -> Bytes {
    let out = tempfile::tempdir().expect("a temporary directory");
    let wasm = out.path().join("filter.wasm");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=cdylib", "--target=wasm32-unknown-unknown"])
        .args(["-Copt-level=3", "-Cpanic=abort", "-Cstrip=debuginfo", "-Ctarget-feature=+simd128", "-o"])
        .arg(&wasm)
        .arg(Path::new(&guests::guests_dir()).join("filter.rs"))
        .status()
        .expect("run rustc");
    assert!(status.success(), "the guest must compile");
    guests::describe(std::fs::read(&wasm).expect("what rustc wrote"), "transform")
}
