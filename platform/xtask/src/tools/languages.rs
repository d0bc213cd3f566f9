//! Compilers for the plugins in `examples/plugins`, where their build scripts look for them.

use std::path::PathBuf;

use super::{javascript, python};
use crate::workspace::Workspace;

pub fn install_python(workspace: &Workspace) -> anyhow::Result<()> {
    let requirements = workspace.root.join("examples/plugins/python/requirements.txt");
    python::install_requirements(&requirements, &languages(workspace).join("python"))
}

pub fn install_javascript(workspace: &Workspace) -> anyhow::Result<()> {
    let package = workspace.root.join("examples/plugins/javascript/package.json");
    javascript::install_package(&package, &languages(workspace).join("javascript"))
}

fn languages(workspace: &Workspace) -> PathBuf {
    workspace.root.join("target/plugins/languages")
}
