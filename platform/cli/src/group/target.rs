//! What `--topic` and `--to-…` of `millrace group reset-offsets` mean.

use std::time::Duration;

use clap::Args;
use time::OffsetDateTime;

use crate::time::{parse_duration, parse_timestamp_ms};

/// A topic, with the partitions that are meant of it; none are all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicArg {
    pub topic: String,
    pub partitions: Vec<i32>,
}

/// Reads `orders` or `orders:0,2`.
pub fn parse_topic(text: &str) -> Result<TopicArg, String> {
    let Some((topic, partitions)) = text.split_once(':') else {
        return Ok(TopicArg { topic: text.to_owned(), partitions: Vec::new() });
    };
    let number = |text: &str| text.trim().parse::<i32>().ok().filter(|number| *number >= 0);
    let partitions: Option<Vec<i32>> = partitions.split(',').map(number).collect();
    let partitions = partitions.ok_or("expected TOPIC or TOPIC:PARTITION,PARTITION such as orders:0,2")?;
    Ok(TopicArg { topic: topic.to_owned(), partitions })
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// To the first record that is still there
    #[arg(long)]
    to_earliest: bool,
    /// To after the last record
    #[arg(long)]
    to_latest: bool,
    /// To where it is now: offsets of records that are gone move into what is there
    #[arg(long)]
    to_current: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record of this time or later (milliseconds or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_timestamp_ms)]
    to_datetime: Option<i64>,
    /// To the first record that is not older than this
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    by_duration: Option<Duration>,
    /// On by so many records, or back by a negative number
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    shift_by: Option<i64>,
}

/// Where to set offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    /// Milliseconds since the Unix epoch.
    Time(i64),
    Shift(i64),
}

impl TargetArgs {
    pub fn target(&self) -> Target {
        let age = |age: Duration| {
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
            i64::try_from(now.saturating_sub_unsigned(age.as_millis())).unwrap_or(0).max(0)
        };
        match self {
            Self { to_earliest: true, .. } => Target::Earliest,
            Self { to_latest: true, .. } => Target::Latest,
            Self { to_offset: Some(offset), .. } => Target::Offset(*offset),
            Self { to_datetime: Some(time), .. } => Target::Time(*time),
            Self { by_duration: Some(duration), .. } => Target::Time(age(*duration)),
            Self { shift_by: Some(number), .. } => Target::Shift(*number),
            Self { .. } => Target::Current,
        }
    }
}

/// What a partition holds, and where a target lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: i64,
    pub end: i64,
}

impl Range {
    /// The offset that is nearest to the target and in the partition; `at_time` is what a lookup by time has found,
    /// and the end where it found nothing. None where the target is relative to a commit that there is not.
    pub fn offset(self, target: Target, committed: Option<i64>, at_time: Option<i64>) -> Option<i64> {
        let wanted = match target {
            Target::Earliest => self.start,
            Target::Latest => self.end,
            Target::Current => committed?,
            Target::Offset(offset) => offset,
            Target::Time(_) => at_time.unwrap_or(self.end),
            Target::Shift(number) => committed?.saturating_add(number),
        };
        Some(wanted.clamp(self.start, self.end.max(self.start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_a_colon() {
        let arg = |topic: &str, partitions: &[i32]| {
            Ok(TopicArg { topic: topic.to_owned(), partitions: partitions.to_vec() })
        };
        assert_eq!(parse_topic("orders"), arg("orders", &[]));
        assert_eq!(parse_topic("orders:0,2"), arg("orders", &[0, 2]));
        for bad in ["orders:", "orders:x", "orders:-1", "orders:0,,1"] {
            assert!(parse_topic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn offsets_end_up_within_the_partition() {
        let range = Range { start: 10, end: 20 };
        for (target, committed, at_time, offset) in [
            (Target::Earliest, None, None, Some(10)),
            (Target::Latest, None, None, Some(20)),
            (Target::Current, Some(3), None, Some(10)),
            (Target::Current, None, None, None),
            (Target::Offset(15), None, None, Some(15)),
            (Target::Offset(99), None, None, Some(20)),
            (Target::Time(7), None, Some(12), Some(12)),
            (Target::Time(7), None, None, Some(20)),
            (Target::Shift(-3), Some(15), None, Some(12)),
            (Target::Shift(-30), Some(15), None, Some(10)),
            (Target::Shift(5), None, None, None),
        ] {
            assert_eq!(range.offset(target, committed, at_time), offset, "{target:?} from {committed:?}");
        }
    }
}
