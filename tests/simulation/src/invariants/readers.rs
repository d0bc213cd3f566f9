//! One offset, one value for every reader, and nothing that is not committed.

use std::collections::BTreeMap;

use millrace_base::{Offset, TopicPartition};

use super::{Invariant, Look};
use crate::effects::Fact;
use crate::message::Label;

#[derive(Default)]
pub struct OneValueForAll {
    read: BTreeMap<(TopicPartition, Offset), Label>,
    committed: BTreeMap<(TopicPartition, Offset), Label>,
}

impl Invariant for OneValueForAll {
    fn name(&self) -> &'static str {
        "one value for every reader"
    }

    fn observe(&mut self, fact: &Fact, _look: &Look<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { partition, records, .. } => {
                self.committed.extend(records.iter().map(|seen| ((*partition, seen.offset), seen.label)));
            }
            Fact::Read { reader, partition, records } => {
                for seen in records {
                    let place = (*partition, seen.offset);
                    let before = *self.read.entry(place).or_insert(seen.label);
                    if before != seen.label || self.committed.get(&place) != Some(&seen.label) {
                        return Err(format!(
                            "{partition}: reader {reader} got {:?} at {}, where {:?} is committed and {before:?} was read",
                            seen.label,
                            seen.offset,
                            self.committed.get(&place)
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
