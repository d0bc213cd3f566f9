//! Where things are: the checkout, the cache that outlives it, and the build directory.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::process;

pub struct Workspace {
    pub root: PathBuf,
    /// Shared by every checkout of this user: tools, virtual environments, jars and CI's build directory.
    pub cache: PathBuf,
    /// Whether this is a CI run, whose checkout is thrown away afterwards.
    pub is_ci: bool,
}

impl Workspace {
    pub fn locate() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("the checks' crate must lie two levels below the checkout")?
            .to_owned();
        let cache = match env::var_os("XDG_CACHE_HOME") {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
                .join(".cache"),
        }
        .join("millrace");
        let is_ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        Ok(Self { root, cache, is_ci })
    }

    pub fn tools(&self) -> PathBuf {
        self.cache.join("tools")
    }

    /// CI's checkouts come and go, so its builds live in the cache: a fresh clone finds its dependencies built.
    pub fn target(&self) -> PathBuf {
        match env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => self.root.join(directory),
            None if self.is_ci => self.cache.join("target"),
            None => self.root.join("target"),
        }
    }

    /// `cargo` in the checkout, building into [`Self::target`].
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&self.root).env("CARGO_TARGET_DIR", self.target());
        // Set for this process by `cargo run`; the crates under test must see their own.
        for variable in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME"] {
            command.env_remove(variable);
        }
        if self.is_ci {
            // Incremental state is of no use to the next clone and would only grow the cache.
            command.env("CARGO_INCREMENTAL", "0");
        }
        command
    }

    /// The project's own files, relative to the root: tracked ones and new ones that are not ignored.
    pub fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&self.root);
        let mut files: Vec<PathBuf> = process::output(&mut git)?
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|path| self.root.join(path).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}
