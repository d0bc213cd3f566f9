//! Every example runs to its end against a real broker.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use millrace_test_harness::{Broker, Program, example_binary};

#[test]
fn examples_run() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/src/bin");
    let broker = Broker::start().unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        names.push(entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    }
    assert!(!names.is_empty(), "there are no examples");
    for name in names {
        let ca = broker.ca_file().display().to_string();
        let mut arguments = vec![broker.bootstrap(), ca];
        if name == "high_throughput" {
            arguments.push("100000".to_owned());
        }
        Program::new(example_binary(&name)).arguments(&arguments).succeed().unwrap();
        arguments[1] = "tcp".to_owned();
        Program::new(example_binary(&name)).arguments(&arguments).succeed().unwrap();
    }
}
