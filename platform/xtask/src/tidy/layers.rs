//! The direction of dependencies: a crate knows only crates of lower levels, and a library that stands for
//! a decision is known to one crate alone.

use anyhow::Context as _;
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

/// Levels as in `platform/ARCHITECTURE.md`. Crates of one level do not know each other.
const LEVELS: &[(&str, u8)] = &[
    ("millrace-base", 0),
    // What a plugin is built from: a world of its own, in which nothing of the broker exists.
    ("millrace-plugin-macros", 0),
    ("millrace-plugin", 1),
    ("millrace-config", 1),
    ("millrace-disk", 1),
    ("millrace-protocol", 1),
    ("millrace-coordinator", 2),
    ("millrace-log", 2),
    ("millrace-metadata", 2),
    ("millrace-replication", 2),
    ("millrace-plugin-host", 2),
    ("millrace-transport", 2),
    ("millrace-client", 2),
    ("millrace-broker", 3),
    ("millrace-plugin-runner", 3),
    ("millrace-admin", 3),
    ("millrace-cli", 3),
    ("millrace-bench", 4),
    ("millrace", 5),
];

/// Beside the product: they may use any of its crates, and none of those may use them.
const OUTSIDE: &[&str] = &[
    "xtask",
    "millrace-examples",
    "millrace-test-harness",
    "millrace-test-partitions",
    "millrace-test-wait",
    "millrace-simulation",
    "millrace-integration-tests",
    "millrace-compat-tests",
    "millrace-plugin-tests",
    "millrace-componentize",
];

/// Libraries that only the crates named here may use.
const OWNED: &[(&str, &[&str])] = &[
    ("openraft", &["millrace-metadata"]),
    ("kafka-protocol", &["millrace-protocol"]),
    ("tokio-rustls", &["millrace-transport", "millrace-client", "millrace-plugin-runner"]),
    ("axum", &["millrace-admin"]),
    ("wasmtime", &["millrace-plugin-host"]),
    ("quinn", &["millrace-transport", "millrace-client", "millrace-bench"]),
];

pub fn check(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut command = workspace.cargo(&["metadata", "--format-version=1", "--no-deps", "--locked"]);
    let metadata: Value =
        serde_json::from_str(&process::output(&mut command)?).context("read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo's metadata lists no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        let dependencies = package["dependencies"].as_array().context("a package lists no dependencies")?;
        // What only a crate's own tests use says nothing about its direction.
        let used = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
        for dependency in used.filter_map(|dependency| dependency["name"].as_str()) {
            findings.extend(judge(name, dependency).map(|what| format!("{name}: {what}")));
        }
        if level(name).is_none() && !OUTSIDE.contains(&name) {
            findings.push(format!("{name}: has no level yet: give it one in the checks and ARCHITECTURE.md"));
        }
    }
    Ok(findings)
}

fn level(name: &str) -> Option<u8> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

fn judge(name: &str, dependency: &str) -> Option<String> {
    if let Some((_, owners)) = OWNED.iter().find(|(library, _)| *library == dependency)
        && !owners.contains(&name)
    {
        return Some(format!("uses {dependency}, which belongs to {}", owners.join(" and ")));
    }
    let own = level(name)?;
    if OUTSIDE.contains(&dependency) {
        return Some(format!("uses {dependency}, which is no part of the product"));
    }
    let other = level(dependency)?;
    (other >= own).then(|| format!("is on level {own} and uses {dependency} on level {other}"))
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn dependencies_point_downwards() {
        assert_eq!(judge("millrace-broker", "millrace-log"), None);
        assert_eq!(judge("millrace-log", "bytes"), None);
        assert!(judge("millrace-log", "millrace-broker").is_some());
        assert!(judge("millrace-log", "millrace-metadata").is_some());
        assert!(judge("millrace-log", "openraft").is_some());
        assert!(judge("millrace-base", "xtask").is_some());
    }
}
