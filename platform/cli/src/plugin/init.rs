//! `millrace plugin init`: a small project that builds, and is tested, as it stands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::embedded_sdk;
use crate::OutputFormat;
use crate::output::print;

/// Longest name: it becomes part of file names.
const NAME_LEN_MAX: usize = 64;

/// What a project's README says of an SDK that is in it.
const SDK_NOTE: &str = "\n\n`sdk` is Millrace's plugin SDK as the program that made this project carries it; it is a part of the project.";

/// Where in a project the SDK is put.
const SDK_DIR: &str = "sdk";

/// Names that Rust has for itself, and the SDK's.
const RESERVED: [&str; 8] =
    ["alloc", "core", "crate", "millrace-plugin", "proc-macro", "self", "std", "test"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Turns records of one topic into records of others
    #[default]
    Transform,
    /// Delivers records to the outside
    Sink,
    /// Chooses the partitions of records
    Partitioner,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LanguageArg {
    #[default]
    Rust,
}

#[derive(Args, Debug)]
pub struct InitArgs {
    /// The new plugin's name: lower-case letters, digits, `-` and `_`
    #[arg(value_parser = parse_name)]
    name: String,
    /// What it is for
    #[arg(long, value_enum, default_value_t)]
    kind: KindArg,
    /// What it is written in; the repository's examples/plugins has other languages
    #[arg(long, value_enum, default_value_t)]
    lang: LanguageArg,
    /// Where to write it [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The plugin SDK: a checkout of Millrace, the crate's directory, or a published version [default: what this
    /// program carries, written to the project's directory sdk]
    #[arg(long, value_name = "PATH|VERSION")]
    sdk: Option<String>,
}

pub fn run(args: InitArgs, output: OutputFormat) -> anyhow::Result<()> {
    let LanguageArg::Rust = args.lang;
    let sdk = match &args.sdk {
        Some(given) => Sdk::parse(given)?,
        None => Sdk::Embedded,
    };
    let directory = args.path.unwrap_or_else(|| PathBuf::from(&args.name));
    refuse_occupied(&directory)?;
    let files = project(&args.name, args.kind, &sdk);
    for (name, text) in &files {
        let path = directory.join(name);
        let parent = path.parent().unwrap_or(&directory);
        fs::create_dir_all(parent).with_context(|| format!("make directory {}", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
    let json = json!({ "name": args.name, "path": directory, "files": names });
    print(output, &json, || {
        format!(
            "made {} in {}; next:\n  cd {}\n  millrace plugin build\n  millrace plugin test . --records sample.jsonl\n",
            args.name,
            directory.display(),
            directory.display()
        )
    })
}

/// Where a project takes the SDK from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sdk {
    /// The one in this program, which becomes a part of the project.
    Embedded,
    Path(PathBuf),
    Version(String),
}

impl Sdk {
    fn parse(given: &str) -> anyhow::Result<Self> {
        let path = Path::new(given);
        if path.is_dir() {
            return match sdk_in(path) {
                Some(found) => Ok(Self::Path(found)),
                None => bail!(
                    "there is no plugin SDK in {given}: name a checkout of Millrace, or its directory sdk/plugin"
                ),
            };
        }
        if given.starts_with(|first: char| first.is_ascii_digit() || "=^~".contains(first))
            && !given.contains(['"', '\\', '/'])
        {
            return Ok(Self::Version(given.to_owned()));
        }
        bail!("--sdk {given} is neither a directory nor a version such as 0.1")
    }

    /// The dependency's inline table, without its braces.
    fn dependency(&self) -> String {
        match self {
            Self::Embedded => format!("path = {}", json!(format!("{SDK_DIR}/plugin"))),
            // A TOML string in quotes reads backslashes and quotes as JSON does.
            Self::Path(path) => format!("path = {}", json!(path.to_string_lossy())),
            Self::Version(version) => format!("version = {}", json!(version)),
        }
    }
}

/// The SDK's directory, if `directory` is it or a checkout that holds it.
fn sdk_in(directory: &Path) -> Option<PathBuf> {
    [directory.join("sdk/plugin"), directory.to_owned()].into_iter().find_map(|candidate| {
        let manifest = fs::read_to_string(candidate.join("Cargo.toml")).ok()?;
        manifest.contains("name = \"millrace-plugin\"").then(|| candidate.canonicalize().ok())?
    })
}

/// The files of a new project, by their paths in it.
fn project(name: &str, kind: KindArg, sdk: &Sdk) -> Vec<(String, String)> {
    let (source, kind, topics) = match kind {
        KindArg::Transform => {
            (include_str!("template/transform.rs.in"), "transform", "--topic logs --to errors")
        }
        KindArg::Sink => (include_str!("template/sink.rs.in"), "sink connector", "--topic logs"),
        KindArg::Partitioner => (include_str!("template/partitioner.rs.in"), "partitioner", "--topic logs"),
    };
    let fill = |template: &str| {
        template
            .replace("{name}", name)
            .replace("{kind}", kind)
            .replace("{topics}", topics)
            .replace("{sdk}", &sdk.dependency())
            .replace("{sdk_note}", if *sdk == Sdk::Embedded { SDK_NOTE } else { "" })
    };
    let own = [
        ("Cargo.toml", fill(include_str!("template/Cargo.toml.in"))),
        ("src/lib.rs", source.to_owned()),
        ("sample.jsonl", include_str!("template/sample.jsonl.in").to_owned()),
        ("README.md", fill(include_str!("template/README.md.in"))),
        (".gitignore", include_str!("template/gitignore.in").to_owned()),
        (".cargo/config.toml", include_str!("template/cargo-config.toml.in").to_owned()),
    ];
    let mut files: Vec<_> = own.into_iter().map(|(path, text)| (path.to_owned(), text)).collect();
    if *sdk == Sdk::Embedded {
        files.extend(embedded_sdk::files().map(|(path, text)| (format!("{SDK_DIR}/{path}"), text)));
    }
    files
}

fn refuse_occupied(directory: &Path) -> anyhow::Result<()> {
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            Some(_) => bail!("{} is not empty: name another directory with --path", directory.display()),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("open directory {}", directory.display())),
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
    let known =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
    if !begins || !text.chars().all(known) || text.len() > NAME_LEN_MAX {
        return Err(format!(
            "expected 1 to {NAME_LEN_MAX} lower-case letters, digits, '-' and '_', beginning with a letter"
        ));
    }
    if RESERVED.contains(&text.replace('_', "-").as_str()) {
        return Err("Rust or the SDK has this name for itself: choose another".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates() {
        assert_eq!(parse_name("errors-only_2"), Ok("errors-only_2".to_owned()));
        for wrong in ["", "2x", "-x", "Errors", "a b", "ü", "a/b", "std", "proc_macro", &"x".repeat(65)] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_project_is_filled_in_completely() {
        let sdk = Sdk::Path(PathBuf::from("/somewhere \"else\""));
        for kind in [KindArg::Transform, KindArg::Sink, KindArg::Partitioner] {
            let files = project("mine", kind, &sdk);
            let text = |wanted: &str| &files.iter().find(|(name, _)| *name == wanted).expect("a file").1;
            let manifest: toml::Table = text("Cargo.toml").parse().expect("a manifest");
            assert_eq!(manifest["package"]["name"].as_str(), Some("mine"));
            let path = manifest["dependencies"]["millrace-plugin"]["path"].as_str();
            assert_eq!(path, Some("/somewhere \"else\""));
            assert!(manifest.contains_key("workspace"));
            assert!(text("README.md").contains("millrace plugin deploy mine . --topic logs"));
            assert!(!text("README.md").contains('{'), "{}", text("README.md"));
        }
    }

    #[test]
    fn a_project_needs_nothing_of_the_machine_that_built_this_program() {
        let files = project("mine", KindArg::Transform, &Sdk::Embedded);
        let built_on = env!("CARGO_MANIFEST_DIR").trim_end_matches("/platform/cli");
        assert!(files.iter().all(|(_, text)| !text.contains(built_on)));
        let text = |wanted: &str| &files.iter().find(|(name, _)| *name == wanted).expect("a file").1;
        let manifest: toml::Table = text("Cargo.toml").parse().expect("a manifest");
        let path = manifest["dependencies"]["millrace-plugin"]["path"].as_str().expect("a path");
        assert!(text(&format!("{path}/Cargo.toml")).contains("name = \"millrace-plugin\""));
        assert!(!text("README.md").contains('{'), "{}", text("README.md"));
    }

    #[test]
    fn the_sdk_is_a_checkout_its_crate_or_a_version() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        let crate_directory = checkout.join("sdk/plugin");
        let parsed = |given: &Path| Sdk::parse(given.to_str().unwrap());
        assert_eq!(parsed(&checkout).unwrap(), Sdk::Path(crate_directory.clone()));
        assert_eq!(parsed(&crate_directory).unwrap(), Sdk::Path(crate_directory));
        assert_eq!(Sdk::parse("0.1").unwrap(), Sdk::Version("0.1".to_owned()));
        assert!(parsed(&checkout.join("sdk/wit")).unwrap_err().to_string().contains("no plugin SDK"));
        assert!(Sdk::parse("nowhere").unwrap_err().to_string().contains("neither a directory nor a version"));
    }
}
