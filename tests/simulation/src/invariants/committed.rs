//! Committed logs are prefixes of each other: what one broker has committed at an offset no other has otherwise.

use std::collections::BTreeMap;

use millrace_base::{Offset, TopicPartition};

use super::{Invariant, Look};
use crate::effects::Fact;
use crate::message::Seen;

#[derive(Default)]
pub struct CommittedLogsAgree {
    /// What the first one committed.
    truth: BTreeMap<TopicPartition, BTreeMap<Offset, Seen>>,
}

impl CommittedLogsAgree {
    pub fn end(&self, partition: &TopicPartition) -> Offset {
        let last = self.truth.get(partition).and_then(|records| records.last_key_value());
        last.map_or(0, |(offset, _)| offset + 1)
    }
}

impl Invariant for CommittedLogsAgree {
    fn name(&self) -> &'static str {
        "committed logs agree"
    }

    fn observe(&mut self, fact: &Fact, _look: &Look<'_>) -> Result<(), String> {
        let Fact::Committed { by, partition, records } = fact else { return Ok(()) };
        let truth = self.truth.entry(*partition).or_default();
        for seen in records {
            let first = truth.entry(seen.offset).or_insert(*seen);
            if first != seen {
                return Err(format!("{partition}: broker {by} has committed {seen:?}, another {first:?}"));
            }
        }
        Ok(())
    }
}
