//! Settings of a topic, changed by random choices and described after each.

use millrace_compat_tests::control::Pair;
use millrace_integration_tests::Random;
use millrace_protocol::messages::IncrementalAlterConfigsRequest;

use crate::batches::one_of;
use crate::configs::{TOPIC, change, overrides};
use crate::support::create_in;

/// Those of which both take the same values and show them alike.
const SETTINGS: [&str; 21] = [
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
];
const VALUES: [Option<&str>; 20] = [
    None,
    Some(""),
    Some("-2"),
    Some("-1"),
    Some("0"),
    Some("1"),
    Some("9"),
    Some("10"),
    Some("22"),
    Some("4096"),
    Some("1048576"),
    Some("2147483647"),
    Some("2147483648"),
    Some("9223372036854775807"),
    Some("0.5"),
    Some("1.5"),
    Some("true"),
    Some("lz4"),
    Some("CreateTime"),
    Some("x"),
];

/// The topic whose settings are changed.
pub struct Changed(String);

impl Changed {
    pub fn new(pair: &mut Pair, number: usize) -> Self {
        let name = format!("gen-set-{number}");
        for peer in [&mut pair.kafka, &mut pair.millrace] {
            create_in(peer, &[(&name, 1, &[])]);
        }
        Self(name)
    }

    /// Changes settings; if they are unlike then, another topic is next.
    pub fn change(&mut self, pair: &mut Pair, random: &mut Random, version: i16, number: usize) {
        // Of two flaws the brokers name another.
        let changes =
            [(one_of(random, &[0, 0, 1, 2, 3]), one_of(random, &SETTINGS), one_of(random, &VALUES))];
        let validate_only = random.below(4) == 0;
        let what = format!("settings {number} changed by {changes:?} {validate_only}");
        pair.compare(&what, version, |_, _| {
            IncrementalAlterConfigsRequest::default()
                .with_resources(vec![change(TOPIC, &self.0, &changes)])
                .with_validate_only(validate_only)
        });
        if !overrides(pair, &self.0, &format!("after {what}")) {
            *self = Self::new(pair, number);
        }
    }
}
