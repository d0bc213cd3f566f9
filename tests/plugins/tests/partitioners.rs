//! The first-party partitioners in the host.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use millrace_plugin_host::{Kind, Partitioner};
use millrace_plugin_tests::{Bench, Setup, plugin};
use millrace_protocol::batch::{Batch, BatchBuilder, Header, ProducerState};
use millrace_protocol::compression::Codec;

const PARTITIONS: u32 = 12;

/// Orders of a thousand customers of three regions, with the region in key and header.
fn batch() -> Batch {
    let mut builder = BatchBuilder::default();
    for number in 0..3_000 {
        let region = ["eu", "us", "apac"][number % 3];
        let key = format!("{region}-customer-{}", number % 1_000);
        let header = Header { key: b"region", value: Some(region.as_bytes()) };
        builder.append(number as i64, Some(key.as_bytes()), Some(b"an order"), &[header]);
    }
    Batch::parse(builder.finish(Codec::Zstd, ProducerState::NONE).unwrap()).unwrap()
}

/// How many records each partition gets; the same ones from two instances.
async fn counts(name: &str, setup: Setup) -> BTreeMap<u32, usize> {
    let bench = Bench::new();
    let deployment = bench.deploy(plugin(name), Kind::Partitioner, setup).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut partitioner = Partitioner::new(deployment.clone());
        answers.push(partitioner.partition(&batch(), PARTITIONS).await.result.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    let mut counts = BTreeMap::new();
    for partition in &answers[0] {
        *counts.entry(*partition).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn keys_are_routed_by_prefix() {
    let setup =
        Setup::default().config("route.eu-", "0-3").config("route.us-", "4").config("default", "5-11");
    let counts = counts("key-prefix-router", setup).await;
    assert_eq!(counts[&4], 1_000);
    assert_eq!((0..4).map(|partition| counts[&partition]).sum::<usize>(), 1_000);
}

#[tokio::test]
async fn keys_are_spread_by_weight() {
    let weights = "0=5,1=5,2=0,3=0,4=0,5=0,6=0,7=0,8=0,9=0,10=0,11=0";
    let counts = counts("weighted", Setup::default().config("weights", weights)).await;
    assert_eq!(counts.len(), 2);
    assert!(counts[&0].abs_diff(1_500) < 200, "{counts:?}");
}

#[tokio::test]
async fn records_are_routed_by_header() {
    let setup = Setup::default().config("header", "region").config("map.eu", "7").config("map.us", "8");
    let counts = counts("by-header", setup.config("map.apac", "9")).await;
    assert_eq!(counts, BTreeMap::from([(7, 1_000), (8, 1_000), (9, 1_000)]));
}

#[tokio::test]
async fn a_route_beyond_the_topic_is_an_error() {
    let bench = Bench::new();
    let setup = Setup::default().config("route.", "99");
    let deployment = bench.deploy(plugin("key-prefix-router"), Kind::Partitioner, setup).await;
    let error = Partitioner::new(deployment).partition(&batch(), PARTITIONS).await.result.unwrap_err();
    assert!(error.to_string().contains("partition 99, but the topic has 12"), "{error}");
}
