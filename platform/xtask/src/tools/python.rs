//! Python clients, each in a virtual environment of its own: two series of one library cannot share one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::{once, system};
use crate::process;
use crate::workspace::Workspace;

/// Installs `tests/compat/python/<name>.txt` into `<tools>/<name>`.
pub fn install(workspace: &Workspace, name: &str) -> anyhow::Result<()> {
    let requirements = workspace.root.join("tests/compat/python").join(format!("{name}.txt"));
    install_requirements(&requirements, &workspace.tools().join(name))
}

/// Installs what the file `requirements` lists into an environment in `directory`.
pub fn install_requirements(requirements: &Path, directory: &Path) -> anyhow::Result<()> {
    let recipe =
        fs::read_to_string(requirements).with_context(|| format!("read '{}'", requirements.display()))?;
    once(directory, &recipe, || {
        println!("installing {} into '{}'", recipe.trim().replace('\n', ", "), directory.display());
        create_environment(directory)?;
        process::quiet(
            Command::new(directory.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
                .arg(requirements),
        )
    })
}

fn create_environment(directory: &Path) -> anyhow::Result<()> {
    let create = || process::quiet(Command::new("python3").args(["-m", "venv"]).arg(directory));
    if create().is_ok() {
        return Ok(());
    }
    // Debian keeps the module that makes environments in a package of its own.
    system::install_packages(&["python3", "python3-venv"])?;
    create()
}
