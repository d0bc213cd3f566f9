//! What is done to deployments by their names: list, describe, pause, resume, rollback, replay, delete.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use millrace_client::Client;
use millrace_client::plugins::{Description, PartitionState, Plugins};
use serde_json::json;

use super::describe::{changed_text, description_text, list_text, problem_text};
use crate::OutputFormat;
use crate::confirm::confirm;
use crate::connect::{ConnectArgs, close};
use crate::output::{note, print};

/// How often a replay is asked about.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct NameArgs {
    /// The deployment
    name: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// The deployment
    name: String,
    /// The version to run again [default: the one before the present]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    to: Option<u32>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The deployment
    name: String,
    /// The topic to send through it [default: the dead-letter topic of its policy]
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The deployment
    name: String,
    /// Do not ask whether it is meant
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn list(args: ListArgs, output: OutputFormat) -> anyhow::Result<()> {
    let client = args.connect.connect().await?;
    let listed = client.plugins().list().await;
    close(&client).await;
    let summaries = listed.context("list deployments")?;
    print(output, &summaries, || {
        if summaries.is_empty() {
            note("no plugins are deployed yet: `millrace plugin init NAME` begins one");
            return String::new();
        }
        list_text(&summaries)
    })
}

pub async fn describe(args: NameArgs, output: OutputFormat) -> anyhow::Result<()> {
    let client = args.connect.connect().await?;
    let described = client.plugins().describe(&args.name).await;
    close(&client).await;
    let description = described.with_context(|| format!("describe '{}'", args.name))?;
    print(output, &description, || description_text(&description))
}

pub async fn pause(args: NameArgs, output: OutputFormat) -> anyhow::Result<()> {
    let client = args.connect.connect().await?;
    let paused = client.plugins().pause(&args.name).await;
    close(&client).await;
    changed("paused", &paused.with_context(|| format!("pause '{}'", args.name))?, output)
}

pub async fn resume(args: NameArgs, output: OutputFormat) -> anyhow::Result<()> {
    let client = args.connect.connect().await?;
    let resumed = client.plugins().resume(&args.name).await;
    close(&client).await;
    changed("resumed", &resumed.with_context(|| format!("resume '{}'", args.name))?, output)
}

pub async fn rollback(args: RollbackArgs, output: OutputFormat) -> anyhow::Result<()> {
    let client = args.connect.connect().await?;
    let rolled_back = client.plugins().rollback(&args.name, args.to).await;
    close(&client).await;
    changed("rolled back", &rolled_back.with_context(|| format!("roll back '{}'", args.name))?, output)
}

fn changed(done: &str, description: &Description, output: OutputFormat) -> anyhow::Result<()> {
    print(output, description, || changed_text(done, description))
}

pub async fn delete(args: DeleteArgs, output: OutputFormat) -> anyhow::Result<()> {
    if !args.yes {
        confirm(&format!("delete '{}' and its committed offsets?", args.name))?;
    }
    let client = args.connect.connect().await?;
    let deleted = client.plugins().delete(&args.name).await;
    close(&client).await;
    deleted.with_context(|| format!("delete '{}'", args.name))?;
    print(output, &json!({ "deleted": args.name }), || format!("deleted deployment '{}'", args.name))
}

pub async fn replay(args: ReplayArgs, output: OutputFormat) -> anyhow::Result<()> {
    let client = args.connect.connect().await?;
    let done = replay_until_done(&client, &args, output).await;
    close(&client).await;
    done
}

async fn replay_until_done(client: &Client, args: &ReplayArgs, output: OutputFormat) -> anyhow::Result<()> {
    let plugins = client.plugins();
    let begun = plugins.replay(&args.name, args.topic.as_deref()).await;
    let mut description = begun.with_context(|| format!("replay through '{}'", args.name))?;
    let Some(replay) = description.replay.clone() else {
        bail!("the broker began no replay through '{}': `millrace plugin describe` may tell why", args.name);
    };
    if !args.detach {
        description = follow(&plugins, &args.name, replay.number, description).await?;
    }
    let state = if args.detach { "begun; `millrace plugin describe` shows where it stands" } else { "done" };
    print(output, &description, || {
        format!("replay {} of '{}' through '{}' {state}", replay.number, replay.topic, args.name)
    })
}

/// Waits until replay `number` is done; a partition that halts ends it.
async fn follow(
    plugins: &Plugins,
    name: &str,
    number: u32,
    mut description: Description,
) -> anyhow::Result<Description> {
    let left = |description: &Description| {
        description.replay_partitions.iter().map(|at| at.lag().unwrap_or(at.end_offset)).sum::<i64>()
    };
    let total = u64::try_from(left(&description)).unwrap_or_default();
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("replaying {wide_bar} {pos} of {len} records") {
        bar.set_style(style);
    }
    loop {
        match progress(&description, number) {
            Progress::Done => break,
            Progress::Halted(why) => {
                bar.finish_and_clear();
                bail!(
                    "the replay through '{name}' halted; `millrace plugin resume {name}` tries again: {why}"
                );
            }
            Progress::UnderWay => {}
        }
        bar.set_position(total.saturating_sub(u64::try_from(left(&description)).unwrap_or_default()));
        tokio::time::sleep(POLL_INTERVAL).await;
        description =
            plugins.describe(name).await.with_context(|| format!("ask about the replay through '{name}'"))?;
    }
    bar.finish_and_clear();
    Ok(description)
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    UnderWay,
    Halted(String),
}

/// Where replay `number` stands. One that a later replay has taken the place of is done with.
fn progress(description: &Description, number: u32) -> Progress {
    let is_it = description.replay.as_ref().is_some_and(|replay| replay.number == number);
    if !is_it || description.replay_partitions.is_empty() {
        return Progress::Done;
    }
    let halted =
        description.replay_partitions.iter().find(|partition| partition.state == PartitionState::Halted);
    halted.map_or(Progress::UnderWay, |partition| {
        Progress::Halted(problem_text(partition).trim_end().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_followed_to_its_end() {
        let description = |number: u32, states: &[&str]| -> Description {
            let partitions: Vec<_> = states
                .iter()
                .enumerate()
                .map(|(partition, state)| {
                    json!({ "partition": partition, "state": state, "offset": 1, "end_offset": 3, "error": "no disk" })
                })
                .collect();
            serde_json::from_value(json!({
                "name": "d", "state": "running", "version": 1, "created_ms": 0, "group": "g",
                "definition": { "module": "0".repeat(64), "kind": "sink", "topic": "t" },
                "versions": [], "partitions": [],
                "replay": { "topic": "bad", "number": number, "until": [3] },
                "replay_partitions": partitions,
            }))
            .unwrap()
        };
        assert_eq!(progress(&description(2, &["running", "retrying"]), 2), Progress::UnderWay);
        assert_eq!(progress(&description(2, &[]), 2), Progress::Done);
        assert_eq!(progress(&description(3, &["running"]), 2), Progress::Done);
        let halted = Progress::Halted("partition 1 stopped at offset 1: no disk".to_owned());
        assert_eq!(progress(&description(2, &["running", "halted"]), 2), halted);
    }
}
