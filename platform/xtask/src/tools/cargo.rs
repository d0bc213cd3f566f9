//! Parts of the Rust toolchain and programs that cargo itself installs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::once;
use crate::process;
use crate::workspace::Workspace;

/// `cargo fmt` and `cargo clippy`, which a minimal toolchain comes without.
pub fn install_components(workspace: &Workspace) -> anyhow::Result<()> {
    let missing: Vec<&str> = [("rustfmt", "fmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(_, command)| process::quiet(&mut workspace.cargo(&[command, "--version"])).is_err())
        .map(|(component, _)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    process::quiet(
        Command::new("rustup").args(["component", "add"]).args(&missing).current_dir(&workspace.root),
    )
}

/// What plugins compile to; named here too, since rustup may be told not to install on its own.
const TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip2"];

pub fn install_targets(workspace: &Workspace) -> anyhow::Result<()> {
    let mut list = Command::new("rustup");
    list.args(["target", "list", "--installed"]).current_dir(&workspace.root);
    let installed = process::output(&mut list).context("list the toolchain's targets")?;
    let missing: Vec<&str> =
        TARGETS.into_iter().filter(|target| !installed.lines().any(|line| line == *target)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    process::quiet(Command::new("rustup").args(["target", "add"]).args(&missing).current_dir(&workspace.root))
}

/// Builds `name` from the registry into `<tools>/<name>/bin`.
pub fn install_tool(workspace: &Workspace, name: &str, version: &str) -> anyhow::Result<()> {
    if process::exists(name, "--version") {
        return Ok(());
    }
    let directory = tool_directory(workspace, name);
    once(&directory, version, || {
        println!("building {name} {version} into '{}'", directory.display());
        let mut install = workspace.cargo(&["install", "--quiet", "--locked", "--version", version, name]);
        process::quiet(install.arg("--root").arg(&directory).env_remove("CARGO_TARGET_DIR"))
    })
}

/// `name`'s program: the one on the search path, else the one that [`install_tool`] built.
pub fn tool_path(workspace: &Workspace, name: &str) -> PathBuf {
    if process::exists(name, "--version") {
        return PathBuf::from(name);
    }
    tool_directory(workspace, name).join("bin").join(name)
}

/// cargo-fuzz works with a nightly compiler only, whose sanitizers and coverage options are not yet stable.
pub fn install_fuzz(workspace: &Workspace) -> anyhow::Result<()> {
    let mut nightly = Command::new("cargo");
    if !nightly.args(["+nightly", "--version"]).output().is_ok_and(|output| output.status.success()) {
        process::quiet(Command::new("rustup").args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
        ]))
        .context("fuzzing needs a nightly toolchain")?;
    }
    if !process::exists("c++", "--version") {
        bail!("fuzzing needs a C++ compiler: install one, for example with `apt-get install g++`");
    }
    install_tool(workspace, "cargo-fuzz", "0.13.2")
}

fn tool_directory(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.tools().join(name)
}
