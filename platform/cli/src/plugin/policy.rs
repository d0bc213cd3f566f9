//! Where a deployment begins and what it does about failures, as arguments and in words.

use millrace_protocol::plugins::{Backoff, FailurePolicy, StartPosition};

use super::text::{duration, timestamp};
use crate::time::parse_timestamp_ms;

/// `earliest`, `latest`, `offset:N`, `time:T`.
pub fn parse_start(text: &str) -> Result<StartPosition, String> {
    match text.split_once(':') {
        None if text == "earliest" => Ok(StartPosition::Earliest),
        None if text == "latest" => Ok(StartPosition::Latest),
        Some(("offset", offset)) => match offset.parse() {
            Ok(offset @ 0..) => Ok(StartPosition::Offset(offset)),
            _ => Err("expected offset:N, N a whole number that is not negative".to_owned()),
        },
        Some(("time", time)) => parse_timestamp_ms(time).map(StartPosition::TimestampMs),
        _ => Err("expected earliest, latest, offset:N or time:T".to_owned()),
    }
}

pub fn start_text(start: StartPosition) -> String {
    match start {
        StartPosition::Earliest => "earliest".to_owned(),
        StartPosition::Latest => "latest".to_owned(),
        StartPosition::Offset(offset) => format!("offset {offset}"),
        StartPosition::TimestampMs(millis) => timestamp(millis),
    }
}

/// `halt`, `skip`, `retry:N`, `retry:N:BACKOFF_MS`, `dead-letter:TOPIC`.
pub fn parse_failure(text: &str) -> Result<FailurePolicy, String> {
    let mut parts = text.splitn(3, ':');
    match (parts.next().unwrap_or_default(), parts.next(), parts.next()) {
        ("halt", None, None) => Ok(FailurePolicy::Halt),
        ("skip", None, None) => Ok(FailurePolicy::Skip),
        ("retry", Some(attempts), backoff) => {
            let attempts = attempts.parse().ok().filter(|attempts| *attempts > 0);
            let attempts = attempts.ok_or("expected retry:N, N a whole number above 0")?;
            Ok(FailurePolicy::Retry { attempts, backoff: parse_backoff(backoff)? })
        }
        ("dead-letter", Some(topic), None) if !topic.is_empty() => {
            Ok(FailurePolicy::DeadLetter { topic: topic.to_owned() })
        }
        _ => Err("expected halt, skip, retry:N, retry:N:BACKOFF_MS or dead-letter:TOPIC".to_owned()),
    }
}

fn parse_backoff(text: Option<&str>) -> Result<Backoff, String> {
    let usual = Backoff::default();
    let Some(text) = text else { return Ok(usual) };
    let first_ms =
        millrace_config::units::parse_duration_ms(text).and_then(|millis| u64::try_from(millis).ok());
    let first_ms = first_ms.ok_or("expected retry:N:BACKOFF_MS, a duration such as 100 or 2s")?;
    Ok(Backoff { first_ms, max_ms: usual.max_ms.max(first_ms) })
}

pub fn failure_text(policy: &FailurePolicy) -> String {
    match policy {
        FailurePolicy::Halt => "halt".to_owned(),
        FailurePolicy::Skip => "skip the record".to_owned(),
        FailurePolicy::Retry { attempts, backoff } => format!(
            "retry {attempts} times, {} to {} apart, then halt",
            duration(backoff.first_ms),
            duration(backoff.max_ms)
        ),
        FailurePolicy::DeadLetter { topic } => format!("dead letter to '{topic}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_and_told() {
        for (text, start, told) in [
            ("earliest", StartPosition::Earliest, "earliest"),
            ("latest", StartPosition::Latest, "latest"),
            ("offset:7", StartPosition::Offset(7), "offset 7"),
            ("time:1000", StartPosition::TimestampMs(1000), "1970-01-01T00:00:01.000Z"),
            (
                "time:2025-01-31T12:00:00.250+01:00",
                StartPosition::TimestampMs(1_738_321_200_250),
                "2025-01-31T11:00:00.250Z",
            ),
        ] {
            assert_eq!(parse_start(text), Ok(start), "{text}");
            assert_eq!(start_text(start), told);
        }
        for text in ["", "begin", "offset", "offset:-1", "offset:x", "time:yesterday", "latest:1"] {
            assert!(parse_start(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_policy_is_read_and_told() {
        let retry = |attempts, first_ms, max_ms| FailurePolicy::Retry {
            attempts,
            backoff: Backoff { first_ms, max_ms },
        };
        for (text, policy, told) in [
            ("halt", FailurePolicy::Halt, "halt"),
            ("skip", FailurePolicy::Skip, "skip the record"),
            ("retry:3", retry(3, 100, 30_000), "retry 3 times, 100ms to 30s apart, then halt"),
            ("retry:3:250", retry(3, 250, 30_000), "retry 3 times, 250ms to 30s apart, then halt"),
            ("retry:1:1m", retry(1, 60_000, 60_000), "retry 1 times, 1m to 1m apart, then halt"),
            (
                "dead-letter:bad",
                FailurePolicy::DeadLetter { topic: "bad".to_owned() },
                "dead letter to 'bad'",
            ),
        ] {
            assert_eq!(parse_failure(text), Ok(policy.clone()), "{text}");
            assert_eq!(failure_text(&policy), told);
        }
        for text in
            ["", "stop", "skip:1", "retry", "retry:0", "retry:x", "retry:1:x", "dead-letter", "dead-letter:"]
        {
            assert!(parse_failure(text).is_err(), "{text}");
        }
    }
}
