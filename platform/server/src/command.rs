//! The command line: what can be asked, and who answers.

use clap::{Parser, Subcommand};

use millrace_bench::BenchCommand;
use millrace_cli::{OutputFormat, config, consume, group, plugin, produce, topic, transaction};

use crate::logging::LoggingArgs;
use crate::{dev, serve};

/// A Kafka-compatible event platform: broker and command line in one binary
#[derive(Debug, Parser)]
#[command(name = "millrace", version, max_term_width = 110)]
pub struct Cli {
    /// What results look like; errors follow it on standard error
    #[arg(long, value_enum, default_value_t, global = true, help_heading = "Global options")]
    pub output: OutputFormat,
    #[command(flatten)]
    pub logging: LoggingArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start one broker on this machine with everything set up
    Dev(dev::DevArgs),
    /// Start a broker from a configuration file
    Server(serve::ServerArgs),
    /// Create, list, describe, change and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// List and describe consumer groups, set where they go on, and delete them
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// List, describe and abort transactions
    #[command(subcommand)]
    Transaction(transaction::TransactionCommand),
    /// Make, test, deploy and watch plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Send the lines of standard input as records
    Produce(produce::ProduceArgs),
    /// Print the records of a topic
    Consume(consume::ConsumeArgs),
    /// Measure brokers, and what this machine can do at all
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Explain and check configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

impl Command {
    /// Whether two threads do: a command talks over one connection, and the second thread reads or prints.
    pub const fn is_light(&self) -> bool {
        !matches!(self, Self::Dev(_) | Self::Server(_) | Self::Bench(_))
    }

    /// What is logged unless asked for otherwise. `dev` talks to a person by its announcement.
    pub const fn default_log(&self) -> &'static str {
        match self {
            // openraft tells of its every step; what matters of it the metadata reports itself.
            Self::Server(_) => "info,openraft=error",
            Self::Dev(_) => "warn,openraft=error",
            _ => "error",
        }
    }
}

pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let output = cli.output;
    match cli.command {
        Command::Dev(args) => dev::run(args, output).await,
        Command::Server(args) => serve::run(args, output).await,
        Command::Topic(command) => topic::run(command, output).await,
        Command::Group(command) => group::run(command, output).await,
        Command::Transaction(command) => transaction::run(command, output).await,
        Command::Plugin(command) => plugin::run(command, output).await,
        Command::Produce(args) => produce::run(args, output).await,
        Command::Consume(args) => consume::run(args, output).await,
        Command::Bench(command) => millrace_bench::run(command).await,
        Command::Config(command) => config::run(command, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
