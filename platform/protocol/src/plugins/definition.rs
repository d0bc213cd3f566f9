//! What an operator says a deployment shall be.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grants::REDACTED;
use super::{GrantDefinitions, Kind, ModuleDigest};

/// Longest name of a deployment: it becomes part of a group's name and of file names.
pub const DEPLOYMENT_NAME_LEN_MAX: usize = 200;

/// A deployment, all but its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    pub module: ModuleDigest,
    pub kind: Kind,
    /// The input topic; for a partitioner, the topic that it serves.
    pub topic: String,
    /// Output topics of a transform, in the order of their indexes. Empty for the other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Where a deployment that has not committed anything begins.
    #[serde(default)]
    pub start: StartPosition,
    #[serde(default)]
    pub failure: FailurePolicy,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "GrantDefinitions::is_empty")]
    pub grants: GrantDefinitions,
    #[serde(default)]
    pub limits: LimitOverrides,
    /// Log lines below it are not kept.
    #[serde(default)]
    pub log_level: LogLevel,
}

/// Where to begin in each partition of the input topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartPosition {
    Earliest,
    /// Only what is produced from the deployment on.
    #[default]
    Latest,
    /// The same offset in every partition.
    Offset(i64),
    /// The first record of this time, in milliseconds since the Unix epoch, or of a later one.
    TimestampMs(i64),
}

/// What happens to a record that the plugin fails on. A failure that passes by itself (no free instance) is tried
/// again until it does, a sink's retryable error as often as [`LimitOverrides::retries`] says, before any of these
/// applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// The partition stops at the record and says why; `resume` or another version goes on.
    #[default]
    Halt,
    /// The record is left out.
    Skip,
    /// The same again, `attempts` times, then as [`Self::Halt`].
    Retry {
        attempts: u32,
        #[serde(default)]
        backoff: Backoff,
    },
    /// The record goes to another topic together with the reason.
    DeadLetter { topic: String },
}

/// Pauses between attempts: doubled each time, up to a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    pub first_ms: u64,
    pub max_ms: u64,
}

impl Default for Backoff {
    /// Soon enough for a hiccup, slow enough for an outage.
    fn default() -> Self {
        Self { first_ms: 100, max_ms: 30_000 }
    }
}

impl Backoff {
    /// The pause before attempt `attempt`, counted from 1 for the first repetition.
    pub fn pause(&self, attempt: u32) -> Duration {
        let doubled = self.first_ms.saturating_mul(1 << attempt.saturating_sub(1).min(32));
        Duration::from_millis(doubled.min(self.max_ms))
    }
}

/// Limits that differ from the broker's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOverrides {
    /// Processor time of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_ms: Option<u64>,
    /// Time of one call by the clock, waiting included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_lines_per_second: Option<u32>,
    /// How often a sink's retryable failure is tried again before the failure policy decides, [`RETRIES`] by default.
    /// A policy that counts attempts counts these, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// With the pauses of [`Backoff::default`] it takes about ten minutes: an outage of some minutes passes by itself, and
/// what one record causes does not hold up its partition for hours.
pub const RETRIES: u32 = 27;

/// How important a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// A definition that no broker could carry out, whatever its topics and modules are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    #[error(
        "a deployment is named by 1 to {DEPLOYMENT_NAME_LEN_MAX} letters, digits, '-', '_' and '.', beginning \
         with a letter or digit; `{name}` is not"
    )]
    Name { name: String },
    #[error("a transform needs at least one output topic")]
    NoOutputs,
    #[error("a {kind} has no output topics")]
    HasOutputs { kind: Kind },
    #[error("output topic '{topic}' is also the input topic: its records would come back for ever")]
    OutputIsInput { topic: String },
    #[error("output topic '{topic}' is named twice")]
    OutputTwice { topic: String },
    #[error("the dead-letter topic '{topic}' is the input topic or an output topic: name another one")]
    DeadLetterTopic { topic: String },
    #[error("a partitioner answers its producer and has no failure policy: leave it at 'halt'")]
    PartitionerPolicy,
    #[error(
        "the value of '{name}' in grants is {REDACTED}, which descriptions show in its place: give the value"
    )]
    RedactedSecret { name: String },
    #[error("{limit} is {value}, and must be {allowed}")]
    Limit { limit: &'static str, value: u64, allowed: &'static str },
}

/// Whether `name` may be a deployment's.
pub fn check_deployment_name(name: &str) -> Result<(), DefinitionError> {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if begins && goes_on && name.len() <= DEPLOYMENT_NAME_LEN_MAX {
        Ok(())
    } else {
        Err(DefinitionError::Name { name: name.to_owned() })
    }
}

impl Definition {
    /// The topic for records that fail, if the policy has one.
    pub fn dead_letter_topic(&self) -> Option<&str> {
        match &self.failure {
            FailurePolicy::DeadLetter { topic } => Some(topic),
            FailurePolicy::Halt | FailurePolicy::Skip | FailurePolicy::Retry { .. } => None,
        }
    }

    /// What can be said without knowing the cluster.
    pub fn validate(&self) -> Result<(), DefinitionError> {
        match self.kind {
            Kind::Transform if self.outputs.is_empty() => return Err(DefinitionError::NoOutputs),
            Kind::Partitioner | Kind::Sink if !self.outputs.is_empty() => {
                return Err(DefinitionError::HasOutputs { kind: self.kind });
            }
            _ => {}
        }
        for (index, topic) in self.outputs.iter().enumerate() {
            if *topic == self.topic {
                return Err(DefinitionError::OutputIsInput { topic: topic.clone() });
            }
            if self.outputs[..index].contains(topic) {
                return Err(DefinitionError::OutputTwice { topic: topic.clone() });
            }
        }
        if self.kind == Kind::Partitioner && self.failure != FailurePolicy::Halt {
            return Err(DefinitionError::PartitionerPolicy);
        }
        if let Some(topic) = self.dead_letter_topic()
            && (topic == self.topic || self.outputs.iter().any(|output| output == topic))
        {
            return Err(DefinitionError::DeadLetterTopic { topic: topic.to_owned() });
        }
        if let Some(name) = self.grants.redacted_name() {
            return Err(DefinitionError::RedactedSecret { name: name.to_owned() });
        }
        self.limits.validate()
    }
}

impl LimitOverrides {
    fn validate(&self) -> Result<(), DefinitionError> {
        const SECONDS: u64 = 1000;
        const MIB: u64 = 1 << 20;
        let checks: [(&'static str, Option<u64>, std::ops::RangeInclusive<u64>, &'static str); 7] = [
            ("limits.busy_ms", self.busy_ms, 1..=60 * SECONDS, "1 to 60000"),
            ("limits.elapsed_ms", self.elapsed_ms, 1..=600 * SECONDS, "1 to 600000"),
            ("limits.memory_bytes", self.memory_bytes, MIB..=1024 * MIB, "1 MiB to 1 GiB"),
            ("limits.output_bytes", self.output_bytes, 1..=1024 * MIB, "1 byte to 1 GiB"),
            ("limits.output_records", self.output_records, 1..=100_000_000, "1 to 100000000"),
            (
                "limits.log_lines_per_second",
                self.log_lines_per_second.map(u64::from),
                0..=1_000_000,
                "0 to 1000000",
            ),
            ("limits.retries", self.retries.map(u64::from), 0..=1_000_000, "0 to 1000000"),
        ];
        for (limit, value, range, allowed) in checks {
            if let Some(value) = value
                && !range.contains(&value)
            {
                return Err(DefinitionError::Limit { limit, value, allowed });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform() -> Definition {
        Definition {
            module: ModuleDigest::of(b"m"),
            kind: Kind::Transform,
            topic: "in".into(),
            outputs: vec!["out".into()],
            start: StartPosition::default(),
            failure: FailurePolicy::default(),
            config: BTreeMap::new(),
            grants: GrantDefinitions::default(),
            limits: LimitOverrides::default(),
            log_level: LogLevel::default(),
        }
    }

    #[test]
    fn a_definition_survives_its_json_and_refuses_what_it_does_not_know() {
        let mut definition = transform();
        definition.start = StartPosition::Offset(7);
        definition.failure = FailurePolicy::Retry { attempts: 3, backoff: Backoff::default() };
        let json = serde_json::to_string(&definition).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&json).unwrap(), definition);
        let unknown = json.replacen("\"topic\"", "\"colour\":\"red\",\"topic\"", 1);
        assert!(serde_json::from_str::<Definition>(&unknown).unwrap_err().to_string().contains("colour"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert_eq!(transform().validate(), Ok(()));
        let refused = |change: fn(&mut Definition)| {
            let mut definition = transform();
            change(&mut definition);
            definition.validate().unwrap_err().to_string()
        };
        assert!(refused(|d| d.outputs.clear()).contains("output"));
        assert!(refused(|d| d.outputs.push("in".into())).contains("input topic"));
        assert!(refused(|d| d.outputs.push("out".into())).contains("twice"));
        assert!(refused(|d| d.kind = Kind::Sink).contains("sink"));
        assert!(
            refused(|d| d.failure = FailurePolicy::DeadLetter { topic: "out".into() }).contains("another")
        );
        assert!(refused(|d| d.limits.busy_ms = Some(0)).contains("busy_ms"));
        let redacted = |d: &mut Definition| {
            let secret = crate::plugins::SecretText("***".into());
            d.grants.secrets.insert("token".into(), secret);
        };
        assert!(refused(redacted).contains("'token'"));
        for name in ["", "-a", "a b", "ü", &"x".repeat(201)] {
            assert!(check_deployment_name(name).is_err(), "{name}");
        }
        assert!(check_deployment_name("Orders.routing_v2-b").is_ok());
    }

    #[test]
    fn pauses_double_up_to_their_maximum() {
        let backoff = Backoff { first_ms: 100, max_ms: 1000 };
        let pauses: Vec<u128> = (1..=6).map(|attempt| backoff.pause(attempt).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.pause(u32::MAX).as_millis(), 1000);
    }
}
