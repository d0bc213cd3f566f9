//! One leader an epoch acknowledges.

use std::collections::BTreeMap;

use millrace_base::{BrokerId, LeaderEpoch, TopicPartition};

use super::{Invariant, Look};
use crate::effects::Fact;

#[derive(Default)]
pub struct OneLeaderAnEpoch {
    leaders: BTreeMap<(TopicPartition, LeaderEpoch), BrokerId>,
}

impl Invariant for OneLeaderAnEpoch {
    fn name(&self) -> &'static str {
        "one leader an epoch"
    }

    fn observe(&mut self, fact: &Fact, _look: &Look<'_>) -> Result<(), String> {
        let Fact::Acknowledged { by, epoch, partition, .. } = fact else { return Ok(()) };
        let first = self.leaders.entry((*partition, *epoch)).or_insert(*by);
        if first != by {
            return Err(format!("{partition}: brokers {first} and {by} acknowledge in epoch {epoch}"));
        }
        Ok(())
    }
}
