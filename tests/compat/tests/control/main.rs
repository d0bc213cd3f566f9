//! Every API that is served, beside Kafka itself: good and bad values, names of nothing, limits, and requests made
//! of random choices. `MILLRACE_TEST_LONG` makes many more of those.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]
// Tables of cases.
#![allow(clippy::type_complexity)]

mod batches;
mod cluster;
mod combined;
mod configs;
mod generated;
mod groups;
mod internal;
mod offsets;
mod records;
mod settings;
mod support;
mod topics;

use std::time::Instant;

use millrace_compat_tests::control::{Kafka, Pair, Peer};
use millrace_integration_tests::Random;
use millrace_test_harness::{Broker, long_tests};

/// Random requests in the short run.
const GENERATED: usize = 300;
const GENERATED_LONG: usize = 20_000;

#[test]
fn answers_are_those_of_kafka() {
    let kafka = Kafka::start().unwrap();
    let millrace = Broker::builder()
        .setting("topics", "num_partitions = 1")
        .setting("groups", "initial_rebalance_delay = \"0ms\"")
        .start()
        .unwrap();
    let mut pair = Pair::new(Peer::new(kafka.address()), Peer::new(millrace.address()));
    pair.kafka.await_producer_ids();
    let parts: [(&str, fn(&mut Pair)); 7] = [
        ("cluster", cluster::compare),
        ("topics", topics::compare),
        ("configs", configs::compare),
        ("records", records::compare),
        ("combined", combined::compare),
        ("internal", internal::compare),
        ("groups", groups::compare),
    ];
    for (part, compare) in parts {
        let started = Instant::now();
        compare(&mut pair);
        println!("{part}: {:.1} s", started.elapsed().as_secs_f64());
    }
    // The short run asks the same each time; the long one looks for what nobody has thought of.
    let (mut random, count) = if long_tests() {
        (Random::from_environment(), GENERATED_LONG)
    } else {
        (Random::from_seed(1), GENERATED)
    };
    generated::compare(&mut pair, &mut random, count);
    println!("{} answers compared", pair.compared());
    let findings = pair.findings();
    assert!(findings.is_empty(), "answers that are not Kafka's:\n{findings}");
    let unmet = pair.unmet();
    assert!(unmet.is_empty(), "no answer showed these intended differences any longer: {unmet:#?}");
}
