//! Who reads what, as a classic group's leader decides: Kafka's `range`, `roundrobin` and `cooperative-sticky`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::subscription::MemberSubscription;
use crate::group::types::{Assignor, TopicPartition};

pub(crate) type Members = BTreeMap<Arc<str>, MemberSubscription>;
pub(crate) type Assignments = BTreeMap<Arc<str>, BTreeSet<TopicPartition>>;

/// Divides the partitions that there are (`counts`) among those who subscribe to their topics.
pub(crate) fn assign(assignor: Assignor, members: &Members, counts: &BTreeMap<Arc<str>, i32>) -> Assignments {
    match assignor {
        Assignor::Range => range(members, counts),
        Assignor::RoundRobin => round_robin(members, counts),
        Assignor::CooperativeSticky => cooperative_sticky(members, counts),
    }
}

fn nobody_has_any(members: &Members) -> Assignments {
    members.keys().map(|member| (Arc::clone(member), BTreeSet::new())).collect()
}

fn give(assignments: &mut Assignments, member: &Arc<str>, partition: TopicPartition) {
    assignments.entry(Arc::clone(member)).or_default().insert(partition);
}

fn range(members: &Members, counts: &BTreeMap<Arc<str>, i32>) -> Assignments {
    let mut assignments = nobody_has_any(members);
    for (topic, count) in counts {
        let readers: Vec<_> = members.iter().filter(|(_, member)| member.topics.contains(topic)).collect();
        let Ok(number) = i32::try_from(readers.len()) else { continue };
        let mut next = 0;
        for (index, (reader, _)) in (0..).zip(readers) {
            let share = count / number + i32::from(index < count % number);
            for partition in next..next + share {
                give(&mut assignments, reader, TopicPartition::new(Arc::clone(topic), partition));
            }
            next += share;
        }
    }
    assignments
}

fn round_robin(members: &Members, counts: &BTreeMap<Arc<str>, i32>) -> Assignments {
    let mut assignments = nobody_has_any(members);
    let mut turn = members.iter().cycle();
    for partition in all(counts) {
        let reads = |member: &MemberSubscription| member.topics.contains(&partition.topic);
        if !members.values().any(reads) {
            continue;
        }
        if let Some((reader, _)) = turn.find(|(_, member)| reads(member)) {
            give(&mut assignments, reader, partition);
        }
    }
    assignments
}

fn all(counts: &BTreeMap<Arc<str>, i32>) -> impl Iterator<Item = TopicPartition> + '_ {
    counts.iter().flat_map(|(topic, count)| {
        (0..*count).map(move |partition| TopicPartition::new(Arc::clone(topic), partition))
    })
}

/// Everybody keeps what is theirs as far as that is even; what moves from one member to another is given to nobody
/// in this round: its owner lets go of it first, and joins again.
fn cooperative_sticky(members: &Members, counts: &BTreeMap<Arc<str>, i32>) -> Assignments {
    let owners = owners(members, counts);
    let mut assignments = nobody_has_any(members);
    for (partition, owner) in &owners {
        give(&mut assignments, owner, partition.clone());
    }
    for partition in all(counts).filter(|partition| !owners.contains_key(partition)) {
        let readers = members.iter().filter(|(_, member)| member.topics.contains(&partition.topic));
        if let Some((reader, _)) = readers.min_by_key(|(id, _)| assignments[*id].len()) {
            give(&mut assignments, reader, partition);
        }
    }
    even_out(members, &mut assignments);
    for (reader, partitions) in &mut assignments {
        partitions.retain(|partition| owners.get(partition).is_none_or(|owner| owner == reader));
    }
    assignments
}

/// Who owns what there is and what they still subscribe to. Of two who claim a partition the later generation has
/// it, and neither of two in the same.
fn owners(members: &Members, counts: &BTreeMap<Arc<str>, i32>) -> BTreeMap<TopicPartition, Arc<str>> {
    let mut claims: BTreeMap<&TopicPartition, (i32, Option<&Arc<str>>)> = BTreeMap::new();
    for (id, member) in members {
        let exists = |one: &&TopicPartition| {
            member.topics.contains(&one.topic)
                && counts.get(&one.topic).is_some_and(|count| one.partition < *count)
        };
        for partition in member.owned.iter().filter(exists) {
            let claim = claims.entry(partition).or_insert((member.generation, Some(id)));
            if claim.0 < member.generation {
                *claim = (member.generation, Some(id));
            } else if claim.0 == member.generation && claim.1 != Some(id) {
                claim.1 = None;
            }
        }
    }
    claims
        .into_iter()
        .filter_map(|(partition, (_, owner))| Some((partition.clone(), Arc::clone(owner?))))
        .collect()
}

/// Moves partitions from who has more to who has less, while one of them is ahead by more than one.
fn even_out(members: &Members, assignments: &mut Assignments) {
    loop {
        let mut by_load: Vec<Arc<str>> = assignments.keys().cloned().collect();
        by_load.sort_by_key(|member| std::cmp::Reverse(assignments[member].len()));
        let found = by_load.iter().find_map(|rich| {
            let poor = by_load
                .iter()
                .rev()
                .take_while(|poor| assignments[*poor].len() + 1 < assignments[rich].len());
            poor.filter_map(|poor| {
                let topics = &members.get(poor)?.topics;
                let moved = assignments[rich].iter().rev().find(|one| topics.contains(&one.topic))?;
                Some((Arc::clone(rich), Arc::clone(poor), moved.clone()))
            })
            .next()
        });
        let Some((rich, poor, moved)) = found else { return };
        assignments.entry(rich).or_default().remove(&moved);
        give(assignments, &poor, moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(topics: &[(&str, i32)]) -> BTreeMap<Arc<str>, i32> {
        topics.iter().map(|(topic, count)| (Arc::from(*topic), *count)).collect()
    }

    fn owned(partitions: &[(&str, i32)]) -> BTreeSet<TopicPartition> {
        partitions.iter().map(|(topic, partition)| TopicPartition::new(*topic, *partition)).collect()
    }

    fn member(topics: &[&str], has: &[(&str, i32)], generation: i32) -> MemberSubscription {
        let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
        MemberSubscription { topics, owned: owned(has), generation }
    }

    fn members(members: &[(&str, MemberSubscription)]) -> Members {
        members.iter().map(|(id, member)| (Arc::from(*id), member.clone())).collect()
    }

    fn shown(assignments: &Assignments) -> String {
        let one = |(member, partitions): (&Arc<str>, &BTreeSet<TopicPartition>)| {
            let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            format!("{member}: {}", partitions.join(" "))
        };
        assignments.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn ranges_begin_with_the_first_member_of_each_topic() {
        let both = member(&["t", "u"], &[], -1);
        let two = members(&[("a", both.clone()), ("b", both)]);
        let found = assign(Assignor::Range, &two, &counts(&[("t", 3), ("u", 3)]));
        assert_eq!(shown(&found), "a: t-0 t-1 u-0 u-1; b: t-2 u-2");
    }

    #[test]
    fn turns_pass_over_those_who_do_not_read_a_topic() {
        let three = members(&[
            ("a", member(&["t"], &[], -1)),
            ("b", member(&["t", "u"], &[], -1)),
            ("c", member(&["t", "u"], &[], -1)),
        ]);
        let found = assign(Assignor::RoundRobin, &three, &counts(&[("t", 2), ("u", 3), ("v", 1)]));
        assert_eq!(shown(&found), "a: t-0; b: t-1 u-1; c: u-0 u-2");
    }

    #[test]
    fn what_moves_is_nobodys_for_a_round() {
        let two = members(&[
            ("a", member(&["t"], &[("t", 0), ("t", 1), ("t", 2), ("t", 3)], 1)),
            ("b", member(&["t"], &[], -1)),
        ]);
        let found = assign(Assignor::CooperativeSticky, &two, &counts(&[("t", 4)]));
        assert_eq!(shown(&found), "a: t-0 t-1; b: ");
        let two = members(&[("a", member(&["t"], &[("t", 0), ("t", 1)], 2)), ("b", member(&["t"], &[], 2))]);
        let found = assign(Assignor::CooperativeSticky, &two, &counts(&[("t", 4)]));
        assert_eq!(shown(&found), "a: t-0 t-1; b: t-2 t-3");
    }

    #[test]
    fn the_later_generation_owns_and_of_two_alike_neither() {
        let three = members(&[
            ("a", member(&["t"], &[("t", 0)], 4)),
            ("b", member(&["t"], &[("t", 0), ("t", 1)], 5)),
            ("c", member(&["t"], &[("t", 1), ("t", 9)], 5)),
        ]);
        let found = owners(&three, &counts(&[("t", 3)]));
        assert_eq!(found, BTreeMap::from([(TopicPartition::new("t", 0), Arc::from("b"))]));
    }
}
