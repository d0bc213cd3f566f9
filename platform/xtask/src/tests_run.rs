//! One build of the whole workspace in the dev profile, and the test programs that it made.
//!
//! The programs are run directly rather than through `cargo test`, so that every group of tests is its own
//! step and none of them builds the dependencies again with other features.

use std::cell::OnceCell;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

/// How much of what a test program says of its failures is repeated.
const REPEATED_LINES: usize = 60;

/// For the last lines of a program that has ended; something that it started may keep its output open.
const LAST_LINES: Duration = Duration::from_secs(2);

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

/// Runs a test program, which is killed when it takes longer than `limit`. Its output is passed on; the error repeats
/// what it said of its failures.
pub fn run_within(command: &mut Command, limit: Duration) -> anyhow::Result<()> {
    let (output, piped) = std::io::pipe().context("make a pipe")?;
    command.stdout(piped);
    let (teller, told) = mpsc::channel();
    thread::spawn(move || pass_on(output, |line| teller.send(line).is_ok()));
    let outcome = process::run_within(command, limit);
    // Until then the command holds an end of the pipe.
    command.stdout(Stdio::null());
    let mut failures = Vec::new();
    while let Ok(line) = told.recv_timeout(LAST_LINES) {
        failures.push(line);
    }
    outcome.map_err(|error| anyhow!("{error:#}\n{}", failures.join("\n")))
}

/// Prints what a test program says, and tells the lines from `failures:` on: without backtraces, and only the first.
fn pass_on(output: impl Read, tell: impl Fn(String) -> bool) {
    let (mut begun, mut told, mut backtrace) = (false, 0, false);
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{line}");
        begun |= line == "failures:";
        backtrace =
            if backtrace { !line.is_empty() } else { line.to_lowercase().starts_with("stack backtrace:") };
        if begun && !backtrace && !line.is_empty() && told < REPEATED_LINES {
            told += 1;
            if !tell(line) {
                return;
            }
        }
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
    use std::cell::RefCell;

    use super::{package_name, pass_on};

    #[test]
    fn what_is_said_of_failures_is_told_without_backtraces() {
        let output = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nlost: 7\nstack backtrace:\n   0: f\n\n\
                      failures:\n    a\n";
        let told = RefCell::new(Vec::new());
        pass_on(output.as_bytes(), |line| {
            told.borrow_mut().push(line);
            true
        });
        assert_eq!(told.into_inner(), ["failures:", "---- a stdout ----", "lost: 7", "failures:", "    a"]);
    }

    #[test]
    fn package_ids_of_both_forms_are_understood() {
        assert_eq!(package_name("path+file:///src/platform/xtask#0.1.0"), "xtask");
        assert_eq!(package_name("path+file:///src/platform/log#millrace-log@0.1.0"), "millrace-log");
    }
}
