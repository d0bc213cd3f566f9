//! Go, for plugins and for clients of Kafka's protocol.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::{once, system};
use crate::process;
use crate::workspace::Workspace;

/// A Go that is as new as the module in `module` asks for, or fetches itself one that is.
pub fn install(workspace: &Workspace, module: &str) -> anyhow::Result<()> {
    let is_new_enough = || {
        let mut go = Command::new("go");
        go.arg("version").current_dir(workspace.root.join(module));
        process::quiet(&mut go)
    };
    if is_new_enough().is_ok() {
        return Ok(());
    }
    system::install_packages(&["golang-go"])?;
    is_new_enough().context("the distribution's Go is too old: install a newer one by hand")
}

/// Builds the program of the module in `module` into `<tools>/<name>`.
pub fn install_program(workspace: &Workspace, module: &str, name: &str, program: &str) -> anyhow::Result<()> {
    install(workspace, module)?;
    let module = workspace.root.join(module);
    let recipe = recipe(&module)?;
    let directory = workspace.tools().join(name);
    once(&directory, &recipe, || {
        println!("building {program} in Go into '{}'", directory.display());
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(directory.join(program)).arg(".").current_dir(&module);
        process::quiet(build.env("CGO_ENABLED", "0"))
    })
}

/// What a module is built of: its files, in an order of their names.
fn recipe(module: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(module).with_context(|| format!("list '{}'", module.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| ["go", "mod", "sum"].iter().any(|it| extension == *it)) {
            files.push(path);
        }
    }
    files.sort();
    let mut recipe = String::new();
    for path in files {
        recipe.push_str(&fs::read_to_string(&path).with_context(|| format!("read '{}'", path.display()))?);
    }
    Ok(recipe)
}
