//! `cargo xtask`: what a developer and the continuous integration run, in Rust so that it needs no other
//! tool than the one that builds the project.
//!
//! Nothing here is part of the product, and nothing of the product may depend on it.

mod process;
mod tests_run;
mod tidy;
mod tools;
mod verify;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks of the Millrace project")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the tests need and runs every check
    Verify(verify::Options),
    /// Checks the project's habits: headers, sizes, words, the crates' direction, dead files, links
    Tidy,
    /// Plays clusters in simulated time: `--seeds N`, `--seed S`, and more with `--help`
    Simulate {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<String>,
    },
    /// Installs the foreign clients and cargo tools that the tests use
    Tools,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the task found everything in order; an error is a task that could not be carried out.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let workspace = Workspace::locate()?;
    match &arguments.task {
        Task::Verify(options) => verify::verify(&workspace, options),
        Task::Tidy => tidy::tidy(&workspace).map(|()| true),
        Task::Simulate { arguments } => simulate(&workspace, arguments),
        Task::Tools => tools::install_all(&workspace).map(|missing| missing.is_empty()),
    }
}

/// Whether nothing was found.
fn simulate(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<bool> {
    let package = "millrace-simulation";
    process::run(&mut workspace.cargo(&["build", "--quiet", "--package", package]))?;
    let mut command = workspace.cargo(&["run", "--quiet", "--package", package, "--"]);
    Ok(command.args(arguments).status()?.success())
}
