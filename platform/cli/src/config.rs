//! `millrace config`: the reference of all settings, and a check of a file without starting a broker.

use std::path::PathBuf;

use clap::Subcommand;
use millrace_config::setting::{Effect, Setting};
use millrace_config::{BROKER_SETTINGS, BrokerConfig, TOPIC_SETTINGS, reference_markdown};
use serde_json::{Value, json};

use super::output::print;
use crate::OutputFormat;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its default and what is allowed
    Reference,
    /// Check a configuration file without starting a broker
    Check {
        /// The file that `millrace server --config` would read
        file: PathBuf,
    },
}

pub fn run(command: ConfigCommand, output: OutputFormat) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Reference => {
            let json = json!({
                "broker": BROKER_SETTINGS.iter().map(setting_json).collect::<Vec<_>>(),
                "topic": TOPIC_SETTINGS.iter().map(setting_json).collect::<Vec<_>>(),
            });
            print(output, &json, reference_markdown)
        }
        ConfigCommand::Check { file } => {
            BrokerConfig::load(&file)?;
            let json = json!({ "file": file, "valid": true });
            print(output, &json, || format!("{}: valid", file.display()))
        }
    }
}

fn setting_json<T>(setting: &Setting<T>) -> Value {
    json!({
        "name": setting.name,
        "kind": setting.kind.to_string(),
        "default": setting.default,
        "allowed": setting.allowed(),
        "documentation": setting.doc,
        "effective": setting.effect == Effect::Applied,
    })
}
