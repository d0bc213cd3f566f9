//! When a group needs a new target, and what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use millrace_base::TopicId;

use super::super::assignor::{Assignment, Assignor, Shapes, Subscriber};
use super::super::format::consumer::{MemberMetadata, Part};
use super::draft::Draft;
use super::{ConsumerGroup, Topics, pattern};

/// Of the topics that the group reads, with their ids and sizes: another one when any of it is. 0 for no topics. A
/// version that counts otherwise costs each group one epoch.
pub(super) fn topics_hash(group: &ConsumerGroup, topics: &dyn Topics) -> i64 {
    let matched = group.patterns().values().flat_map(|resolved| &resolved.topics);
    let names: BTreeSet<&String> = group.asked_topics().chain(matched).collect();
    let mut hasher = DefaultHasher::new();
    let mut is_empty = true;
    for name in names {
        if let Some((id, partitions)) = topics.find(name) {
            is_empty = false;
            (name, id, partitions).hash(&mut hasher);
        }
    }
    match hasher.finish().cast_signed() {
        _ if is_empty => 0,
        0 => 1,
        hash => hash,
    }
}

/// Sees to it that each pattern that is asked for is resolved as the topics are now, and no other is kept.
pub(super) fn resolve_patterns(draft: &mut Draft<'_>, topics: &dyn Topics, now_ms: i64) {
    let known = draft.group().patterns();
    let is_current = |pattern: &String| {
        known
            .get(pattern)
            .is_some_and(|resolved| resolved.metadata_version.cast_unsigned() == topics.version())
    };
    let asked: Vec<String> =
        draft.group().asked_patterns().filter(|pattern| !is_current(pattern)).cloned().collect();
    let asked_for: BTreeSet<&String> = draft.group().asked_patterns().collect();
    let unasked: Vec<String> = known.keys().filter(|pattern| !asked_for.contains(pattern)).cloned().collect();
    for pattern in asked {
        let resolved = pattern::resolve(&pattern, topics, now_ms);
        let before = draft.group().patterns().get(&pattern);
        // What matches the same topics need not be written again.
        if before.is_none_or(|before| before.topics != resolved.topics) {
            draft.push(Part::Pattern(pattern, Some(Arc::new(resolved))));
        }
    }
    for pattern in unasked {
        draft.push(Part::Pattern(pattern, None));
    }
}

/// The topics that a member reads and that there are, sorted.
pub(super) fn topic_ids(group: &ConsumerGroup, member: &MemberMetadata, topics: &dyn Topics) -> Vec<TopicId> {
    let found = group.subscription(member).filter_map(|name| topics.find(name));
    let mut ids: Vec<TopicId> = found.map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Makes a target for the group's epoch.
pub(super) fn update(draft: &mut Draft<'_>, topics: &dyn Topics) {
    let nothing = Assignment::new();
    let group = draft.group();
    let epoch = group.epoch().epoch;
    let mut shapes = Shapes::new();
    // Most members say the same.
    let mut known: BTreeMap<(&[String], &str), Vec<TopicId>> = BTreeMap::new();
    let members = group.members().iter().map(|(id, member)| {
        let ids = known
            .entry((&member.topics, &member.pattern))
            .or_insert_with(|| topic_ids(group, member, topics))
            .clone();
        Subscriber {
            id,
            instance: member.instance.as_deref(),
            topics: ids,
            owned: group.target(id).map_or(&nothing, |target| target),
        }
    });
    let members: Vec<Subscriber<'_>> = members.collect();
    for name in
        group.members().values().flat_map(|member| group.subscription(member)).collect::<BTreeSet<_>>()
    {
        if let Some((id, partitions)) = topics.find(name) {
            shapes.insert(id, partitions);
        }
    }
    let assigned = preferred(group).assign(&members, &shapes);
    let changed = members
        .iter()
        .zip(assigned)
        .filter(|(member, assignment)| group.target(member.id).is_none_or(|target| **target != *assignment));
    let parts: Vec<Part> = changed
        .map(|(member, assignment)| Part::Target(member.id.to_owned(), Some(Arc::new(assignment))))
        .collect();
    for part in parts {
        draft.push(part);
    }
    draft.push(Part::TargetEpoch(Some(epoch)));
}

/// What most members want that want any.
pub(super) fn preferred(group: &ConsumerGroup) -> Assignor {
    let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
    for assignor in group.members().values().filter_map(|member| Assignor::named(member.assignor.as_deref()?))
    {
        *votes.entry(assignor).or_default() += 1;
    }
    // The first of as many.
    let most = votes.into_iter().rev().max_by_key(|(_, count)| *count);
    most.map_or(Assignor::ALL[0], |(assignor, _)| assignor)
}
