//! What the tests need beside Rust and a C compiler, each installed once into the cache.
//!
//! A tool that cannot be had (no network, no right to install packages) is an error with its reason; whoever
//! needs it decides whether that fails or is reported as skipped. Nothing is skipped without a name.

mod cargo;
mod go;
mod java;
mod javascript;
mod languages;
mod postgresql;
mod python;
mod system;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::workspace::Workspace;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// What formats and lints.
    Components,
    Kcat,
    /// The 2.x series of kafka-python: fixed request versions per broker release.
    KafkaPython2,
    /// The 3.x series, whose protocol code is generated and which asks for newer versions.
    KafkaPython3,
    ConfluentKafka,
    /// aiokafka, and Faust that stands on it.
    Aiokafka,
    KafkaJs,
    /// Kafka's own command line tools and client library.
    JavaClient,
    WasmTargets,
    /// The compilers that make plugins of Python and JavaScript.
    ComponentizePy,
    ComponentizeJs,
    Go,
    /// Producers that stand on franz-go, built.
    FranzGo,
    /// Consumer groups on three libraries, built.
    GoGroups,
    Postgresql,
    CargoDeny,
    CargoFuzz,
}

impl Tool {
    pub const ALL: [Self; 17] = [
        Self::Components,
        Self::Kcat,
        Self::KafkaPython2,
        Self::KafkaPython3,
        Self::ConfluentKafka,
        Self::Aiokafka,
        Self::KafkaJs,
        Self::JavaClient,
        Self::WasmTargets,
        Self::ComponentizePy,
        Self::ComponentizeJs,
        Self::Go,
        Self::FranzGo,
        Self::GoGroups,
        Self::Postgresql,
        Self::CargoDeny,
        Self::CargoFuzz,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Components => "components",
            Self::Kcat => "kcat",
            Self::KafkaPython2 => "kafka-python-2",
            Self::KafkaPython3 => "kafka-python-3",
            Self::ConfluentKafka => "confluent-kafka",
            Self::Aiokafka => "aiokafka",
            Self::KafkaJs => "kafkajs",
            Self::JavaClient => "java",
            Self::WasmTargets => "wasm-targets",
            Self::ComponentizePy => "componentize-py",
            Self::ComponentizeJs => "componentize-js",
            Self::Go => "go",
            Self::FranzGo => "franz-go",
            Self::GoGroups => "go-groups",
            Self::Postgresql => "postgresql",
            Self::CargoDeny => "cargo-deny",
            Self::CargoFuzz => "cargo-fuzz",
        }
    }

    fn install(self, workspace: &Workspace) -> anyhow::Result<()> {
        match self {
            Self::Components => cargo::install_components(workspace),
            Self::Kcat => system::install("kcat", "-V", &["kcat"]),
            Self::KafkaPython2 | Self::KafkaPython3 | Self::ConfluentKafka | Self::Aiokafka => {
                python::install(workspace, self.name())
            }
            Self::KafkaJs => javascript::install(workspace),
            Self::JavaClient => java::install(workspace),
            Self::WasmTargets => cargo::install_targets(workspace),
            Self::ComponentizePy => languages::install_python(workspace),
            Self::ComponentizeJs => languages::install_javascript(workspace),
            Self::Go => go::install(workspace, "examples/plugins/go"),
            Self::FranzGo => go::install_program(workspace, "tests/compat/go", self.name(), "producers"),
            Self::GoGroups => go::install_program(workspace, "tests/compat/go/groups", self.name(), "groups"),
            Self::Postgresql => postgresql::install(),
            Self::CargoDeny => cargo::install_tool(workspace, "cargo-deny", "0.20.2"),
            Self::CargoFuzz => cargo::install_fuzz(workspace),
        }
    }
}

/// The program of a tool that cargo installed.
pub fn cargo_tool(workspace: &Workspace, tool: Tool) -> PathBuf {
    cargo::tool_path(workspace, tool.name())
}

/// Installs on first use and remembers the outcome, so that one missing tool is tried and reported once.
pub struct Tools<'a> {
    workspace: &'a Workspace,
    outcomes: RefCell<BTreeMap<Tool, Result<(), String>>>,
}

impl<'a> Tools<'a> {
    pub const fn new(workspace: &'a Workspace) -> Self {
        Self { workspace, outcomes: RefCell::new(BTreeMap::new()) }
    }

    /// The reason why `tool` is not to be had, if so.
    pub fn require(&self, tool: Tool) -> Result<(), String> {
        self.outcomes
            .borrow_mut()
            .entry(tool)
            .or_insert_with(|| tool.install(self.workspace).map_err(|error| format!("{error:#}")))
            .clone()
    }
}

/// Installs everything and returns the names and reasons of what is missing.
pub fn install_all(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let tools = Tools::new(workspace);
    let mut missing = Vec::new();
    for tool in Tool::ALL {
        match tools.require(tool) {
            Ok(()) => println!("{}: ready", tool.name()),
            Err(reason) => {
                println!("{}: missing: {reason}", tool.name());
                missing.push(format!("{}: {reason}", tool.name()));
            }
        }
    }
    Ok(missing)
}

/// Runs `install` unless `directory` was completed for this very `recipe` before; a change of the recipe or
/// an interrupted installation starts it afresh.
fn once(directory: &Path, recipe: &str, install: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let stamp = directory.join(".installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == recipe) {
        return Ok(());
    }
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove '{}'", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("create '{}'", directory.display()))?;
    install()?;
    fs::write(&stamp, recipe).with_context(|| format!("write '{}'", stamp.display()))
}
