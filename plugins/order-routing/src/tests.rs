//! The transform, natively.

use millrace_plugin::testing::{Input, Sent, Setup, TransformUnderTest};

use crate::OrderRouting;

fn setup() -> Setup {
    ["eu", "us", "apac", "priority", "rejected"]
        .iter()
        .fold(Setup::new(), |setup, name| setup.output(&format!("orders.{name}")))
}

fn route(records: &[Input]) -> Sent {
    let mut plugin: TransformUnderTest<OrderRouting> = setup().transform().expect("it starts");
    plugin.run(records).expect("it never fails")
}

fn order(region: &str, priority: &str) -> String {
    format!(
        r#"{{"order_id":"o-1","customer_id":"c-9","region":"{region}","priority":"{priority}",
        "items":[{{"sku":"A","quantity":2,"unit_price_cents":1050}},{{"sku":"B","quantity":1,"unit_price_cents":99}}]}}"#
    )
}

#[test]
fn an_order_goes_to_its_region() {
    let value = order("us", "standard");
    let sent = route(&[Input::value(&value).key("raw").header("trace", "t").timestamp_ms(77)]);
    let [routed] = sent.records("orders.us") else { panic!("{sent:?}") };
    assert_eq!((routed.key_str(), routed.value_str(), routed.timestamp_ms), ("c-9", value.as_str(), 77));
    assert_eq!(routed.header("trace"), Some("t"));
    assert_eq!(routed.header("order-total-cents"), Some("2199"));
    assert_eq!(routed.header("order-priority"), Some("standard"));
    assert_eq!(sent.len(), 1);
}

#[test]
fn an_urgent_order_is_also_summarised() {
    let sent = route(&[Input::value(order("apac", "same-day")).header("trace", "t")]);
    assert_eq!(sent.records("orders.apac").len(), 1);
    let [summary] = sent.records("orders.priority") else { panic!("{sent:?}") };
    assert_eq!(summary.key_str(), "o-1");
    assert!(summary.headers.is_empty());
    assert_eq!(
        summary.value_str(),
        r#"{"order_id":"o-1","customer_id":"c-9","region":"apac","priority":"same-day","items":2,"total_cents":2199}"#
    );
}

#[test]
fn what_is_no_order_is_rejected_with_the_reason() {
    let good = order("eu", "standard");
    let cases = [
        (good[..40].to_owned(), "not a JSON object"),
        ("[]".to_owned(), "not a JSON object"),
        (good.replace("order_id", "id"), "no order_id"),
        (good.replace("\"o-1\"", "7"), "no order_id"),
        (good.replace("c-9", "c 9"), "no customer_id"),
        (good.replace("\"eu\"", "\"EU\""), "unknown region"),
        (good.replace("standard", "soon"), "unknown priority"),
        (good.replace("items", "things"), "no items"),
        (good.replace("\"quantity\":2", "\"quantity\":0"), "bad item"),
        (good.replace("\"quantity\":2", "\"quantity\":\"2\""), "bad item"),
        (good.replace("1050", "-1"), "bad item"),
    ];
    for (value, reason) in cases {
        let sent = route(&[Input::value(&value).key("k")]);
        let [rejected] = sent.records("orders.rejected") else { panic!("{value}: {sent:?}") };
        assert_eq!((rejected.key_str(), rejected.value_str()), ("k", value.as_str()));
        assert_eq!(rejected.header("rejected-because"), Some(reason), "{value}");
    }
    let sent = route(&[Input::tombstone()]);
    assert_eq!(sent.records("orders.rejected")[0].header("rejected-because"), Some("no value"));
}

#[test]
fn every_sample_order_arrives_once() {
    let samples = include_str!("../../../examples/orders/orders.jsonl");
    let records: Vec<Input> = samples.lines().map(Input::value).collect();
    let sent = route(&records);
    let count = |name: &str| sent.records(&format!("orders.{name}")).len();
    assert_eq!(count("eu") + count("us") + count("apac") + count("rejected"), records.len());
    assert!(count("rejected") > records.len() / 100 && count("rejected") < records.len() / 20);
    assert!(count("priority") > records.len() / 10);
}

#[test]
fn a_missing_output_refuses_the_deployment() {
    let error =
        Setup::new().output("orders.eu").transform::<OrderRouting>().map(drop).expect_err("no outputs");
    assert!(error.message().contains("no output topic `orders.us`"), "{error}");
}
