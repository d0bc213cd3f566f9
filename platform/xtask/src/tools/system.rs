//! Programs from the distribution's packages.

use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process;

/// Makes sure that `program` can be started, installing `packages` if it cannot.
pub fn install(program: &str, version_flag: &str, packages: &[&str]) -> anyhow::Result<()> {
    if process::exists(program, version_flag) {
        return Ok(());
    }
    install_packages(packages).with_context(|| format!("'{program}' is not installed"))?;
    if !process::exists(program, version_flag) {
        bail!("`{program} {version_flag}` fails though {packages:?} is installed");
    }
    Ok(())
}

pub fn install_packages(packages: &[&str]) -> anyhow::Result<()> {
    if !process::exists("apt-get", "--version") {
        bail!("this is no Debian-like system: install {packages:?} by hand");
    }
    let install = [&["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"], packages].concat();
    if process::quiet(&mut as_root(&install)?).is_ok() {
        return Ok(());
    }
    // The package lists of a fresh machine are empty or old.
    process::quiet(&mut as_root(&["apt-get", "update", "--quiet"])?)?;
    process::quiet(&mut as_root(&install)?)
}

fn as_root(words: &[&str]) -> anyhow::Result<Command> {
    let mut command = if is_root()? {
        Command::new("env")
    } else if process::exists("sudo", "--version") {
        let mut command = Command::new("sudo");
        command.args(["--non-interactive", "env"]);
        command
    } else {
        bail!("neither root nor sudo: run `{}` by hand", words.join(" "));
    };
    command.arg("DEBIAN_FRONTEND=noninteractive").args(words);
    Ok(command)
}

fn is_root() -> anyhow::Result<bool> {
    Ok(process::output(Command::new("id").arg("-u"))?.trim() == "0")
}
