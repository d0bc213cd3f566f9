//! `millrace plugin`: from an empty directory to a running deployment, and what becomes of it.
//!
//! `init`, `build` and `test` need no broker: modules are looked at and run by the plugin host in this process.

mod build;
mod definition;
mod deploy;
mod describe;
mod embedded_sdk;
mod init;
mod logs;
mod manage;
mod module;
mod policy;
mod records;
mod settings;
mod test_run;
mod text;

use clap::Subcommand;

use super::OutputFormat;

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Write a small project that builds
    Init(init::InitArgs),
    /// Build a project into a module, and show what it asks for
    Build(build::BuildArgs),
    /// Run a module over a file of records, without a broker
    Test(test_run::TestArgs),
    /// Upload a module and run it beside a topic
    Deploy(Box<deploy::DeployArgs>),
    /// List the deployments
    List(manage::ListArgs),
    /// Show what a deployment is and where it stands
    Describe(manage::NameArgs),
    /// Print what a deployment's plugin logs
    Logs(logs::LogsArgs),
    /// Stop a deployment at the records that it is at
    Pause(manage::NameArgs),
    /// End a pause, and have halted partitions try again
    Resume(manage::NameArgs),
    /// Run an earlier version again
    Rollback(manage::RollbackArgs),
    /// Send a dead-letter topic through a deployment once more
    Replay(manage::ReplayArgs),
    /// Remove a deployment and its committed offsets
    Delete(manage::DeleteArgs),
}

pub async fn run(command: PluginCommand, output: OutputFormat) -> anyhow::Result<()> {
    match command {
        PluginCommand::Init(args) => init::run(args, output),
        PluginCommand::Build(args) => build::run(&args, output),
        PluginCommand::Test(args) => test_run::run(args, output).await,
        PluginCommand::Deploy(args) => deploy::run(*args, output).await,
        PluginCommand::List(args) => manage::list(args, output).await,
        PluginCommand::Describe(args) => manage::describe(args, output).await,
        PluginCommand::Logs(args) => logs::run(args, output).await,
        PluginCommand::Pause(args) => manage::pause(args, output).await,
        PluginCommand::Resume(args) => manage::resume(args, output).await,
        PluginCommand::Rollback(args) => manage::rollback(args, output).await,
        PluginCommand::Replay(args) => manage::replay(args, output).await,
        PluginCommand::Delete(args) => manage::delete(args, output).await,
    }
}
