//! Kafka's own client library and command line tools, as jars from the Maven repository.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use super::{once, system};
use crate::process;
use crate::workspace::Workspace;

/// Copies what `tests/compat/java/pom.xml` depends on into `<tools>/java`.
pub fn install(workspace: &Workspace) -> anyhow::Result<()> {
    // The compiler's package brings the virtual machine; the tests run a source file as it is.
    system::install("javac", "-version", &["default-jdk-headless"])?;
    let pom = workspace.root.join("tests/compat/java/pom.xml");
    let recipe = fs::read_to_string(&pom).with_context(|| format!("read '{}'", pom.display()))?;
    let directory = workspace.tools().join("java");
    once(&directory, &recipe, || {
        system::install("mvn", "-version", &["maven"])?;
        println!("installing Kafka's Java tools into '{}'", directory.display());
        process::quiet(
            Command::new("mvn")
                .args(["--batch-mode", "--quiet", "--file"])
                .arg(&pom)
                .arg("dependency:copy-dependencies")
                .arg(format!("-DoutputDirectory={}", directory.display())),
        )
    })
}
