//! kafkajs, the client of programs in JavaScript.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_test_harness::{Broker, Program, tool};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/javascript/kafkajs_case.js");

fn check(cases: &[&str]) {
    let broker = Broker::start().unwrap();
    let modules = tool("kafkajs").unwrap().join("node_modules");
    let mut node = std::process::Command::new("node");
    node.env("NODE_PATH", modules);
    let case = Program::from(node).arguments([SCRIPT, &broker.bootstrap()]).arguments(cases);
    if let Err(error) = case.succeed() {
        panic!("{error}");
    }
}

#[test]
fn records_come_back_as_sent() {
    check(&["roundTrip"]);
}

#[test]
fn groups_rebalance_commit_and_are_administered() {
    check(&["group"]);
}
