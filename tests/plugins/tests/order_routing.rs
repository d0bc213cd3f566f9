//! Order routing over the sample orders: what the Rust plugin makes of them, and that every other language
//! makes the same.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use millrace_plugin_host::{Kind, Transform};
use millrace_plugin_tests::{Bench, Owned, Setup, batch, orders, owned, plugin, roomy};

const OUTPUTS: [&str; 5] = ["orders.eu", "orders.us", "orders.apac", "orders.priority", "orders.rejected"];
const BATCH_RECORDS: usize = 500;

/// What becomes of each batch of sample orders.
async fn route(bench: &Bench, module: Bytes) -> Vec<Vec<Owned>> {
    let deployment =
        bench.deploy(module, Kind::Transform, Setup::default().outputs(&OUTPUTS).limits(roomy())).await;
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

#[tokio::test]
async fn every_order_arrives_where_it_belongs() {
    let bench = Bench::new();
    let routed = route(&bench, plugin("order-routing")).await;
    let all: Vec<&Owned> = routed.iter().flatten().collect();
    let count = |output: u32| all.iter().filter(|record| record.output == output).count();
    let orders = orders();
    assert_eq!(count(0) + count(1) + count(2) + count(4), orders.len());
    assert!(count(0) > count(1) && count(1) > count(2) && count(2) > 0);
    let urgent =
        all.iter().filter(|record| record.header("order-priority").is_some_and(|it| it != "standard"));
    assert_eq!(count(3), urgent.count());
    for record in all.iter().filter(|record| record.output < 3) {
        let order: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let region = OUTPUTS[record.output as usize].strip_prefix("orders.").unwrap();
        assert_eq!(
            (order["region"].as_str(), order["customer_id"].as_str()),
            (Some(region), record.key.as_deref().map(|key| str::from_utf8(key).unwrap()))
        );
        let items = order["items"].as_array().unwrap().iter();
        let total: u64 = items
            .map(|item| item["quantity"].as_u64().unwrap() * item["unit_price_cents"].as_u64().unwrap())
            .sum();
        assert_eq!(record.header("order-total-cents"), Some(total.to_string().as_str()));
    }
}

/// The other languages.
#[cfg(feature = "languages")]
mod languages {
    use super::*;
    use millrace_plugin_tests::example;

    async fn compare(language: &str) {
        let bench = Bench::new();
        let expected = route(&bench, plugin("order-routing")).await;
        let found = route(&bench, example(language)).await;
        for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.len(), expected.len(), "records of batch {number}");
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found, expected, "batch {number}");
            }
        }
        assert_eq!(found.len(), expected.len());
    }

    #[tokio::test]
    async fn javascript_makes_the_same() {
        compare("javascript").await;
    }

    #[tokio::test]
    async fn python_makes_the_same() {
        compare("python").await;
    }

    #[tokio::test]
    async fn go_makes_the_same() {
        compare("go").await;
    }
}
