//! aiokafka, the client of Python programs on asyncio.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_test_harness::{Broker, Program, tool};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/aiokafka_case.py");

fn check(cases: &[&str]) {
    let broker = Broker::start().unwrap();
    let python = tool("aiokafka").unwrap().join("bin/python");
    let case = Program::new(python).arguments([SCRIPT, &broker.bootstrap()]).arguments(cases);
    if let Err(error) = case.succeed() {
        panic!("{error}");
    }
}

#[test]
fn groups_rebalance_and_commit() {
    check(&["group"]);
}
