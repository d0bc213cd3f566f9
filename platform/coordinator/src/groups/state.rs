//! What `__consumer_offsets` keeps, as a machine: of each group its settled generation, or what the coordinator assigns to
//! it, and of each group, topic and partition the last committed offset.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::consumer::ConsumerGroup;
use super::format::classic::{self, GroupRecord};
use super::format::consumer::{self, Part, Subject};
use super::format::offsets::{Committed, OffsetKey};
use crate::state_log::{Machine, StateRecord};

/// See the module's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GroupState {
    offsets: BTreeMap<OffsetKey, Committed>,
    classic: BTreeMap<String, Arc<GroupRecord>>,
    consumer: BTreeMap<String, ConsumerGroup>,
}

/// A record, decoded. Without a value it is forgotten.
#[derive(Debug)]
pub(super) enum Change {
    Offset(OffsetKey, Option<Committed>),
    Classic(String, Option<Arc<GroupRecord>>),
    Consumer(String, Part),
}

/// The last record that was written of all state: groups first, then offsets.
#[derive(Clone, Debug)]
pub(super) enum Cursor {
    Classic(String),
    Consumer(String, Subject),
    Offset(OffsetKey),
}

impl GroupState {
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

    /// The settled generation of a group whose members assign partitions.
    pub fn classic(&self, group: &str) -> Option<&Arc<GroupRecord>> {
        self.classic.get(group)
    }

    /// All of them.
    pub fn all_classic(&self) -> impl Iterator<Item = (&String, &Arc<GroupRecord>)> {
        self.classic.iter()
    }

    /// A group to which the coordinator assigns.
    pub fn consumer(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumer.get(group)
    }

    /// All of them.
    pub fn all_consumer(&self) -> impl Iterator<Item = (&String, &ConsumerGroup)> {
        self.consumer.iter()
    }

    pub fn all_offsets(&self) -> impl ExactSizeIterator<Item = (&OffsetKey, &Committed)> {
        self.offsets.iter()
    }

    /// Whether anything is kept of the group.
    pub fn knows(&self, group: &str) -> bool {
        self.classic.contains_key(group)
            || self.consumer.contains_key(group)
            || self.of_group(group).next().is_some()
    }

    fn next_consumer_part(&self, after: Option<&Cursor>) -> Option<(&String, Part)> {
        let from = match after {
            Some(Cursor::Consumer(group, subject)) => {
                let same = self.consumer.get_key_value(group);
                let part = same.and_then(|(group, state)| Some((group, state.next_part(Some(subject))?)));
                if part.is_some() {
                    return part;
                }
                Bound::Excluded(group.as_str())
            }
            _ => Bound::Unbounded,
        };
        let (group, state) = self.consumer.range::<str, _>((from, Bound::Unbounded)).next()?;
        Some((group, state.next_part(None)?))
    }

    /// All groups that have committed anything, in their order.
    pub fn committers(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.offsets.keys().map(|key| key.group.clone()).collect();
        groups.dedup();
        groups
    }
}

impl Machine for GroupState {
    type Change = Change;
    type Cursor = Cursor;

    fn decode(key: &[u8], value: Option<&[u8]>) -> Option<Change> {
        if let Some(group) = classic::decode_key(key) {
            let record = match value {
                Some(value) => Some(Arc::new(GroupRecord::decode(value)?)),
                None => None,
            };
            return Some(Change::Classic(group, record));
        }
        if let Some((group, subject)) = consumer::decode_key(key) {
            return Some(Change::Consumer(group, Part::decode(subject, value)?));
        }
        let key = OffsetKey::decode(key)?;
        match value {
            Some(value) => Some(Change::Offset(key, Some(Committed::decode(value)?))),
            None => Some(Change::Offset(key, None)),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Offset(key, Some(committed)) => {
                self.offsets.insert(key.clone(), committed.clone());
            }
            Change::Offset(key, None) => {
                self.offsets.remove(key);
            }
            Change::Classic(group, Some(record)) => {
                self.classic.insert(group.clone(), Arc::clone(record));
            }
            Change::Classic(group, None) => {
                self.classic.remove(group);
            }
            Change::Consumer(id, part) => {
                let group = self.consumer.entry(id.clone()).or_default();
                group.apply(part);
                if group.is_nothing() {
                    self.consumer.remove(id);
                }
            }
        }
    }

    fn next_record(&self, after: Option<&Cursor>) -> Option<(Cursor, StateRecord)> {
        let group_after = match after {
            None => Some(Bound::Unbounded),
            Some(Cursor::Classic(group)) => Some(Bound::Excluded(group.as_str())),
            Some(Cursor::Consumer(..) | Cursor::Offset(_)) => None,
        };
        if let Some(from) = group_after
            && let Some((group, record)) = self.classic.range::<str, _>((from, Bound::Unbounded)).next()
        {
            let record = StateRecord { key: classic::encode_key(group), value: Some(record.encode()) };
            return Some((Cursor::Classic(group.clone()), record));
        }
        if !matches!(after, Some(Cursor::Offset(_)))
            && let Some((group, part)) = self.next_consumer_part(after)
        {
            return Some((Cursor::Consumer(group.clone(), part.subject()), part.record(group)));
        }
        let from = match after {
            Some(Cursor::Offset(key)) => Bound::Excluded(key),
            _ => Bound::Unbounded,
        };
        let (key, committed) = self.offsets.range::<OffsetKey, _>((from, Bound::Unbounded)).next()?;
        let record = StateRecord { key: key.encode(), value: Some(committed.encode()) };
        Some((Cursor::Offset(key.clone()), record))
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

    fn change() -> impl Strategy<Value = Change> {
        let offset = ("[ab]{0,2}", "[tu]{1}", 0..3i32, committed()).prop_map(
            |(group, topic, partition, committed)| {
                Change::Offset(OffsetKey { group, topic, partition }, committed)
            },
        );
        let record = any::<i32>().prop_map(|generation| {
            Arc::new(GroupRecord {
                protocol_type: "consumer".into(),
                generation,
                protocol: None,
                leader: None,
                state_since_ms: 0,
                members: Vec::new(),
            })
        });
        let classic = ("[ab]{0,2}", prop::option::of(record))
            .prop_map(|(group, record)| Change::Classic(group, record));
        let metadata = |name: String| {
            Arc::new(consumer::MemberMetadata {
                instance: None,
                rack: None,
                client_id: String::new(),
                client_host: String::new(),
                topics: vec![name],
                pattern: String::new(),
                rebalance_timeout_ms: 1,
                assignor: None,
            })
        };
        let epoch = |epoch| consumer::GroupEpoch { epoch, topics_hash: 7 };
        let part = prop_oneof![
            prop::option::of(any::<i32>().prop_map(epoch)).prop_map(Part::GroupEpoch),
            prop::option::of(any::<i32>()).prop_map(Part::TargetEpoch),
            ("[mn]", prop::option::of("[tu]".prop_map(metadata)))
                .prop_map(|(member, said)| Part::Member(member, said)),
            ("[mn]", prop::option::of(Just(Arc::default())))
                .prop_map(|(member, target)| Part::Target(member, target)),
        ];
        let consumer = ("[ab]{0,2}", part).prop_map(|(group, part)| Change::Consumer(group, part));
        prop_oneof![3 => offset, 1 => classic, 2 => consumer]
    }

    proptest! {
        #[test]
        fn records_of_a_machine_give_it_again(changes in prop::collection::vec(change(), 0..40)) {
            let mut machine = GroupState::default();
            for change in changes {
                machine.apply(&change);
            }
            let (mut again, mut at) = (GroupState::default(), None);
            while let Some((next, record)) = machine.next_record(at.as_ref()) {
                again.apply(&GroupState::decode(&record.key, record.value.as_deref()).unwrap());
                at = Some(next);
            }
            prop_assert_eq!(&again, &machine);
            for group in machine.committers() {
                let known = machine.offsets.iter().filter(|(key, _)| key.group == group);
                prop_assert!(known.eq(machine.of_group(&group)));
            }
        }
    }
}
