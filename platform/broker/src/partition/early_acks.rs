//! How far acknowledgements may run ahead of the disk, where a topic's flush policy lets them. Pure.
//!
//! The log writes records to the disk as soon as that takes them, whatever the policy. The policy bounds what a
//! power failure takes back of what was acknowledged: fewer than `flush.messages` records, and nothing while a
//! record has waited for the disk for `flush.ms` or longer. What would go beyond is acknowledged when it is on
//! disk, as everything is by default.

use std::collections::VecDeque;

use millrace_base::Offset;
use millrace_config::TopicConfig;

/// Marks that are kept; further appends join the newest, and seem as old as it.
const MARKS_MAX: usize = 16;

/// When records that are not on disk were appended.
#[derive(Debug, Default)]
pub(crate) struct EarlyAcks {
    /// Ends of appends that are not durable, with the time of each, both growing.
    marks: VecDeque<(Offset, i64)>,
}

impl EarlyAcks {
    /// Records up to `end` were appended at `now_ms`; of all, those below `durable_end` are on disk. Whether
    /// they may be acknowledged at once.
    pub(crate) fn on_append(
        &mut self,
        config: &TopicConfig,
        (end, durable_end): (Offset, Offset),
        now_ms: i64,
    ) -> bool {
        while self.marks.pop_front_if(|(end, _)| *end <= durable_end).is_some() {}
        let full = self.marks.len() == MARKS_MAX;
        match self.marks.back_mut() {
            Some(newest) if full => newest.0 = newest.0.max(end),
            Some(newest) if newest.0 >= end => {}
            _ if end <= durable_end => {}
            _ => self.marks.push_back((end, now_ms)),
        }
        let unsynced = u64::try_from(end - durable_end).unwrap_or(0);
        let oldest_ms = self.marks.front().map_or(now_ms, |(_, appended_ms)| *appended_ms);
        let waited_ms = u64::try_from(now_ms - oldest_ms).unwrap_or(0);
        config.flush_messages.is_none_or(|messages| unsynced < messages)
            && config.flush_ms.is_none_or(|ms| waited_ms < ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(flush_messages: Option<u64>, flush_ms: Option<u64>) -> TopicConfig {
        TopicConfig { flush_messages, flush_ms, ..TopicConfig::default() }
    }

    #[test]
    fn fewer_records_than_flush_messages_run_ahead() {
        let (config, mut acks) = (policy(Some(3), None), EarlyAcks::default());
        let answers = [1, 2, 3, 4].map(|end| acks.on_append(&config, (end, 0), 0));
        assert_eq!(answers, [true, true, false, false]);
        assert!(acks.on_append(&config, (5, 3), 0), "the disk has caught up");
        assert!(!acks.on_append(&config, (9, 5), 0), "one append of too many");
    }

    #[test]
    fn nothing_runs_ahead_while_a_record_waits_for_longer_than_flush_ms() {
        let (config, mut acks) = (policy(None, Some(100)), EarlyAcks::default());
        let answers =
            [(1, 0), (2, 99), (3, 100), (4, 5000)].map(|(end, ms)| acks.on_append(&config, (end, 0), ms));
        assert_eq!(answers, [true, true, false, false]);
        assert!(!acks.on_append(&config, (5, 1), 5001), "the second record still waits");
        assert!(acks.on_append(&config, (6, 5), 5002));
    }

    #[test]
    fn by_default_nothing_runs_ahead_and_without_bounds_everything_does() {
        for config in [policy(Some(1), None), policy(None, Some(0)), TopicConfig::default()] {
            assert!(!EarlyAcks::default().on_append(&config, (1, 0), 0));
        }
        let (config, mut acks) = (policy(None, None), EarlyAcks::default());
        for end in 1..1000 {
            assert!(acks.on_append(&config, (end, 0), end * 1_000_000));
        }
        assert_eq!(acks.marks.len(), MARKS_MAX);
    }

    #[test]
    fn appends_that_report_late_change_nothing() {
        let (config, mut acks) = (policy(None, Some(100)), EarlyAcks::default());
        assert!(acks.on_append(&config, (5, 5), 0), "on disk already");
        assert!(acks.on_append(&config, (9, 5), 1000));
        assert!(acks.on_append(&config, (7, 5), 1001), "another was quicker");
        assert_eq!(acks.marks, [(9, 1000)]);
    }
}
