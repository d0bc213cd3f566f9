//! Order routing over the sample orders, in whatever language the transform was written.

use bytes::Bytes;
use millrace_plugin_host::{Kind, Transform};
use millrace_test_harness::{example_plugin, plugin};

use crate::{Bench, Owned, Setup, batch, orders, owned, roomy};

/// The deployment's output topics, in the order of their indexes.
pub const ROUTES: [&str; 5] = ["orders.eu", "orders.us", "orders.apac", "orders.priority", "orders.rejected"];
const BATCH_RECORDS: usize = 500;

/// What becomes of each batch of sample orders.
pub async fn route(bench: &Bench, module: Bytes) -> Vec<Vec<Owned>> {
    let deployment =
        bench.deploy(module, Kind::Transform, Setup::default().outputs(&ROUTES).limits(roomy())).await;
    let mut transform = Transform::new(deployment, 0);
    let orders = orders();
    let mut routed = Vec::new();
    for (number, values) in orders.chunks(BATCH_RECORDS).enumerate() {
        let batch = batch((number * BATCH_RECORDS) as i64, values);
        let call = transform.transform(&batch).await;
        routed.push(owned(&call.result.expect("the plugin does its work")));
        if number == 1 {
            eprintln!(
                "{:?} for {BATCH_RECORDS} orders, {} bytes of memory",
                call.usage.busy, call.usage.memory_peak
            );
        }
    }
    routed
}

/// Fails unless the transform of `examples/plugins/<language>` makes what the Rust plugin makes, byte for byte.
pub async fn compare(language: &str) {
    let bench = Bench::new();
    let expected = route(&bench, plugin("order-routing")).await;
    let found = route(&bench, example_plugin(language)).await;
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "records of batch {number}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found, expected, "batch {number}");
        }
    }
    assert_eq!(found.len(), expected.len());
}
