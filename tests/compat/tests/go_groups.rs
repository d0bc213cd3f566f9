//! Consumer groups of programs in Go: franz-go, sarama and segmentio's kafka-go.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_test_harness::{Broker, Program, tool};

fn check(cases: &[&str]) {
    let broker = Broker::start().unwrap();
    let program = tool("go-groups").unwrap().join("groups");
    if let Err(error) = Program::new(program).arguments([broker.bootstrap()]).arguments(cases).succeed() {
        panic!("{error}");
    }
}

#[test]
fn franz_go_s_groups_rebalance_and_commit() {
    check(&["franz-go-eager", "franz-go-cooperative"]);
}

#[test]
fn sarama_s_groups_rebalance_and_commit() {
    check(&["sarama"]);
}

#[test]
fn kafka_go_s_groups_rebalance_and_commit() {
    check(&["kafka-go"]);
}
