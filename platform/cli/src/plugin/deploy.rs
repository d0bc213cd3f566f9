//! `millrace plugin deploy`: a module is looked at here, uploaded, and deployed.

use std::io::IsTerminal;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use millrace_client::plugins::Plugins;
use millrace_client::{Admin, Client, admin::NewTopic};
use millrace_protocol::plugins::{Definition, ModuleInfo, check_deployment_name};

use super::definition::{DefinitionArgs, Source};
use super::describe::{description_text, grants_text};
use super::module::{describe, require_grants};
use crate::OutputFormat;
use crate::confirm::confirm;
use crate::connect::{ConnectArgs, close};
use crate::output::{note, print};

/// Kafka's TOPIC_ALREADY_EXISTS.
const TOPIC_ALREADY_EXISTS: i16 = 36;

#[derive(Args, Debug)]
#[command(
    override_usage = "millrace plugin deploy [OPTIONS] <NAME> <MODULE|DIR> --topic <NAME> [--to <NAME>]...\n       \
    millrace plugin deploy [OPTIONS] <NAME> --digest <SHA-256> --topic <NAME> [--to <NAME>]...\n       \
    millrace plugin deploy [OPTIONS] <NAME> --file <FILE>"
)]
pub struct DeployArgs {
    /// The deployment's name; if there is one of this name, it gets its next version
    name: String,
    #[command(flatten)]
    what: DefinitionArgs,
    /// Create the topics that are missing, with so many partitions [default: the broker's]
    #[arg(long, value_name = "PARTITIONS", num_args = 0..=1, require_equals = true, default_missing_value = "-1",
        value_parser = parse_partitions, conflicts_with = "dry_run")]
    create_topics: Option<i32>,
    /// Do not ask whether the grants are meant
    #[arg(long, short)]
    yes: bool,
    /// Only check that it could be done: the module is uploaded, and nothing runs
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn run(args: DeployArgs, output: OutputFormat) -> anyhow::Result<()> {
    check_deployment_name(&args.name)?;
    let (source, fields) = args.what.prepare()?.into_parts();
    match source {
        Source::Local(module) => {
            let definition = args.what.definition(fields, module.info.digest, module.info.kind)?;
            // Whatever can be refused is refused before a connection is made.
            agree(&args, &module.info, &definition)?;
            let client = args.connect.connect().await?;
            let done = deploy(&client, &args, Some(module.bytes), definition, output).await;
            close(&client).await;
            done
        }
        Source::Uploaded(digest) => {
            let client = args.connect.connect().await?;
            let done = async {
                let info = client.plugins().inspect(digest).await;
                let info = info.with_context(|| format!("look at module {digest}"))?;
                let definition = args.what.definition(fields, digest, info.kind)?;
                agree(&args, &info, &definition)?;
                deploy(&client, &args, None, definition, output).await
            };
            let done = done.await;
            close(&client).await;
            done
        }
    }
}

/// Shows what the module asks for and is granted, and asks a person whether that is meant.
fn agree(args: &DeployArgs, info: &ModuleInfo, definition: &Definition) -> anyhow::Result<()> {
    require_grants(info, &definition.grants)?;
    note(describe(info).trim_end());
    for grant in grants_text(&definition.grants) {
        note(&format!("granted {grant}"));
    }
    if definition.grants.is_empty() || args.yes || args.dry_run {
        return Ok(());
    }
    confirm(&format!("deploy '{}' with these grants?", args.name))
}

async fn deploy(
    client: &Client,
    args: &DeployArgs,
    module: Option<Bytes>,
    definition: Definition,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let plugins = client.plugins();
    if let Some(bytes) = module {
        upload(&plugins, bytes).await?;
    }
    if let Some(partitions) = args.create_topics {
        create_topics(&client.admin(), &definition, partitions).await?;
    }
    let deployed = plugins.deploy(&args.name, definition, args.dry_run).await;
    let description = deployed.with_context(|| format!("deploy '{}'", args.name))?;
    if args.dry_run {
        note("nothing was deployed (--dry-run); it would be:");
    }
    print(output, &description, || description_text(&description))
}

async fn upload(plugins: &Plugins, bytes: Bytes) -> anyhow::Result<()> {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(bytes.len() as u64)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("uploading {wide_bar} {bytes} of {total_bytes}") {
        bar.set_style(style);
    }
    let stored = plugins.upload(bytes, |there, _| bar.set_position(there)).await;
    bar.finish_and_clear();
    stored.map(drop).context("upload the module")
}

/// Makes those of the definition's topics that are missing.
async fn create_topics(admin: &Admin, definition: &Definition, partitions: i32) -> anyhow::Result<()> {
    let outputs = definition.outputs.iter().map(String::as_str);
    let topics =
        std::iter::once(definition.topic.as_str()).chain(outputs).chain(definition.dead_letter_topic());
    for topic in topics {
        match admin.create_topic(NewTopic::new(topic, partitions)).await {
            Ok(_) => note(&format!("created topic '{topic}'")),
            Err(error) if error.code() == Some(TOPIC_ALREADY_EXISTS) => {}
            Err(error) => return Err(error).with_context(|| format!("create topic '{topic}'")),
        }
    }
    Ok(())
}

/// -1 stands for the option without a number.
fn parse_partitions(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(number) if number == -1 || number > 0 => Ok(number),
        _ => Err("expected a number of partitions above 0".to_owned()),
    }
}
