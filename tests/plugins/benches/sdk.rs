//! What the SDK costs: plugins written with it, in the host, against the same logic by hand and native.
//!
//! ```text
//! cargo bench -p millrace-plugin-tests
//! ```
//!
//! Each figure is the best of several rounds on one thread, by the processor time that it took, and ratios
//! are of one run.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use millrace_plugin_host::packing::{Collector, OutputLimits};
use millrace_plugin_host::{Deployment, Kind, Transform};
use millrace_plugin_tests::{Bench, Setup, plugin, roomy};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use tokio::runtime::{Builder, Runtime};

#[path = "../../guests/filter_logic.rs"]
mod filter_logic;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(200);

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("start a runtime");
    let bench = Bench::new();
    let deploy = |name| {
        let setup = Setup::default().outputs(&["out"]).limits(roomy());
        runtime.block_on(bench.deploy(plugin(&format!("guest-{name}")), Kind::Transform, setup))
    };
    let (filter, identity) = (deploy("filter"), deploy("identity"));
    for records in [100, 1_000, 5_000] {
        filter_rates(&runtime, &filter, records);
    }
    for records in [60, 500, 900] {
        identity_rates(&runtime, &identity, records);
    }
}

/// How often a second each of `works` ran in the best of its rounds.
fn rates<const N: usize>(mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [0.0_f64; N];
    for _ in 0..ROUNDS {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let (began, mut times, mut taken) = (thread_time(), 0_u32, Duration::ZERO);
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
    let limits = OutputLimits { outputs: 1, bytes: usize::MAX, records: u64::MAX, block_bytes: usize::MAX };
    let mut block = Vec::new();
    let mut native = || {
        filter_logic::filter(black_box(&input.bytes), &mut block);
        let mut collector = Collector::default();
        collector.take(&block, &limits).expect("a good block");
        black_box(collector.into_batches());
    };
    let [hosted, native] = rates([&mut hosted, &mut native]);
    let records = records as f64;
    println!(
        "filter, {records:>5} records of 100 B a batch: {:6.1} M records/s; natively {:6.1} ({:.0} %)",
        hosted * records / 1e6,
        native * records / 1e6,
        100.0 * hosted / native,
    );
}

fn identity_rates(runtime: &Runtime, deployment: &Arc<Deployment>, records: usize) {
    let input = batch(records, 1_024);
    let mut transform = Transform::new(Arc::clone(deployment), 0);
    let [hosted] = rates([&mut || {
        black_box(runtime.block_on(transform.transform(&input)).result.expect("the identity works"));
    }]);
    let rate = hosted * input.bytes.len() as f64 / 1e9;
    println!("identity, {records:>4} records of 1 KiB a batch: {rate:6.2} GB/s");
}
