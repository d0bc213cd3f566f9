//! The README's commands, run as they stand there: a newcomer's first five minutes must not fail.
//!
//! A block of shell lines below `<!-- verify: start -->` is started and left running until the end, one
//! below `<!-- verify: run -->` must end well; other blocks are for the reader only. Usually
//! `cargo run --release --` stands for the program that the tests use; the long verification builds in a
//! fresh copy of the checkout, as a newcomer does.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Checks, Outcome};
use crate::process;
use crate::tools::Tool;

/// Where the broker of the README listens, by its defaults.
const BROKER: &str = "127.0.0.1:9092";

/// Building a plugin from cold is the longest.
const COMMAND_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What the commands name of the checkout.
const SOURCES: [&str; 3] = ["examples", "plugins", "sdk"];
const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);

#[derive(Debug, PartialEq, Eq)]
enum Block {
    Start(String),
    Run(String),
}

pub fn run_commands(checks: &Checks<'_>) -> Outcome {
    let readme = checks.workspace.root.join("README.md");
    let blocks = blocks(&fs::read_to_string(&readme).context("read README.md")?)?;
    if blocks.is_empty() {
        bail!("README.md marks no block of commands to be verified");
    }
    if let Err(reason) = checks.tools.require(Tool::Kcat) {
        return Ok(vec![format!("the commands need kcat: {reason}")]);
    }
    if TcpStream::connect(BROKER).is_ok() {
        return Ok(vec![format!("something listens on {BROKER} already, where the README's broker would")]);
    }
    let place = checks.workspace.target().join("readme");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("remove '{}'", place.display()))?;
    }
    fs::create_dir_all(&place)?;
    let mut shell = Shell { place: place.clone(), programs: None, started: Vec::new() };
    if checks.long {
        copy_checkout(checks, &place)?;
    } else {
        shell.programs = Some(stand_in(checks, &place)?);
    }
    for block in &blocks {
        match block {
            Block::Start(commands) => shell.start(commands)?,
            Block::Run(commands) => shell.run(commands)?,
        }
    }
    shell.stop()?;
    fs::remove_dir_all(&place)?;
    Ok(Vec::new())
}

/// The marked blocks in their order.
fn blocks(text: &str) -> anyhow::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(verb) = line.strip_prefix("<!-- verify: ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        if lines.next() != Some("```sh") {
            bail!("no block of shell commands follows '{line}'");
        }
        let commands: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match verb {
            "start" => blocks.push(Block::Start(commands.join("\n"))),
            "run" => blocks.push(Block::Run(commands.join("\n"))),
            _ => bail!("'{line}' is neither `start` nor `run`"),
        }
    }
    Ok(blocks)
}

fn copy_checkout(checks: &Checks<'_>, place: &Path) -> anyhow::Result<()> {
    for file in checks.workspace.files()? {
        let copy = place.join(&file);
        fs::create_dir_all(copy.parent().context("a file lies in a directory")?)?;
        fs::copy(checks.workspace.root.join(&file), copy)
            .with_context(|| format!("copy '{}'", file.display()))?;
    }
    Ok(())
}

/// A `cargo` that starts the program which is built already, and that program where a build would leave it.
/// Whatever else is asked of it, cargo does, with what it built for plugins before.
fn stand_in(checks: &Checks<'_>, place: &Path) -> anyhow::Result<PathBuf> {
    let millrace = &checks.built.programs()?.millrace;
    let programs = place.join("stand-in");
    fs::create_dir_all(&programs)?;
    let cargo = process::output(Command::new("sh").args(["-c", "command -v cargo"]))?;
    let script = format!(
        "#!/bin/sh\nif [ \"$1 $2 $3\" = 'run --release --' ]; then shift 3; exec '{}' \"$@\"; fi\n\
         export CARGO_TARGET_DIR='{}'\nexec '{}' \"$@\"\n",
        millrace.display(),
        checks.workspace.target().join("plugins").display(),
        cargo.trim(),
    );
    for source in SOURCES {
        symlink(checks.workspace.root.join(source), place.join(source))?;
    }
    let cargo = programs.join("cargo");
    fs::write(&cargo, script)?;
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755))?;
    let release = place.join("target/release");
    fs::create_dir_all(&release)?;
    symlink(millrace, release.join("millrace"))?;
    Ok(programs)
}

struct Shell {
    place: PathBuf,
    /// Searched for programs before everything else.
    programs: Option<PathBuf>,
    started: Vec<Child>,
}

impl Shell {
    fn command(&self, commands: &str) -> anyhow::Result<Command> {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", commands]).current_dir(&self.place).stdin(Stdio::null());
        // Set for this checkout, not for the copy.
        for variable in ["CARGO_TARGET_DIR", "CARGO_MANIFEST_DIR", "CARGO"] {
            command.env_remove(variable);
        }
        if let Some(programs) = &self.programs {
            let inherited = env::var_os("PATH").unwrap_or_default();
            let paths = std::iter::once(programs.clone()).chain(env::split_paths(&inherited));
            command.env("PATH", env::join_paths(paths)?);
        }
        Ok(command)
    }

    fn run(&self, commands: &str) -> anyhow::Result<()> {
        println!("{commands}");
        process::run_within(&mut self.command(commands)?, COMMAND_LIMIT)
    }

    fn start(&mut self, commands: &str) -> anyhow::Result<()> {
        println!("{commands} &");
        let child = self.command(commands)?.spawn().with_context(|| format!("start `{commands}`"))?;
        self.started.push(child);
        let deadline = Instant::now() + if self.programs.is_some() { COMMAND_LIMIT } else { BUILD_LIMIT };
        while TcpStream::connect(BROKER).is_err() {
            for child in &mut self.started {
                if let Some(status) = child.try_wait()? {
                    bail!("`{commands}` ended with {status}");
                }
            }
            if Instant::now() > deadline {
                bail!("`{commands}` does not listen on {BROKER}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends what was started the way a person does, and expects it to end well.
    fn stop(&mut self) -> anyhow::Result<()> {
        for mut child in self.started.drain(..) {
            process::run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
            let status = child.wait()?;
            if !status.success() {
                bail!("interrupted, the broker ended with {status}");
            }
        }
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        for child in &mut self.started {
            // Already gone, if this fails.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, blocks};

    #[test]
    fn marked_blocks_are_found_in_order() {
        let text =
            "<!-- verify: start -->\n```sh\na\n```\n```sh\nb\n```\n<!-- verify: run -->\n```sh\nc\nd\n```\n";
        let expected = [Block::Start("a".to_owned()), Block::Run("c\nd".to_owned())];
        assert_eq!(blocks(text).unwrap(), expected);
    }

    #[test]
    fn a_marker_without_a_block_is_refused() {
        assert!(blocks("<!-- verify: run -->\ntext\n").is_err());
        assert!(blocks("<!-- verify: dance -->\n```sh\na\n```\n").is_err());
    }
}
