//! `millrace`: the broker, its command line and its benchmark in one binary.
//!
//! This crate is the only one that knows all others: it wires them into a node ([`node`]) and gives people
//! the commands of [`command`]. It holds no logic of the platform's own.

mod command;
mod dev;
mod logging;
mod node;
mod serve;

use std::process::ExitCode;

use clap::Parser;
use command::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(&cli.logging, cli.command.default_log());
    let output = cli.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => millrace_cli::failure::report(&error, output),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if cli.command.is_light() {
        runtime.worker_threads(2);
    }
    let runtime = runtime.enable_all().thread_name("millrace").build()?;
    let result = runtime.block_on(command::run(cli));
    // Standard input may be read by a thread that never returns; it must not hold up the exit.
    runtime.shutdown_background();
    result
}
