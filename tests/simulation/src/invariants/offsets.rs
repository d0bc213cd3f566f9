//! What a group has committed never goes back by itself: neither what it was told is committed, nor where it was told
//! to be.
//!
//! A broker that has not heard that another leads may tell of the past, as in Kafka: what counts is what the leaders
//! of the epoch that it knows, and of those before it, have told.

use std::collections::BTreeMap;

use millrace_base::{LeaderEpoch, Offset};

use super::{Invariant, Look};
use crate::effects::Fact;

#[derive(Default)]
pub struct OffsetsNeverGoBack {
    /// Of each group, the largest offset that it was told of in each leader epoch.
    told: BTreeMap<String, BTreeMap<LeaderEpoch, Offset>>,
}

impl Invariant for OffsetsNeverGoBack {
    fn name(&self) -> &'static str {
        "committed offsets never go back"
    }

    fn observe(&mut self, fact: &Fact, _look: &Look<'_>) -> Result<(), String> {
        let (Fact::OffsetCommitted { epoch, group, offset, .. }
        | Fact::OffsetRead { epoch, group, offset, .. }) = fact
        else {
            return Ok(());
        };
        let told = self.told.entry(group.clone()).or_default();
        let before = told.range(..=*epoch).map(|(_, offset)| *offset).max();
        if let Fact::OffsetRead { by, .. } = fact
            && let Some(before) = before.filter(|before| before > offset)
        {
            return Err(format!(
                "{group}: broker {by} has it at {offset} in epoch {epoch}, where it was at {before} by then"
            ));
        }
        let largest = told.entry(*epoch).or_insert(*offset);
        *largest = (*largest).max(*offset);
        Ok(())
    }
}
