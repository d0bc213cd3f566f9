//! Compilers for the plugins in `examples/plugins`, where their build scripts look for them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{once, python, system};
use crate::process;
use crate::workspace::Workspace;

/// What componentize-js runs on.
const NODE_MAJOR_MIN: u32 = 20;

pub fn install_python(workspace: &Workspace) -> anyhow::Result<()> {
    let requirements = workspace.root.join("examples/plugins/python/requirements.txt");
    python::install_requirements(&requirements, &languages(workspace).join("python"))
}

pub fn install_javascript(workspace: &Workspace) -> anyhow::Result<()> {
    system::install("npm", "--version", &["nodejs", "npm"])?;
    let version = process::output(Command::new("node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|it| it.parse().ok());
    if major.is_none_or(|major: u32| major < NODE_MAJOR_MIN) {
        bail!("Node.js is {}, and {NODE_MAJOR_MIN} or later is needed", version.trim());
    }
    let package = workspace.root.join("examples/plugins/javascript/package.json");
    let recipe = fs::read_to_string(&package).with_context(|| format!("read '{}'", package.display()))?;
    let directory = languages(workspace).join("javascript");
    once(&directory, &recipe, || {
        println!("installing JavaScript's compiler into '{}'", directory.display());
        fs::copy(&package, directory.join("package.json")).context("copy package.json")?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund"]).current_dir(&directory);
        process::quiet(&mut npm)
    })
}

fn languages(workspace: &Workspace) -> PathBuf {
    workspace.root.join("target/plugins/languages")
}
