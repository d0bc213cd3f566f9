//! Go, for plugins and for a client of Kafka's protocol.

use std::fs;
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

/// Builds the program in `tests/compat/go` into `<tools>/franz-go`.
pub fn install_producers(workspace: &Workspace) -> anyhow::Result<()> {
    const MODULE: &str = "tests/compat/go";
    install(workspace, MODULE)?;
    let module = workspace.root.join(MODULE);
    let mut recipe = String::new();
    for name in ["go.mod", "go.sum", "main.go"] {
        let path = module.join(name);
        recipe.push_str(&fs::read_to_string(&path).with_context(|| format!("read '{}'", path.display()))?);
    }
    let directory = workspace.tools().join("franz-go");
    once(&directory, &recipe, || {
        println!("building producers on franz-go into '{}'", directory.display());
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(directory.join("producers")).arg(".").current_dir(&module);
        process::quiet(build.env("CGO_ENABLED", "0"))
    })
}
