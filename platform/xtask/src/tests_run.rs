//! One build of the whole workspace in the dev profile, and the test programs that it made.
//!
//! The programs are run directly rather than through `cargo test`, so that every group of tests is its own
//! step and none of them builds the dependencies again with other features.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

pub struct TestProgram {
    pub package: String,
    /// The name of the library, the binary or the file under `tests/`.
    pub name: String,
    executable: PathBuf,
    directory: PathBuf,
}

pub struct Programs {
    pub tests: Vec<TestProgram>,
    /// The broker that the tests start; the examples' programs lie beside it.
    pub millrace: PathBuf,
}

impl TestProgram {
    pub fn command(&self, workspace: &Workspace, programs: &Programs) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory)
            .env("MILLRACE_BIN_DIR", programs.millrace.parent().unwrap_or(&self.directory))
            .env("MILLRACE_TOOLS", workspace.tools())
            .stdin(Stdio::null());
        command
    }
}

/// Builds on first use; a broken build is reported to everyone who asks.
pub struct Built<'a> {
    workspace: &'a Workspace,
    programs: OnceCell<Result<Programs, String>>,
}

impl<'a> Built<'a> {
    pub const fn new(workspace: &'a Workspace) -> Self {
        Self { workspace, programs: OnceCell::new() }
    }

    pub fn programs(&self) -> anyhow::Result<&Programs> {
        self.programs
            .get_or_init(|| build(self.workspace).map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }
}

fn build(workspace: &Workspace) -> anyhow::Result<Programs> {
    let mut command = workspace.cargo(&["build", "--workspace", "--lib", "--bins", "--tests", "--examples"]);
    command.args(["--locked", "--message-format=json-render-diagnostics"]);
    let messages = process::output(&mut command)?;
    let mut tests = Vec::new();
    let mut millrace = None;
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("read cargo's messages")?;
        let Some(executable) = message["executable"].as_str() else { continue };
        let name = message["target"]["name"].as_str().context("cargo named no target")?;
        if message["profile"]["test"] == true {
            tests.push(test_program(&message, name, executable)?);
        } else if name == "millrace" {
            millrace = Some(PathBuf::from(executable));
        }
    }
    tests.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    let millrace = millrace.context("the build made no `millrace` program")?;
    Ok(Programs { tests, millrace })
}

fn test_program(message: &Value, name: &str, executable: &str) -> anyhow::Result<TestProgram> {
    let manifest = message["manifest_path"].as_str().context("cargo named no manifest")?;
    let directory = Path::new(manifest).parent().context("a manifest lies in a directory")?.to_owned();
    Ok(TestProgram {
        package: package_name(message["package_id"].as_str().context("cargo named no package")?),
        name: name.to_owned(),
        executable: PathBuf::from(executable),
        directory,
    })
}

/// A path package's id is `path+file:///directory#version` when the directory bears the package's name, and
/// `path+file:///directory#name@version` when not.
fn package_name(id: &str) -> String {
    let (source, fragment) = id.rsplit_once('#').unwrap_or((id, id));
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => source.rsplit('/').next().unwrap_or(source).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::package_name;

    #[test]
    fn package_ids_of_both_forms_are_understood() {
        assert_eq!(package_name("path+file:///src/platform/xtask#0.1.0"), "xtask");
        assert_eq!(package_name("path+file:///src/platform/log#millrace-log@0.1.0"), "millrace-log");
    }
}
