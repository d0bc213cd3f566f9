//! One group, as its records have it, and what follows from them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use millrace_base::TopicId;

use super::super::assignor::Assignment;
use super::super::format::consumer::{
    Current, GroupEpoch, MemberMetadata, Part, Progress, Resolved, Subject,
};

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::groups) struct ConsumerGroup {
    epoch: Option<GroupEpoch>,
    target_epoch: Option<i32>,
    members: BTreeMap<String, Arc<MemberMetadata>>,
    targets: BTreeMap<String, Arc<Assignment>>,
    currents: BTreeMap<String, Arc<Current>>,
    patterns: BTreeMap<String, Arc<Resolved>>,
    /// How many members have each partition, counted from `currents`: one, but while records are read back.
    owned: HashMap<(TopicId, i32), u32>,
    /// How many members ask for each topic by its name, and for each pattern.
    topic_readers: BTreeMap<String, u32>,
    pattern_readers: BTreeMap<String, u32>,
}

impl ConsumerGroup {
    /// Whether nothing is known of it.
    pub fn is_nothing(&self) -> bool {
        self.next_part(None).is_none()
    }

    pub fn epoch(&self) -> GroupEpoch {
        self.epoch.unwrap_or(GroupEpoch { epoch: 0, topics_hash: 0 })
    }

    pub fn target_epoch(&self) -> i32 {
        self.target_epoch.unwrap_or_default()
    }

    pub const fn members(&self) -> &BTreeMap<String, Arc<MemberMetadata>> {
        &self.members
    }

    pub fn target(&self, member: &str) -> Option<&Arc<Assignment>> {
        self.targets.get(member)
    }

    pub fn current(&self, member: &str) -> Option<&Arc<Current>> {
        self.currents.get(member)
    }

    pub const fn patterns(&self) -> &BTreeMap<String, Arc<Resolved>> {
        &self.patterns
    }

    /// The member with this instance id.
    pub fn instance(&self, instance: &str) -> Option<&str> {
        let mut members = self.members.iter();
        let found = members.find(|(_, member)| member.instance.as_deref() == Some(instance));
        found.map(|(id, _)| id.as_str())
    }

    pub fn is_owned(&self, topic: TopicId, partition: i32) -> bool {
        self.owned.contains_key(&(topic, partition))
    }

    /// The topics that members ask for by name, and the patterns.
    pub fn asked_topics(&self) -> impl Iterator<Item = &String> {
        self.topic_readers.keys()
    }

    pub fn asked_patterns(&self) -> impl Iterator<Item = &String> {
        self.pattern_readers.keys()
    }

    /// Whether a member reads the topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        let matches = |resolved: &Arc<Resolved>| resolved.topics.iter().any(|name| name == topic);
        self.topic_readers.contains_key(topic) || self.patterns.values().any(matches)
    }

    /// All topics that a member is subscribed to, by their names.
    pub fn subscription<'g>(&'g self, member: &'g MemberMetadata) -> impl Iterator<Item = &'g String> {
        let matched = self.patterns.get(&member.pattern);
        member.topics.iter().chain(matched.into_iter().flat_map(|resolved| &resolved.topics))
    }

    /// Whether the member has what it is to have in the target's epoch.
    pub fn is_settled(&self, member: &str) -> bool {
        self.current(member).is_some_and(|current| {
            current.epoch == self.target_epoch() && current.progress == Progress::Stable
        })
    }

    /// As Kafka calls it.
    pub fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch().epoch > self.target_epoch() {
            "Assigning"
        } else if self.members.keys().all(|member| self.is_settled(member)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub fn apply(&mut self, part: &Part) {
        match part {
            Part::GroupEpoch(epoch) => self.epoch = *epoch,
            Part::TargetEpoch(epoch) => self.target_epoch = *epoch,
            Part::Member(member, said) => {
                let before = match said {
                    Some(said) => {
                        self.count_subscription(said, true);
                        self.members.insert(member.clone(), Arc::clone(said))
                    }
                    None => self.members.remove(member),
                };
                if let Some(before) = before {
                    self.count_subscription(&before, false);
                }
            }
            Part::Target(member, target) => replace(&mut self.targets, member, target.as_ref()),
            Part::Current(member, current) => {
                let before = match current {
                    Some(current) => {
                        self.count_owned(current, true);
                        self.currents.insert(member.clone(), Arc::clone(current))
                    }
                    None => self.currents.remove(member),
                };
                if let Some(before) = before {
                    self.count_owned(&before, false);
                }
            }
            Part::Pattern(pattern, resolved) => replace(&mut self.patterns, pattern, resolved.as_ref()),
        }
    }

    fn count_subscription(&mut self, member: &MemberMetadata, is_added: bool) {
        for topic in &member.topics {
            count(&mut self.topic_readers, topic, is_added);
        }
        if !member.pattern.is_empty() {
            count(&mut self.pattern_readers, &member.pattern, is_added);
        }
    }

    fn count_owned(&mut self, current: &Current, is_added: bool) {
        for (topic, partitions) in current.assigned.iter().chain(&current.revoking) {
            for partition in partitions {
                let place = (*topic, *partition);
                let owners = self.owned.entry(place).or_default();
                *owners = if is_added { *owners + 1 } else { owners.saturating_sub(1) };
                if *owners == 0 {
                    self.owned.remove(&place);
                }
            }
        }
    }

    /// The first record behind `after`; all of them give the group again.
    pub fn next_part(&self, after: Option<&Subject>) -> Option<Part> {
        if after.is_none()
            && let Some(epoch) = self.epoch
        {
            return Some(Part::GroupEpoch(Some(epoch)));
        }
        if after.is_none_or(|after| *after < Subject::TargetEpoch) {
            let last = match after {
                Some(Subject::Member(member)) => Some(member),
                _ => None,
            };
            if let Some((member, said)) = next(&self.members, last) {
                return Some(Part::Member(member.clone(), Some(Arc::clone(said))));
            }
            if let Some(epoch) = self.target_epoch {
                return Some(Part::TargetEpoch(Some(epoch)));
            }
        }
        self.next_of_member(after)
    }

    fn next_of_member(&self, after: Option<&Subject>) -> Option<Part> {
        if !matches!(after, Some(Subject::Current(_) | Subject::Pattern(_))) {
            let last = match after {
                Some(Subject::Target(member)) => Some(member),
                _ => None,
            };
            if let Some((member, target)) = next(&self.targets, last) {
                return Some(Part::Target(member.clone(), Some(Arc::clone(target))));
            }
        }
        if !matches!(after, Some(Subject::Pattern(_))) {
            let last = match after {
                Some(Subject::Current(member)) => Some(member),
                _ => None,
            };
            if let Some((member, current)) = next(&self.currents, last) {
                return Some(Part::Current(member.clone(), Some(Arc::clone(current))));
            }
        }
        let last = match after {
            Some(Subject::Pattern(pattern)) => Some(pattern),
            _ => None,
        };
        let (pattern, resolved) = next(&self.patterns, last)?;
        Some(Part::Pattern(pattern.clone(), Some(Arc::clone(resolved))))
    }
}

fn next<'m, T>(map: &'m BTreeMap<String, T>, after: Option<&String>) -> Option<(&'m String, &'m T)> {
    let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
    map.range::<str, _>((from, Bound::Unbounded)).next()
}

fn replace<T>(map: &mut BTreeMap<String, Arc<T>>, key: &str, value: Option<&Arc<T>>) {
    match value {
        Some(value) => map.insert(key.to_owned(), Arc::clone(value)),
        None => map.remove(key),
    };
}

fn count(readers: &mut BTreeMap<String, u32>, name: &str, is_added: bool) {
    match readers.get_mut(name) {
        Some(count) if is_added => *count += 1,
        Some(count) if *count > 1 => *count -= 1,
        Some(_) => {
            readers.remove(name);
        }
        None if is_added => {
            readers.insert(name.to_owned(), 1);
        }
        None => {}
    }
}
