//! Other people's programs, run to their end with everything they say.

use std::env;
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

const LIMIT: Duration = Duration::from_secs(120);

/// A program to be run once.
pub struct Program {
    command: Command,
    input: Vec<u8>,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    description: String,
}

impl Program {
    pub fn new(program: impl AsRef<std::ffi::OsStr>) -> Self {
        Self::from(Command::new(program))
    }

    #[must_use]
    pub fn arguments<I: AsRef<std::ffi::OsStr>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.command.args(arguments);
        self
    }

    /// What the program reads from its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs to the end, whatever the status; a program that takes too long is killed and an error.
    pub fn finish(mut self) -> anyhow::Result<Finished> {
        let description = format!("{:?}", self.command);
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {description}"))?;
        let mut stdin = child.stdin.take().context("standard input is piped")?;
        let input = self.input;
        // Ends early with an error when the program does not read all of it, which is its own business.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = collect(child.stdout.take().context("standard output is piped")?);
        let stderr = collect(child.stderr.take().context("standard error is piped")?);
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                child.kill()?;
                break child.wait()?;
            }
            millrace_test_wait::pause();
        };
        let text = |thread: thread::JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
        };
        let finished = Finished { status, stdout: text(stdout), stderr: text(stderr), description };
        drop(writer.join());
        anyhow::ensure!(Instant::now() <= deadline, "killed after {LIMIT:?}: {finished}");
        Ok(finished)
    }

    /// Runs to the end and returns the standard output; a status other than 0 is an error with all output.
    pub fn succeed(self) -> anyhow::Result<String> {
        let finished = self.finish()?;
        anyhow::ensure!(finished.status.success(), "{finished}");
        Ok(finished.stdout)
    }

    /// Runs to the end and returns everything it said; status 0 is an error.
    pub fn fail(self) -> anyhow::Result<String> {
        let finished = self.finish()?;
        anyhow::ensure!(!finished.status.success(), "must have failed: {finished}");
        Ok(format!("{}{}", finished.stdout, finished.stderr))
    }
}

impl From<Command> for Program {
    fn from(command: Command) -> Self {
        Self { command, input: Vec::new() }
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr, description } = self;
        write!(f, "{description} ended with {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came until an error is what there is to show.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Where `cargo xtask tools` installed `name`; a test that needs it fails when it is not there.
pub fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let directory = match env::var_os("MILLRACE_TOOLS") {
        Some(directory) => PathBuf::from(directory),
        None => cache_home()?.join("millrace/tools"),
    };
    let path = directory.join(name);
    anyhow::ensure!(path.exists(), "'{}' is missing: run `cargo xtask tools`", path.display());
    Ok(path)
}

fn cache_home() -> anyhow::Result<PathBuf> {
    match env::var_os("XDG_CACHE_HOME") {
        Some(directory) => Ok(PathBuf::from(directory)),
        None => Ok(PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache")),
    }
}
