//! `millrace group`: which groups there are, how far they are, and setting where they go on.

mod describe;
mod reset;
mod target;

use anyhow::Context;
use clap::{Args, Subcommand};
use millrace_client::{Admin, RequestError};
use serde_json::json;

use super::OutputFormat;
use super::confirm::confirm;
use super::connect::{ConnectArgs, close};
use super::output::{print, table};

/// Kafka's GROUP_ID_NOT_FOUND.
const GROUP_ID_NOT_FOUND: i16 = 69;
/// Kafka's NON_EMPTY_GROUP.
const NON_EMPTY_GROUP: i16 = 68;

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List the groups
    List(ListArgs),
    /// Show how far groups are, or who is in them
    Describe(describe::DescribeArgs),
    /// Set where a group goes on; shows what it would do unless --execute is given
    ResetOffsets(reset::ResetArgs),
    /// Delete groups with their offsets
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The groups to delete
    #[arg(required = true)]
    groups: Vec<String>,
    /// Succeed if there is no such group
    #[arg(long)]
    if_exists: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn run(command: GroupCommand, output: OutputFormat) -> anyhow::Result<()> {
    let client = command.connect().connect().await?;
    let admin = client.admin();
    let done = match command {
        GroupCommand::List(_) => list(&admin, output).await,
        GroupCommand::Describe(args) => describe::run(&admin, &args, output).await,
        GroupCommand::ResetOffsets(args) => reset::run(&admin, &args, output).await,
        GroupCommand::Delete(args) => delete(&admin, &args, output).await,
    };
    close(&client).await;
    done
}

impl GroupCommand {
    const fn connect(&self) -> &ConnectArgs {
        match self {
            Self::List(args) => &args.connect,
            Self::Describe(args) => &args.connect,
            Self::ResetOffsets(args) => &args.connect,
            Self::Delete(args) => &args.connect,
        }
    }
}

async fn list(admin: &Admin, output: OutputFormat) -> anyhow::Result<()> {
    let groups = admin.list_groups().await.context("list groups")?;
    let json: Vec<_> = groups
        .iter()
        .map(|group| json!({ "group": group.group, "type": group.kind, "state": group.state }))
        .collect();
    print(output, &json, || {
        if groups.is_empty() {
            super::output::note("no groups yet: `millrace consume TOPIC --group NAME` makes one");
            return String::new();
        }
        let rows: Vec<_> = groups.into_iter().map(|group| [group.group, group.kind, group.state]).collect();
        table(["GROUP", "TYPE", "STATE"], &rows)
    })
}

async fn delete(admin: &Admin, args: &DeleteArgs, output: OutputFormat) -> anyhow::Result<()> {
    if !args.yes {
        confirm(&format!("delete {} with all offsets?", args.groups.join(", ")))?;
    }
    let mut deleted = Vec::new();
    for group in &args.groups {
        match admin.delete_group(group).await {
            Ok(()) => deleted.push(group.as_str()),
            Err(error) if args.if_exists && is_unknown(&error) => {}
            Err(error) => return Err(explained(group, error, "deleted")),
        }
    }
    print(output, &json!({ "deleted": deleted }), || {
        deleted.iter().map(|group| format!("deleted group '{group}'\n")).collect()
    })
}

fn is_unknown(error: &RequestError) -> bool {
    error.code() == Some(GROUP_ID_NOT_FOUND)
}

/// The error with the way out; `what` the group cannot be.
fn explained(group: &str, error: RequestError, what: &str) -> anyhow::Error {
    if is_unknown(&error) {
        return anyhow::anyhow!(
            "there is no group '{group}': `millrace group list` shows those that there are"
        );
    }
    if error.code() == Some(NON_EMPTY_GROUP) {
        return anyhow::anyhow!(
            "group '{group}' has members and cannot be {what}: stop its consumers first; `millrace group describe \
             {group} --members` shows them"
        );
    }
    anyhow::Error::new(error).context(format!("group '{group}'"))
}
