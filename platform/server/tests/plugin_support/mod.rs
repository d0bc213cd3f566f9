//! Projects that `millrace plugin init` makes, built where all tests share what they compile.

#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod broker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Home, millrace, run, stdout};

/// A new project. It is built with the versions of crates that the first-party plugins use, in a directory that
/// all tests here share: each needs a name of its own.
pub fn project(home: &Home, name: &str, kind: &str) -> PathBuf {
    let path = home.0.path().join(name);
    let mut command = millrace(["plugin", "init", name, "--kind", kind, "--output", "json"]);
    command.current_dir(home.0.path());
    let made: Value = serde_json::from_str(&stdout(&run(command, b""))).expect("JSON");
    assert_eq!(made["path"], name);
    assert!(made["files"].as_array().is_some_and(|files| files.contains(&json!("sample.jsonl"))), "{made}");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/Cargo.lock");
    fs::copy(lock, path.join("Cargo.lock")).expect("copy the lock file");
    path
}

/// A command of ours in a project's directory.
pub fn in_project(path: &Path, arguments: &[&str]) -> Command {
    there(path, millrace(arguments))
}

/// A program in a project's directory, with what it builds in the shared one.
pub fn there(path: &Path, mut command: Command) -> Command {
    command.current_dir(path).env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins"));
    // What the outer cargo was told is not for the project.
    for name in ["CARGO_BUILD_TARGET", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command
}
