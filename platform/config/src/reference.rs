//! The reference page, generated from the tables.

use std::fmt::Write;

use crate::broker::BROKER_SETTINGS;
use crate::setting::{Effect, Kind, Setting};
use crate::topic_settings::TOPIC_SETTINGS;

const INTRODUCTION: &str = "# Settings

Generated from the tables in `platform/config` by `millrace config reference`; do not edit.

`millrace server --config FILE` reads a TOML file with the tables below. Everything has a default, so an empty
file is a valid one; an unknown key or a value that is not allowed stops the broker at its start, with the line
in question. `millrace config check FILE` does the same without starting it. Sizes are bytes or texts such as
`64MiB`, durations milliseconds or texts such as `10ms`, `5m` and `7d`.
";

const TOPICS: &str = "
## Topics

What `millrace topic create --config NAME=VALUE` and every Kafka admin client may set for a topic; the file's
`[topic_defaults]` sets them for all topics that do not. Kafka's tools change the same defaults while brokers run, for
one broker or for all, under Kafka's names of broker settings (`log.retention.ms`, `message.max.bytes` and so on); what
was changed so counts before the file. The names, ranges and defaults are Kafka's, but for
`flush.messages`: an acknowledged record is on disk unless a topic says otherwise.
";

/// The page as Markdown; `REFERENCE.md` is this text.
pub fn reference_markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut table = "";
    for setting in BROKER_SETTINGS {
        let name = setting.name.split_once('.').map_or(setting.name, |(table, _)| table);
        if name != table {
            table = name;
            push(&mut page, format_args!("\n## `[{table}]`\n"));
        }
        push_setting(&mut page, setting, setting.name.trim_start_matches(table).trim_start_matches('.'));
    }
    page.push_str(TOPICS);
    for setting in TOPIC_SETTINGS {
        push_setting(&mut page, setting, setting.name);
    }
    page
}

fn push_setting<T>(page: &mut String, setting: &Setting<T>, name: &str) {
    let default = match (setting.default, setting.kind) {
        ("", Kind::List) => "empty".to_owned(),
        ("", _) => "not given".to_owned(),
        (text, _) => format!("`{text}`"),
    };
    push(page, format_args!("\n### `{name}`\n\n{}\n\n", setting.doc));
    push(page, format_args!("Default {default}. Allowed: {}.\n", setting.allowed()));
    if let Effect::Accepted(reason) = setting.effect {
        push(page, format_args!("\nAccepted without effect: {reason}.\n"));
    }
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing to a String does not fail");
}
