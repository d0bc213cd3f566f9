//! Which `millrace` is tested.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program named by `MILLRACE_BIN` (the checks set it), or else the one that cargo builds here and now:
/// a test run by hand never sees a stale broker.
pub fn millrace_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("MILLRACE_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let output = Command::new("cargo")
        .args([
            "build",
            "--package",
            "millrace",
            "--bin",
            "millrace",
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .expect("start cargo to build the broker");
    let messages = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the broker does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let executable = messages.lines().rev().find_map(|message| {
        let (_, rest) = message.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    executable.expect("cargo tells where it left the broker")
}
