//! The virtual machine with Kafka's own jars.

use std::process::Command;

use millrace_test_harness::tool;

/// A command that runs `main_class`, or a source file as it is. The tests are many small programs: starting
/// quickly is worth more than running fast.
pub fn java(main_class: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("java");
    command
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp"])
        .arg(tool("java")?.join("*"))
        .arg(main_class);
    Ok(command)
}
