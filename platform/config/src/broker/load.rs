//! The configuration file: TOML whose keys are looked up in the table of settings.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{BROKER_SETTINGS, BrokerConfig};
use crate::setting::{Kind, Setting, SettingError, find};
use crate::topic::TopicConfig;
use crate::topic_settings::TOPIC_SETTINGS;
use crate::value::Value;

/// The table whose keys are Kafka's topic settings.
const TOPIC_DEFAULTS: &str = "topic_defaults";

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("read configuration {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration {}: {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("configuration {}{}: {source}", path.display(), line_text(*line))]
    Setting {
        path: PathBuf,
        /// `None` where two settings contradict each other.
        line: Option<usize>,
        source: SettingError,
    },
}

pub(super) fn load(path: &Path) -> Result<BrokerConfig, LoadError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn line_text(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

/// A refused setting and where it stands in the text, if at one place.
struct Refused(SettingError, Option<usize>);

/// Adds to an error where it arose.
fn at<T>(position: usize, result: Result<T, SettingError>) -> Result<T, Refused> {
    result.map_err(|error| Refused(error, Some(position)))
}

/// A contradiction between settings has no single place.
impl From<SettingError> for Refused {
    fn from(error: SettingError) -> Self {
        Self(error, None)
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<BrokerConfig, LoadError> {
    let document = DeTable::parse(text)
        .map_err(|error| LoadError::Syntax { path: path.to_owned(), message: error.to_string() })?;
    read_document(document.get_ref()).map_err(|Refused(source, position)| LoadError::Setting {
        path: path.to_owned(),
        line: position.map(|position| text[..position.min(text.len())].matches('\n').count() + 1),
        source,
    })
}

fn read_document(document: &DeTable<'_>) -> Result<BrokerConfig, Refused> {
    let mut config = BrokerConfig::default();
    for (table_name, content) in document {
        let name = table_name.get_ref().as_ref();
        let position = table_name.span().start;
        match content.get_ref() {
            DeValue::Table(table) if name == TOPIC_DEFAULTS => read_topic_defaults(&mut config, table, "")?,
            DeValue::Table(table) => read_table(&mut config, name, position, table)?,
            _ => at(position, Err(unknown_table(name)))?,
        }
    }
    config.topic_defaults = TopicConfig::from_overrides(&TopicConfig::default(), &config.topic_overrides)?;
    config.check_relations()?;
    Ok(config)
}

fn read_table(
    config: &mut BrokerConfig,
    name: &str,
    position: usize,
    table: &DeTable<'_>,
) -> Result<(), Refused> {
    let prefix = format!("{name}.");
    if !BROKER_SETTINGS.iter().any(|setting| setting.name.starts_with(&prefix)) {
        return at(position, Err(unknown_table(name)));
    }
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        let setting = at(key.span().start, find(BROKER_SETTINGS, &path))?;
        let value = at(value.span().start, read_value(setting, value))?;
        (setting.assign)(config, &value);
    }
    Ok(())
}

/// Kafka's names have dots: `retention.ms = "1d"` nests in TOML, `"retention.ms" = "1d"` does not. Both
/// are read.
fn read_topic_defaults(config: &mut BrokerConfig, table: &DeTable<'_>, prefix: &str) -> Result<(), Refused> {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        if let DeValue::Table(nested) = value.get_ref() {
            read_topic_defaults(config, nested, &format!("{name}."))?;
            continue;
        }
        let setting = at(key.span().start, find(TOPIC_SETTINGS, &name))?;
        let position = value.span().start;
        let text = at(position, scalar_text(value.get_ref()).ok_or_else(|| refused(setting, value)))?;
        at(position, setting.parse(&text))?;
        config.topic_overrides.insert(name, text);
    }
    Ok(())
}

fn unknown_table(name: &str) -> SettingError {
    let mut tables: Vec<&str> =
        BROKER_SETTINGS.iter().filter_map(|setting| Some(setting.name.split_once('.')?.0)).collect();
    tables.push(TOPIC_DEFAULTS);
    let suggestion = crate::setting::nearest(tables.into_iter(), name).map(|table| format!("[{table}]"));
    SettingError::Unknown { name: name.to_owned(), suggestion }
}

fn read_value<T>(setting: &Setting<T>, value: &Spanned<DeValue<'_>>) -> Result<Value, SettingError> {
    let wants_text = matches!(setting.kind, Kind::String | Kind::Path | Kind::Address);
    let text = match value.get_ref() {
        DeValue::Array(items) if setting.kind == Kind::List => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) if wants_text => None,
        scalar => scalar_text(scalar),
    };
    setting.parse(&text.ok_or_else(|| refused(setting, value))?)
}

fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        _ => return None,
    })
}

fn refused<T>(setting: &Setting<T>, value: &Spanned<DeValue<'_>>) -> SettingError {
    let shown = scalar_text(value.get_ref()).unwrap_or_else(|| value.get_ref().type_str().to_owned());
    SettingError::value(setting.name, &shown, setting.allowed())
}
