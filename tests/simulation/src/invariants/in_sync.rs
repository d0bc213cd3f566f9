//! In-sync replicas have what was acknowledged, durably, at the moment in which it is.

use millrace_base::BrokerId;

use super::{Invariant, Look};
use crate::effects::Fact;

#[derive(Default)]
pub struct InSyncHaveIt;

impl Invariant for InSyncHaveIt {
    fn name(&self) -> &'static str {
        "in-sync replicas have it"
    }

    fn observe(&mut self, fact: &Fact, look: &Look<'_>) -> Result<(), String> {
        let Fact::Acknowledged { by, partition, base_offset, labels, .. } = fact else { return Ok(()) };
        let end = base_offset + labels.len() as i64;
        let in_sync = look.quorum.image().partition(partition).map_or(&[][..], |partition| &partition.isr);
        let lacks = |id: &&BrokerId| {
            let broker = &look.brokers[&id.0];
            // One whose disk is gone is counted out as soon as it says so.
            broker.has_known_disk() && broker.durable_end(partition) < end
        };
        let lacking = in_sync.iter().find(lacks);
        match lacking {
            Some(id) => Err(format!(
                "{partition}: broker {by} acknowledges up to {end}, which broker {id}, in sync, has up to {}",
                look.brokers[&id.0].durable_end(partition)
            )),
            None => Ok(()),
        }
    }
}
