//! Running other programs so that a failure names the command that failed.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Runs to the end with the terminal's own output; an exit status other than 0 is an error.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start `{}`", display(command)))?;
    check(command, status)
}

/// Runs to the end and returns standard output; standard error goes to the terminal.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("start `{}`", display(command)))?;
    check(command, output.status)?;
    String::from_utf8(output.stdout).with_context(|| format!("read the output of `{}`", display(command)))
}

/// Runs silently; only a failure shows what the program said.
pub fn quiet(command: &mut Command) -> anyhow::Result<()> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("start `{}`", display(command)))?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "`{}` ended with {}:\n{}{}",
        display(command),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether `program` can be started, judged by asking its version.
pub fn exists(program: &str, version_flag: &str) -> bool {
    Command::new(program)
        .arg(version_flag)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Like [`run`], but kills the program when it takes longer than `limit`.
pub fn run_within(command: &mut Command, limit: Duration) -> anyhow::Result<()> {
    let mut child = command.spawn().with_context(|| format!("start `{}`", display(command)))?;
    match wait_within(&mut child, limit)? {
        Some(status) => check(command, status),
        None => {
            child.kill()?;
            child.wait()?;
            bail!("`{}` did not end within {} s and was killed", display(command), limit.as_secs());
        }
    }
}

fn wait_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn check(command: &Command, status: ExitStatus) -> anyhow::Result<()> {
    if !status.success() {
        bail!("`{}` ended with {status}", display(command));
    }
    Ok(())
}

pub fn display(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
