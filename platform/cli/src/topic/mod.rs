//! `millrace topic`: create, list, describe, alter, delete.

mod describe;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use millrace_client::admin::{ConfigChange, ConfigResource, NewTopic};
use millrace_client::{Admin, RequestError};
use serde_json::json;

use super::OutputFormat;
use super::connect::{ConnectArgs, close};
use super::output::{print, table};

/// Kafka's TOPIC_ALREADY_EXISTS.
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// Kafka's UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN_TOPIC: i16 = 3;

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List the topics
    List(ListArgs),
    /// Show partitions, offsets and settings of topics
    Describe(DescribeArgs),
    /// Change settings of a topic, or give it more partitions
    Alter(AlterArgs),
    /// Delete topics with all their records
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
pub struct CreateArgs {
    /// The new topic's name: letters, digits, `.`, `_` and `-`
    name: String,
    /// Number of partitions [default: the broker's]
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Number of replicas [default: the broker's]
    #[arg(long, short, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the topic; `millrace config reference` lists them
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse_setting)]
    config: Vec<(String, String)>,
    /// Succeed if there is a topic of this name already
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Also list the topics that the platform keeps for itself
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// Topics to describe [default: all]
    names: Vec<String>,
    /// Also show the settings that have their defaults
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
#[group(id = "change", required = true, multiple = true, args = ["partitions", "config", "delete_config"])]
pub struct AlterArgs {
    /// The topic to change
    name: String,
    /// The new number of partitions; it can only grow
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// A setting to change
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse_setting)]
    config: Vec<(String, String)>,
    /// A setting to give its default again
    #[arg(long, short, value_name = "NAME", value_parser = parse_setting_name)]
    delete_config: Vec<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The topics to delete
    #[arg(required = true)]
    names: Vec<String>,
    /// Succeed if there is no such topic
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn run(command: TopicCommand, output: OutputFormat) -> anyhow::Result<()> {
    let client = command.connect().connect().await?;
    let admin = client.admin();
    let done = match command {
        TopicCommand::Create(args) => create(&admin, args, output).await,
        TopicCommand::List(args) => list(&admin, &args, output).await,
        TopicCommand::Describe(args) => describe::run(&admin, args.names, args.all, output).await,
        TopicCommand::Alter(args) => alter(&admin, args, output).await,
        TopicCommand::Delete(args) => delete(&admin, &args, output).await,
    };
    close(&client).await;
    done
}

impl TopicCommand {
    const fn connect(&self) -> &ConnectArgs {
        match self {
            Self::Create(args) => &args.connect,
            Self::List(args) => &args.connect,
            Self::Describe(args) => &args.connect,
            Self::Alter(args) => &args.connect,
            Self::Delete(args) => &args.connect,
        }
    }
}

async fn create(admin: &Admin, args: CreateArgs, output: OutputFormat) -> anyhow::Result<()> {
    let topic = NewTopic {
        name: args.name.clone(),
        partitions: args.partitions.unwrap_or(-1),
        replication_factor: args.replication_factor.unwrap_or(-1),
        configs: args.config.into_iter().collect(),
    };
    match admin.create_topic(topic).await {
        Ok(info) => {
            let partitions = info.partitions.len();
            let json =
                json!({ "topic": info.name, "id": info.id, "partitions": partitions, "created": true });
            print(output, &json, || {
                format!("created topic '{}' with {}", info.name, count(partitions, "partition"))
            })
        }
        Err(error) if args.if_not_exists && error.code() == Some(TOPIC_ALREADY_EXISTS) => {
            print(output, &json!({ "topic": args.name, "created": false }), || {
                format!("topic '{}' exists already", args.name)
            })
        }
        Err(error) => Err(error).with_context(|| format!("create topic '{}'", args.name)),
    }
}

async fn list(admin: &Admin, args: &ListArgs, output: OutputFormat) -> anyhow::Result<()> {
    let topics = admin.list_topics(args.internal).await.context("list topics")?;
    let json: Vec<_> = topics
        .iter()
        .map(|topic| {
            json!({ "name": topic.name, "id": topic.id, "partitions": topic.partitions, "internal": topic.internal })
        })
        .collect();
    print(output, &json, || {
        if topics.is_empty() {
            super::output::note("no topics yet: `millrace topic create NAME` makes one");
            return String::new();
        }
        let rows: Vec<_> = topics
            .iter()
            .map(|topic| [topic.name.clone(), topic.partitions.to_string(), topic.id.clone()])
            .collect();
        table(["NAME", "PARTITIONS", "ID"], &rows)
    })
}

async fn alter(admin: &Admin, args: AlterArgs, output: OutputFormat) -> anyhow::Result<()> {
    let mut changes: Vec<ConfigChange> = Vec::new();
    changes.extend(args.config.iter().map(|(name, value)| ConfigChange::set(name, value)));
    changes.extend(args.delete_config.iter().map(ConfigChange::delete));
    if !changes.is_empty() {
        // The settings go first: they are checked as a whole, and a refusal leaves the topic as it was.
        let resource = ConfigResource::Topic(args.name.clone());
        admin
            .alter_configs(&resource, &changes)
            .await
            .with_context(|| format!("change settings of topic '{}'", args.name))?;
    }
    if let Some(total) = args.partitions {
        grow(admin, &args.name, total).await?;
    }
    let settings: serde_json::Map<_, _> =
        args.config.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let json = json!({
        "topic": args.name, "partitions": args.partitions, "set": settings, "deleted": args.delete_config,
    });
    print(output, &json, || format!("changed topic '{}'", args.name))
}

async fn grow(admin: &Admin, topic: &str, total: i32) -> anyhow::Result<()> {
    let context =
        || format!("give topic '{topic}' {}", count(usize::try_from(total).unwrap_or(0), "partition"));
    let now = admin.describe_topic(topic).await.with_context(context)?.partitions.len();
    match usize::try_from(total).unwrap_or_default() {
        total if total < now => bail!(
            "topic '{topic}' has {} and cannot have {total}: partitions hold records and are never taken away; create \
             another topic instead",
            count(now, "partition")
        ),
        total if total == now => Ok(()),
        _ => admin.create_partitions(topic, total).await.with_context(context),
    }
}

async fn delete(admin: &Admin, args: &DeleteArgs, output: OutputFormat) -> anyhow::Result<()> {
    let mut deleted = Vec::new();
    for name in &args.names {
        match admin.delete_topic(name).await {
            Ok(()) => deleted.push(name.as_str()),
            Err(error) if args.if_exists && is_unknown_topic(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("delete topic '{name}'")),
        }
    }
    print(output, &json!({ "deleted": deleted }), || {
        deleted.iter().map(|name| format!("deleted topic '{name}'\n")).collect()
    })
}

pub(super) const fn is_unknown_topic(error: &RequestError) -> bool {
    matches!(error, RequestError::UnknownTopic { .. }) || matches!(error.code(), Some(UNKNOWN_TOPIC))
}

pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `name=value`, checked here so that a typing error is told before anything is connected to.
fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    millrace_config::validate_override(name, value).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_setting_name(text: &str) -> Result<String, String> {
    millrace_config::setting::find(millrace_config::TOPIC_SETTINGS, text)
        .map(|setting| setting.name.to_owned())
        .map_err(|error| error.to_string())
}
