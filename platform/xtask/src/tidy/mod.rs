//! The project's habits, checked: what a reader may rely on in every file without looking.
//!
//! Each check returns what it found as `file: finding` lines; nothing is repaired.

mod circles;
mod dead;
mod headers;
mod layers;
mod links;
mod ports;
mod settings;
mod sizes;
mod words;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::workspace::Workspace;

/// One of the project's own text files.
pub struct Source {
    /// Relative to the checkout.
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    pub fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    pub fn is_markdown(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "md")
    }

    pub fn finding(&self, what: impl std::fmt::Display) -> String {
        format!("{}: {what}", self.path.display())
    }

    pub fn finding_at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path.display())
    }
}

pub fn tidy(workspace: &Workspace) -> anyhow::Result<()> {
    let sources = read(workspace)?;
    let findings: Vec<String> = [
        headers::check(&sources),
        sizes::check(&sources),
        words::check(&sources),
        settings::check(&sources),
        dead::check(&sources),
        circles::check(&sources),
        ports::check(&sources),
        links::check(workspace, &sources),
        layers::check(workspace)?,
    ]
    .concat();
    for finding in &findings {
        println!("{finding}");
    }
    anyhow::ensure!(findings.is_empty(), "{} findings", findings.len());
    println!("{} files are tidy", sources.len());
    Ok(())
}

fn read(workspace: &Workspace) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in workspace.files()? {
        let bytes =
            fs::read(workspace.root.join(&path)).with_context(|| format!("read '{}'", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}
