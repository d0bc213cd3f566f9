//! One row of a table of settings, and what is refused in its name.

use std::fmt;

use crate::units;
use crate::value::Value;

/// How a value is written. The first seven are Kafka's own; the rest occur only in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Long,
    Short,
    Double,
    /// Comma-separated in Kafka, an array of strings in the file.
    List,
    /// Bytes: a number, or a text such as `64MiB`.
    Size,
    /// Milliseconds: a number, or a text such as `10ms` or `7d`.
    Duration,
    /// `<ip>:<port>`.
    Address,
    Path,
}

/// Which values of its kind a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    Any,
    /// Both ends included.
    Range(i64, i64),
    /// Both ends included.
    Ratio(f64, f64),
    OneOf(&'static [&'static str]),
    /// At least one, and only these.
    SomeOf(&'static [&'static str]),
    /// A rule of its own: whether it holds, and the allowed values in words.
    Rule(fn(&Value) -> bool, &'static str),
}

/// Whether setting it changes anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Applied,
    /// Accepted and reported back, so that existing tools work, but without effect; the text says why.
    Accepted(&'static str),
}

/// One setting of a `T`.
#[derive(Debug)]
pub struct Setting<T: 'static> {
    pub name: &'static str,
    pub kind: Kind,
    /// As a user would write it.
    pub default: &'static str,
    pub check: Check,
    pub effect: Effect,
    pub doc: &'static str,
    /// Puts a checked value into its field.
    pub assign: fn(&mut T, &Value),
}

/// A setting that was refused: which, what it was given, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("'{name}' cannot be '{value}': allowed is {allowed}")]
    Value { name: String, value: String, allowed: String },
    #[error("there is no setting '{name}'{}", hint(suggestion.as_deref()))]
    Unknown { name: String, suggestion: Option<String> },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(": did you mean '{name}'?"))
}

impl SettingError {
    pub(crate) fn value(name: &str, value: &str, allowed: impl Into<String>) -> Self {
        Self::Value { name: name.to_owned(), value: value.to_owned(), allowed: allowed.into() }
    }

    /// The refused setting's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Value { name, .. } | Self::Unknown { name, .. } => name,
        }
    }
}

/// The setting called `name`, or an error that suggests the nearest one.
pub fn find<'a, T>(table: &'a [Setting<T>], name: &str) -> Result<&'a Setting<T>, SettingError> {
    table.iter().find(|setting| setting.name == name).ok_or_else(|| SettingError::Unknown {
        name: name.to_owned(),
        suggestion: nearest(table.iter().map(|setting| setting.name), name).map(str::to_owned),
    })
}

impl<T> Setting<T> {
    /// Reads a value from its text, as Kafka's protocol and the command line carry it.
    pub fn parse(&self, text: &str) -> Result<Value, SettingError> {
        let refused = || SettingError::value(self.name, text, self.allowed());
        let value = parse_kind(self.kind, text.trim()).ok_or_else(refused)?;
        if self.accepts(&value) { Ok(value) } else { Err(refused()) }
    }

    pub(crate) fn accepts(&self, value: &Value) -> bool {
        let among = |allowed: &[&str], text: &String| allowed.contains(&text.as_str());
        match (self.check, value) {
            (Check::Any, _) => true,
            (Check::Range(min, max), Value::Integer(number)) => (min..=max).contains(number),
            (Check::Ratio(min, max), Value::Double(number)) => (min..=max).contains(number),
            (Check::OneOf(allowed), Value::Text(text)) => among(allowed, text),
            (Check::SomeOf(allowed), Value::List(items)) => {
                !items.is_empty() && items.iter().all(|item| among(allowed, item))
            }
            (Check::Rule(holds, _), value) => holds(value),
            _ => false,
        }
    }

    /// The allowed values in words, for errors and the reference.
    pub fn allowed(&self) -> String {
        let form = self.kind.form();
        match self.check {
            Check::Any => form.to_owned(),
            Check::Range(min, max) => match (self.kind.limit_text(min), self.kind.limit_text(max)) {
                (Some(min), Some(max)) => format!("{form} from {min} to {max}"),
                (Some(min), None) => format!("{form}, at least {min}"),
                (None, Some(max)) => format!("{form}, at most {max}"),
                (None, None) => form.to_owned(),
            },
            Check::Ratio(min, max) => format!("{form} from {min} to {max}"),
            Check::OneOf(names) => names.join(" or "),
            Check::SomeOf(names) => format!("one or more of {}", names.join(", ")),
            Check::Rule(_, words) => words.to_owned(),
        }
    }
}

fn parse_kind(kind: Kind, text: &str) -> Option<Value> {
    let integer = || text.parse::<i64>().ok();
    Some(match kind {
        Kind::Boolean if text.eq_ignore_ascii_case("true") => Value::Boolean(true),
        Kind::Boolean if text.eq_ignore_ascii_case("false") => Value::Boolean(false),
        Kind::Boolean => return None,
        Kind::String | Kind::Path => Value::Text(text.to_owned()),
        Kind::Int => Value::Integer(integer().filter(|n| i32::try_from(*n).is_ok())?),
        Kind::Short => Value::Integer(integer().filter(|n| i16::try_from(*n).is_ok())?),
        Kind::Long => Value::Integer(integer()?),
        Kind::Double => Value::Double(text.parse::<f64>().ok().filter(|n| n.is_finite())?),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::List(items.map(str::to_owned).collect())
        }
        Kind::Size => Value::Integer(units::parse_size(text)?),
        Kind::Duration => Value::Integer(units::parse_duration_ms(text)?),
        Kind::Address => Value::Text(text.parse::<std::net::SocketAddr>().ok()?.to_string()),
    })
}

impl Kind {
    /// How such a value is written, in words.
    pub const fn form(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::String => "a text",
            Self::Int | Self::Long | Self::Short => "a whole number",
            Self::Double => "a number",
            Self::List => "a list of texts",
            Self::Size => "a size (bytes, or a text such as 64MiB)",
            Self::Duration => "a duration (milliseconds, or a text such as 10ms or 7d)",
            Self::Address => "an address (<ip>:<port>)",
            Self::Path => "a path",
        }
    }

    /// An end of a range as a user would write it; `None` where it is no limit of its own.
    fn limit_text(self, limit: i64) -> Option<String> {
        match (self, limit) {
            (_, i64::MIN | i64::MAX) => None,
            (Self::Size, limit) => Some(units::size_text(limit)),
            (Self::Duration, limit) => Some(units::duration_text(limit)),
            (_, limit) => Some(limit.to_string()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Long => "long",
            Self::Short => "short",
            Self::Double => "double",
            Self::List => "list",
            Self::Size => "size",
            Self::Duration => "duration",
            Self::Address => "address",
            Self::Path => "path",
        })
    }
}

/// The name that is a few typing errors away, if one is.
pub fn nearest<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    let tolerance = (wanted.len() / 3).max(2);
    let wanted = normalised(wanted);
    names
        .map(|name| (distance(&normalised(name), &wanted), name))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `retention_ms`, `retention-ms` and `Retention.MS` are all the same wish.
fn normalised(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

/// Levenshtein's edit distance in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
