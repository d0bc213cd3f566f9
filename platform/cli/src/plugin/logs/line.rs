//! A line of the log: read from its record, and shown.

use millrace_client::ConsumerRecord;
use millrace_protocol::plugins::LogLevel;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::plugin::text::timestamp;

/// Which lines are wanted.
pub struct Filter {
    pub deployment: String,
    pub level: LogLevel,
    pub partition: Option<u32>,
}

/// What a record's value says. Members that are not known yet are left alone.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    deployment: String,
    #[serde(default)]
    version: u32,
    #[serde(default)]
    partition: u32,
    #[serde(default)]
    level: LogLevel,
    #[serde(default)]
    source: String,
    message: String,
    #[serde(default)]
    dropped: u64,
}

#[derive(Debug)]
pub struct Line {
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    body: Body,
}

impl Filter {
    pub fn takes(&self, record: &ConsumerRecord) -> bool {
        // The key first: most records of the topic are other deployments'.
        record.key().is_some_and(|key| key == self.deployment.as_bytes())
            && Line::read(record).is_some_and(|line| self.takes_line(&line))
    }

    fn takes_line(&self, line: &Line) -> bool {
        line.body.level >= self.level
            && self.partition.is_none_or(|partition| partition == line.body.partition)
    }
}

impl Line {
    /// `None` for a record that is no line.
    pub fn read(record: &ConsumerRecord) -> Option<Self> {
        Self::parse(record.timestamp(), record.value()?)
    }

    fn parse(timestamp: i64, value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok().map(|body| Self { timestamp, body })
    }

    /// With its line end. A message of several lines stays one entry: what follows is moved to the right.
    pub fn text(&self) -> String {
        let body = &self.body;
        let source = match body.source.as_str() {
            "log" | "" => String::new(),
            other => format!("{other}: "),
        };
        let level = format!("{:?}", body.level).to_uppercase();
        let mut text = String::new();
        if body.dropped > 0 {
            text.push_str(&format!(
                "{}  … {} lines before this one were dropped: there were too many a second\n",
                timestamp(self.timestamp),
                body.dropped
            ));
        }
        text.push_str(&format!(
            "{}  {level:<5}  v{} p{}  {source}{}\n",
            timestamp(self.timestamp),
            body.version,
            body.partition,
            body.message.trim_end().replace('\n', "\n    ")
        ));
        text
    }

    pub fn json(&self) -> Value {
        let body = &self.body;
        json!({
            "timestamp": self.timestamp,
            "deployment": body.deployment,
            "version": body.version,
            "partition": body.partition,
            "level": body.level,
            "source": body.source,
            "message": body.message,
            "dropped": body.dropped,
        })
    }
}

#[cfg(test)]
impl Line {
    pub fn new(timestamp: i64, message: &str) -> Self {
        Self::parse(timestamp, json!({ "message": message }).to_string().as_bytes()).expect("a line")
    }

    pub fn message(&self) -> &str {
        &self.body.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &Value) -> Line {
        Line::parse(1000, json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_line_is_shown_with_its_time_level_and_place() {
        let mut body = json!({
            "deployment": "d", "version": 2, "partition": 7, "level": "warn", "source": "log",
            "message": "first\nsecond\n", "dropped": 0, "colour": "red",
        });
        assert_eq!(line(&body).text(), "1970-01-01T00:00:01.000Z  WARN   v2 p7  first\n    second\n");
        body["source"] = json!("runner");
        body["dropped"] = json!(3);
        let text = line(&body).text();
        assert!(text.starts_with("1970-01-01T00:00:01.000Z  … 3 lines before"), "{text}");
        assert!(text.contains("v2 p7  runner: first"), "{text}");
        assert_eq!(line(&body).json()["level"], "warn");
    }

    #[test]
    fn what_is_no_line_is_left_out() {
        assert!(Line::parse(0, b"hello").is_none());
        assert!(Line::parse(0, b"{}").is_none());
    }

    #[test]
    fn lines_are_chosen_by_level_and_partition() {
        let mut filter = Filter { deployment: "d".into(), level: LogLevel::Info, partition: None };
        let of = |level: &str, partition: u32| {
            line(&json!({ "message": "m", "level": level, "partition": partition }))
        };
        assert!(filter.takes_line(&of("error", 1)) && !filter.takes_line(&of("debug", 1)));
        filter.partition = Some(2);
        assert!(filter.takes_line(&of("info", 2)) && !filter.takes_line(&of("info", 1)));
    }
}
