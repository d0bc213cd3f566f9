//! No acknowledged record is lost or changed: in the end it is where its client was told, in every log in sync.

use std::collections::BTreeMap;

use millrace_base::{Offset, TopicPartition};

use super::{Invariant, Look};
use crate::broker::log::records;
use crate::effects::Fact;
use crate::message::Label;

#[derive(Default)]
pub struct AcknowledgedIsKept {
    records: BTreeMap<TopicPartition, BTreeMap<Offset, Label>>,
    batches: u64,
}

impl AcknowledgedIsKept {
    pub const fn count(&self) -> u64 {
        self.batches
    }
}

impl Invariant for AcknowledgedIsKept {
    fn name(&self) -> &'static str {
        "what is acknowledged is kept"
    }

    fn observe(&mut self, fact: &Fact, _look: &Look<'_>) -> Result<(), String> {
        let Fact::Acknowledged { partition, base_offset, labels, .. } = fact else { return Ok(()) };
        self.batches += 1;
        let told = self.records.entry(*partition).or_default();
        for (offset, label) in (*base_offset..).zip(labels) {
            let before = told.insert(offset, *label);
            if let Some(other) = before.filter(|before| before != label) {
                return Err(format!(
                    "{partition}: {offset} was acknowledged for {other:?} and for {label:?}"
                ));
            }
        }
        Ok(())
    }

    fn at_the_end(&mut self, look: &Look<'_>) -> Result<(), String> {
        for (partition, state) in look.quorum.partitions() {
            let Some(told) = self.records.get(&partition) else { continue };
            for member in &state.isr {
                let Some(broker) = look.brokers.get(&member.0) else { continue };
                let Some((_, log)) = broker.partitions().find(|(id, _)| **id == partition) else { continue };
                let found = records(log, 0, log.log_end_offset()).map_err(|error| error.to_string())?;
                let found: BTreeMap<_, _> = found.iter().map(|seen| (seen.offset, seen.label)).collect();
                let lost = told.iter().find(|(offset, label)| found.get(offset) != Some(label));
                if let Some((offset, label)) = lost {
                    let instead = found.get(offset);
                    return Err(format!(
                        "{partition}: {label:?} was acknowledged at {offset}, where broker {member} has {instead:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
