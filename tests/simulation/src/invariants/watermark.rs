//! The high watermark of an epoch never falls, and a restart knows the one that a checkpoint kept.

use std::collections::BTreeMap;

use millrace_base::{LeaderEpoch, Offset, TopicPartition};

use super::{Invariant, Look};
use crate::effects::Fact;

#[derive(Default)]
pub struct HighWatermarkNeverFalls {
    reached: BTreeMap<(TopicPartition, LeaderEpoch), Offset>,
}

impl Invariant for HighWatermarkNeverFalls {
    fn name(&self) -> &'static str {
        "the high watermark never falls"
    }

    fn observe(&mut self, fact: &Fact, _look: &Look<'_>) -> Result<(), String> {
        match fact {
            Fact::HighWatermark { by, epoch, leads: true, partition, to } => {
                let reached = self.reached.entry((*partition, *epoch)).or_insert(*to);
                if *to < *reached {
                    return Err(format!("{partition}: broker {by}, epoch {epoch}: {to} after {reached}"));
                }
                *reached = *to;
                Ok(())
            }
            Fact::Reopened { by, partition, high_watermark, checkpointed, .. }
                if high_watermark < checkpointed =>
            {
                Err(format!(
                    "{partition}: broker {by} begins at {high_watermark} and had kept {checkpointed}"
                ))
            }
            _ => Ok(()),
        }
    }
}
