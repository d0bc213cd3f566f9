//! Packages of JavaScript, for plugins' compiler and for a client of Kafka's protocol.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{once, system};
use crate::process;
use crate::workspace::Workspace;

/// What componentize-js runs on.
const NODE_MAJOR_MIN: u32 = 20;

/// Installs the client that `tests/compat/javascript/package.json` lists into `<tools>/kafkajs`.
pub fn install(workspace: &Workspace) -> anyhow::Result<()> {
    let package = workspace.root.join("tests/compat/javascript/package.json");
    install_package(&package, &workspace.tools().join("kafkajs"))
}

/// Installs what the file `package` lists into `directory`.
pub fn install_package(package: &Path, directory: &Path) -> anyhow::Result<()> {
    system::install("npm", "--version", &["nodejs", "npm"])?;
    let version = process::output(Command::new("node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|it| it.parse().ok());
    if major.is_none_or(|major: u32| major < NODE_MAJOR_MIN) {
        bail!("Node.js is {}, and {NODE_MAJOR_MIN} or later is needed", version.trim());
    }
    let recipe = fs::read_to_string(package).with_context(|| format!("read '{}'", package.display()))?;
    once(directory, &recipe, || {
        println!("installing JavaScript's packages into '{}'", directory.display());
        fs::copy(package, directory.join("package.json")).context("copy package.json")?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund"]).current_dir(directory);
        process::quiet(&mut npm)
    })
}
