//! Committed offsets as a machine: of each group, topic and partition the last one.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::format::{Committed, OffsetKey};
use crate::state_log::{Machine, StateRecord};

/// See the module's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    offsets: BTreeMap<OffsetKey, Committed>,
}

impl Offsets {
    pub fn find(&self, key: &OffsetKey) -> Option<&Committed> {
        self.offsets.get(key)
    }

    /// What a group has committed.
    pub fn of_group<'g>(
        &self,
        group: &'g str,
    ) -> impl Iterator<Item = (&OffsetKey, &Committed)> + use<'_, 'g> {
        let first = OffsetKey { group: group.to_owned(), topic: String::new(), partition: i32::MIN };
        self.offsets.range(first..).take_while(move |(key, _)| key.group == group)
    }

    /// All groups that have committed anything.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.offsets.keys().map(|key| key.group.clone()).collect();
        groups.dedup();
        groups
    }
}

impl Machine for Offsets {
    type Change = (OffsetKey, Option<Committed>);
    type Cursor = OffsetKey;

    fn decode(key: &[u8], value: Option<&[u8]>) -> Option<Self::Change> {
        let key = OffsetKey::decode(key)?;
        match value {
            Some(value) => Some((key, Some(Committed::decode(value)?))),
            None => Some((key, None)),
        }
    }

    fn apply(&mut self, (key, committed): &Self::Change) {
        match committed {
            Some(committed) => self.offsets.insert(key.clone(), committed.clone()),
            None => self.offsets.remove(key),
        };
    }

    fn next_record(&self, after: Option<&OffsetKey>) -> Option<(OffsetKey, StateRecord)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (key, committed) = self.offsets.range::<OffsetKey, _>((from, Bound::Unbounded)).next()?;
        Some((key.clone(), StateRecord { key: key.encode(), value: Some(committed.encode()) }))
    }
}

#[cfg(test)]
mod tests {
    use millrace_base::TopicId;
    use proptest::prelude::*;

    use super::*;

    fn committed() -> impl Strategy<Value = Option<Committed>> {
        let topic = prop::option::of(Just(TopicId::random()));
        let some = (any::<i64>(), any::<i32>(), topic, ".{0,20}", any::<i64>()).prop_map(
            |(offset, leader_epoch, topic, metadata, timestamp_ms)| {
                Some(Committed { topic, ..Committed::new(offset, leader_epoch, metadata, timestamp_ms) })
            },
        );
        prop_oneof![3 => some, 1 => Just(None)]
    }

    proptest! {
        #[test]
        fn records_of_a_machine_give_it_again(
            changes in prop::collection::vec(("[ab]{0,2}", "[tu]{1}", 0..3i32, committed()), 0..40),
        ) {
            let mut machine = Offsets::default();
            for (group, topic, partition, committed) in changes {
                machine.apply(&(OffsetKey { group, topic, partition }, committed));
            }
            let (mut again, mut at) = (Offsets::default(), None);
            while let Some((next, record)) = machine.next_record(at.as_ref()) {
                again.apply(&Offsets::decode(&record.key, record.value.as_deref()).unwrap());
                at = Some(next);
            }
            prop_assert_eq!(&again, &machine);
            for group in machine.groups() {
                let known = machine.offsets.iter().filter(|(key, _)| key.group == group);
                prop_assert!(known.eq(machine.of_group(&group)));
            }
        }
    }
}
