//! Which programs are tested.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The broker: the one in the directory that `MILLRACE_BIN_DIR` names (the checks set it), or else the one that
/// cargo builds here and now, so that a test run by hand never sees a stale one.
pub fn millrace_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| program("millrace", "millrace"))
}

/// The program of the example `name`.
pub fn example_binary(name: &str) -> PathBuf {
    program("millrace-examples", name)
}

fn program(package: &str, name: &str) -> PathBuf {
    match env::var_os("MILLRACE_BIN_DIR") {
        Some(directory) => PathBuf::from(directory).join(name),
        None => build(package, name),
    }
}

fn build(package: &str, name: &str) -> PathBuf {
    let output = Command::new("cargo")
        .args(["build", "--package", package, "--bin", name, "--message-format=json-render-diagnostics"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .expect("start cargo");
    let messages = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "'{name}' does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let executable = messages.lines().rev().find_map(|message| {
        let (_, rest) = message.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    executable.expect("cargo tells where it left the program")
}
