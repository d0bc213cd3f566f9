//! Regular expressions that members subscribe to: RE2's syntax, matched in time linear in the topic's name.

use regex::{Regex, RegexBuilder};

use super::super::error::GroupError;
use super::super::format::consumer::Resolved;
use super::Topics;

/// What one may take when it is made ready, so that nobody fills the memory with one.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// The whole name has to match.
fn compile(pattern: &str) -> Result<Regex, GroupError> {
    let whole = format!("^(?:{pattern})$");
    RegexBuilder::new(&whole).size_limit(COMPILED_BYTES_MAX).build().map_err(|error| {
        let reason = match error {
            regex::Error::CompiledTooBig(limit) => format!("it takes more than {limit} bytes"),
            error => error.to_string(),
        };
        GroupError::InvalidRegularExpression(format!(
            "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {reason}."
        ))
    })
}

pub(super) fn check(pattern: &str) -> Result<(), GroupError> {
    compile(pattern).map(drop)
}

/// What it matches now. One that is none matches nothing: it was refused when it came.
pub(super) fn resolve(pattern: &str, topics: &dyn Topics, now_ms: i64) -> Resolved {
    let compiled = compile(pattern);
    let is_match = |name: &String| compiled.as_ref().is_ok_and(|compiled| compiled.is_match(name));
    let mut matched: Vec<String> = topics.names().into_iter().filter(is_match).collect();
    matched.sort_unstable();
    let metadata_version = i64::try_from(topics.version()).unwrap_or(i64::MAX);
    Resolved { topics: matched, metadata_version, at_ms: now_ms }
}
