//! What the Rust plugin makes of the sample orders.

#![allow(clippy::unwrap_used)]

use millrace_plugin_tests::{Bench, Owned, ROUTES, orders, plugin, route};

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
        let region = ROUTES[record.output as usize].strip_prefix("orders.").unwrap();
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
