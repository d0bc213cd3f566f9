//! An idempotent producer's records are committed once, and in its order.

use std::collections::BTreeMap;

use millrace_base::{Offset, TopicPartition};

use super::{Invariant, Look};
use crate::effects::Fact;
use crate::message::{COORDINATOR, Label};

#[derive(Default)]
pub struct OnceAndInOrder {
    places: BTreeMap<(TopicPartition, Label), Offset>,
}

impl Invariant for OnceAndInOrder {
    fn name(&self) -> &'static str {
        "once and in order"
    }

    fn observe(&mut self, fact: &Fact, _look: &Look<'_>) -> Result<(), String> {
        let Fact::Committed { partition, records, .. } = fact else { return Ok(()) };
        for seen in records.iter().filter(|seen| seen.label.producer != COORDINATOR) {
            let place = *self.places.entry((*partition, seen.label)).or_insert(seen.offset);
            if place != seen.offset {
                return Err(format!("{partition}: {:?} is at {place} and at {}", seen.label, seen.offset));
            }
            let before = Label { number: seen.label.number.wrapping_sub(1), ..seen.label };
            let earlier = self.places.get(&(*partition, before));
            if seen.label.number > 0 && earlier.is_none_or(|earlier| *earlier > seen.offset) {
                return Err(format!(
                    "{partition}: {:?} is at {place}, and the one before at {earlier:?}",
                    seen.label
                ));
            }
        }
        Ok(())
    }
}
