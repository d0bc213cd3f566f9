//! `millrace plugin build`: a project becomes a module, which is looked at as a broker would.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::module::{LocalModule, describe, module_json};
use crate::OutputFormat;
use crate::output::print;

/// For plugins that import nothing of WASI: small, and started the fastest.
const CORE_TARGET: &str = "wasm32-unknown-unknown";
/// For plugins that speak HTTP.
const WASI_TARGET: &str = "wasm32-wasip2";

#[derive(Args, Debug)]
pub struct BuildArgs {
    /// The project's directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// What to compile for: wasm32-unknown-unknown or wasm32-wasip2 [default: what `target` under
    /// [package.metadata.millrace] says, or by whether the feature `http` of millrace-plugin is used]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Optimised; always so, and taken for cargo's sake
    #[arg(long, hide = true)]
    release: bool,
}

pub fn run(args: &BuildArgs, output: OutputFormat) -> anyhow::Result<()> {
    let path = build(&args.directory, args.target.as_deref())?;
    let module = LocalModule::read(&path)?;
    let json = module_json(&module.info, Some(&path));
    print(output, &json, || format!("built {}\n{}", path.display(), describe(&module.info)))
}

/// Reads a module's file, or builds the project if `path` is a directory.
pub fn read_or_build(path: &Path) -> anyhow::Result<LocalModule> {
    if path.is_dir() { LocalModule::read(&build(path, None)?) } else { LocalModule::read(path) }
}

/// Builds the project in `directory`; returns the module's path. Cargo's own messages go to standard error.
pub fn build(directory: &Path, target: Option<&str>) -> anyhow::Result<PathBuf> {
    let package = Package::of(directory)?;
    let target = target.unwrap_or_else(|| package.target());
    require_target(directory, target)?;
    let mut command =
        cargo(directory, &["build", "--release", "--message-format", "json-render-diagnostics"]);
    command.args(["--target", target, "--manifest-path"]).arg(&package.manifest_path);
    if !std::io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    let built = command.stderr(Stdio::inherit()).output().context(CARGO_MISSING)?;
    if !built.status.success() {
        bail!("cargo does not build {} for {target}; its messages are above", directory.display());
    }
    let artifact = module_among(&built.stdout, &package.manifest_path);
    artifact.with_context(|| {
        format!(
            "{} builds no WebAssembly module: its Cargo.toml needs `crate-type = [\"cdylib\"]` under [lib]",
            directory.display()
        )
    })
}

const CARGO_MISSING: &str = "start cargo, which comes with Rust (https://rustup.rs)";

fn cargo(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// What cargo says of a package.
#[derive(Debug, Deserialize)]
struct Package {
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    metadata: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    features: Vec<String>,
}

impl Package {
    fn of(directory: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
        }
        let manifest = directory.join("Cargo.toml").canonicalize().with_context(|| {
            format!(
                "there is no Cargo.toml in {}: `millrace plugin init` makes a project",
                directory.display()
            )
        })?;
        let mut command = cargo(directory, &["metadata", "--no-deps", "--format-version", "1"]);
        let asked = command.output().context(CARGO_MISSING)?;
        if !asked.status.success() {
            bail!(
                "cargo cannot read {}: {}",
                manifest.display(),
                String::from_utf8_lossy(&asked.stderr).trim()
            );
        }
        let metadata: Metadata = serde_json::from_slice(&asked.stdout).context("read what cargo says")?;
        let package = metadata.packages.into_iter().find(|package| package.manifest_path == manifest);
        package.with_context(|| {
            format!("{} is a workspace: name the directory of a package", directory.display())
        })
    }

    fn target(&self) -> &str {
        let named = self.metadata.as_ref().and_then(|metadata| metadata["millrace"]["target"].as_str());
        let speaks_http = || {
            let sdk = self.dependencies.iter().find(|dependency| dependency.name == "millrace-plugin");
            sdk.is_some_and(|sdk| sdk.features.iter().any(|feature| feature == "http"))
        };
        named.unwrap_or_else(|| if speaks_http() { WASI_TARGET } else { CORE_TARGET })
    }
}

/// Cargo's own words for a missing target are about a crate named `core`.
fn require_target(directory: &Path, target: &str) -> anyhow::Result<()> {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", target]).current_dir(directory);
    let asked = command.output().context("start rustc, which comes with Rust (https://rustup.rs)")?;
    if !asked.status.success() {
        bail!("rustc knows no target '{target}': plugins are built for {CORE_TARGET} or {WASI_TARGET}");
    }
    if !Path::new(String::from_utf8_lossy(&asked.stdout).trim()).is_dir() {
        bail!("the target {target} is not installed: `rustup target add {target}` installs it");
    }
    Ok(())
}

/// The module among cargo's messages, one a line.
fn module_among(messages: &[u8], manifest_path: &Path) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        manifest_path: PathBuf,
        target: Target,
        filenames: Vec<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        crate_types: Vec<String>,
    }
    let artifacts = messages.split(|byte| *byte == b'\n').filter_map(|line| {
        let message: Value = serde_json::from_slice(line).ok()?;
        let is_artifact = message["reason"] == "compiler-artifact";
        is_artifact.then(|| serde_json::from_value::<Artifact>(message).ok())?
    });
    let modules = artifacts.filter(|artifact| {
        artifact.manifest_path == manifest_path
            && artifact.target.crate_types.iter().any(|kind| kind == "cdylib")
    });
    modules
        .flat_map(|artifact| artifact.filenames)
        .find(|path| path.extension().is_some_and(|end| end == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_named_or_follows_from_what_is_used() {
        let target = |json: &str| {
            let package: Package = serde_json::from_str(json).expect("a package");
            package.target().to_owned()
        };
        let plain = r#"{"manifest_path":"/m","metadata":null,
            "dependencies":[{"name":"millrace-plugin","features":["json"]},{"name":"x","features":["http"]}]}"#;
        assert_eq!(target(plain), CORE_TARGET);
        assert_eq!(target(&plain.replace("json", "http")), WASI_TARGET);
        assert_eq!(target(&plain.replace("null", r#"{"millrace":{"target":"wasm32-wasip2"}}"#)), WASI_TARGET);
    }

    #[test]
    fn the_module_is_the_packages_own_cdylib() {
        let messages = br#"{"reason":"compiler-artifact","manifest_path":"/other","target":{"crate_types":["cdylib"]},"filenames":["/o.wasm"]}
not json
{"reason":"compiler-artifact","manifest_path":"/own","target":{"crate_types":["bin"]},"filenames":["/b.wasm"]}
{"reason":"compiler-artifact","manifest_path":"/own","target":{"crate_types":["cdylib","rlib"]},"filenames":["/own.rlib","/own.wasm"]}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(module_among(messages, Path::new("/own")), Some("/own.wasm".into()));
        assert_eq!(module_among(messages, Path::new("/none")), None);
    }
}
