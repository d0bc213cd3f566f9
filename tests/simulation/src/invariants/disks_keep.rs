//! A log that is opened again after a power cut has what was durable.

use super::{Invariant, Look};
use crate::effects::Fact;

#[derive(Default)]
pub struct DisksKeep;

impl Invariant for DisksKeep {
    fn name(&self) -> &'static str {
        "a log keeps what is durable"
    }

    fn observe(&mut self, fact: &Fact, _look: &Look<'_>) -> Result<(), String> {
        match fact {
            Fact::Reopened { by, partition, durable_end, kept, .. } if durable_end < kept => {
                Err(format!("{partition}: broker {by} opens with {durable_end} records and had {kept}"))
            }
            _ => Ok(()),
        }
    }
}
