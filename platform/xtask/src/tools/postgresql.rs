//! A database server for the tests of sinks, which start one of their own.

use std::fs;

use anyhow::bail;

use super::system;

/// Where the distribution keeps the server's programs, by version; they are on no search path.
const INSTALLED: &str = "/usr/lib/postgresql";

pub fn install() -> anyhow::Result<()> {
    if is_installed() {
        return Ok(());
    }
    system::install_packages(&["postgresql"])?;
    if !is_installed() {
        bail!("there is no server under '{INSTALLED}' though the package is installed");
    }
    Ok(())
}

fn is_installed() -> bool {
    let Ok(versions) = fs::read_dir(INSTALLED) else { return false };
    versions.flatten().any(|version| version.path().join("bin/postgres").exists())
}
