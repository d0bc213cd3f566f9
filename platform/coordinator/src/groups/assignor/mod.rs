//! The assignors of the server's: which member of a group reads which partitions. Pure, and the same for the same input.
//!
//! Every partition of a topic goes to exactly one of the members that are subscribed to it; a topic without subscribers,
//! or a subscription without a topic, goes to nobody.

mod range;
mod uniform;

use std::collections::BTreeMap;

use millrace_base::TopicId;

/// Partitions by their topics, each list sorted and never empty.
pub type Assignment = BTreeMap<TopicId, Vec<i32>>;

/// The topics that there are, and how many partitions each has.
pub(crate) type Shapes = BTreeMap<TopicId, i32>;

/// A member as an assignor sees it.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber<'m> {
    pub id: &'m str,
    pub instance: Option<&'m str>,
    /// Sorted, and all of them in the shapes.
    pub topics: Vec<TopicId>,
    /// What it was to read so far.
    pub owned: &'m Assignment,
}

/// What assigns, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Assignor {
    /// Evenly over all topics, moving only what must.
    Uniform,
    /// A range of each topic, the same one of topics alike, so that they can be joined.
    Range,
}

impl Assignor {
    /// The one that a group has whose members ask for none, first.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each member is to read, in the order of `members`.
    pub fn assign(self, members: &[Subscriber<'_>], shapes: &Shapes) -> Vec<Assignment> {
        match self {
            Self::Uniform => uniform::assign(members, shapes),
            Self::Range => range::assign(members, shapes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn topic(number: usize) -> TopicId {
        TopicId(Uuid::from_u128(number as u128 + 1))
    }

    /// Which topics each member reads, and how many partitions each topic has.
    fn group() -> impl Strategy<Value = (Vec<Vec<bool>>, Vec<i32>)> {
        (1..5usize).prop_flat_map(|topics| {
            let subscriptions = prop::collection::vec(prop::collection::vec(any::<bool>(), topics), 1..7);
            (subscriptions, prop::collection::vec(0..9i32, topics))
        })
    }

    fn subscribers<'m>(
        ids: &'m [String],
        subscriptions: &[Vec<bool>],
        owned: &'m [Assignment],
    ) -> Vec<Subscriber<'m>> {
        let topics = |wanted: &Vec<bool>| (0..wanted.len()).filter(|at| wanted[*at]).map(topic).collect();
        let members = ids.iter().zip(subscriptions).zip(owned);
        members
            .map(|((id, wanted), owned)| Subscriber { id, instance: None, topics: topics(wanted), owned })
            .collect()
    }

    fn size(assignment: &Assignment) -> usize {
        assignment.values().map(Vec::len).sum()
    }

    proptest! {
        #[test]
        fn each_partition_has_one_reader_who_is_subscribed(
            (subscriptions, partitions) in group(),
            before in prop::collection::vec(any::<bool>(), 7),
        ) {
            let ids: Vec<String> = (0..subscriptions.len()).map(|at| format!("m{at}")).collect();
            let shapes: Shapes = partitions.iter().enumerate().map(|(at, count)| (topic(at), *count)).collect();
            let nothing = vec![Assignment::new(); ids.len()];
            for assignor in Assignor::ALL {
                let first = assignor.assign(&subscribers(&ids, &subscriptions, &nothing), &shapes);
                // Some have left, and what they had is free.
                let owned: Vec<Assignment> = first
                    .iter()
                    .zip(&before)
                    .map(|(had, stays)| if *stays { had.clone() } else { Assignment::new() })
                    .collect();
                for assigned in [&first, &assignor.assign(&subscribers(&ids, &subscriptions, &owned), &shapes)] {
                    let mut read = Vec::new();
                    for (assignment, wanted) in assigned.iter().zip(&subscriptions) {
                        for (id, list) in assignment {
                            prop_assert!(!list.is_empty() && list.is_sorted());
                            prop_assert!((0..wanted.len()).any(|at| wanted[at] && topic(at) == *id));
                            read.extend(list.iter().map(|partition| (*id, *partition)));
                        }
                    }
                    read.sort_unstable();
                    let is_read = |at: &usize| subscriptions.iter().any(|wanted| wanted[*at]);
                    let all = (0..partitions.len()).filter(is_read);
                    let all = all.flat_map(|at| (0..partitions[at]).map(move |partition| (topic(at), partition)));
                    prop_assert_eq!(read, all.collect::<Vec<_>>());
                }
            }
        }

        #[test]
        fn alike_members_have_alike_shares_and_only_what_must_move_moves(
            members in 1..9usize,
            joined in 0..4usize,
            left in 0..4usize,
            partitions in prop::collection::vec(0..20i32, 1..4),
        ) {
            let shapes: Shapes = partitions.iter().enumerate().map(|(at, count)| (topic(at), *count)).collect();
            let all = vec![vec![true; partitions.len()]; members + joined];
            let ids: Vec<String> = (0..members + joined).map(|at| format!("m{at}")).collect();
            let nothing = vec![Assignment::new(); members];
            let mut owned = Assignor::Uniform.assign(&subscribers(&ids[..members], &all, &nothing), &shapes);
            owned.resize(members + joined, Assignment::new());
            let left = left.min(members + joined - 1);
            let (ids, owned) = (&ids[left..], &owned[left..]);
            let assigned = Assignor::Uniform.assign(&subscribers(ids, &all, owned), &shapes);
            let sizes: Vec<usize> = assigned.iter().map(size).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            prop_assert!(most - least <= 1);
            // Whoever had no more than its share has lost nothing, and whoever had more has the largest share.
            for (before, after) in owned.iter().zip(&assigned) {
                let kept = before.iter().map(|(id, list)| {
                    list.iter().filter(|partition| after.get(id).is_some_and(|now| now.contains(partition))).count()
                });
                prop_assert!(kept.sum::<usize>() >= size(before).min(*least));
                prop_assert!(size(before) < size(after) || size(before) == kept_of(before, after)
                    || size(after) == kept_of(before, after));
            }
        }
    }

    fn kept_of(before: &Assignment, after: &Assignment) -> usize {
        let kept = before.iter().map(|(id, list)| {
            list.iter().filter(|partition| after.get(id).is_some_and(|now| now.contains(partition))).count()
        });
        kept.sum()
    }

    #[test]
    fn a_topic_that_grows_moves_nothing() {
        let ids: Vec<String> = (0..3).map(|at| format!("m{at}")).collect();
        let all = vec![vec![true]; 3];
        let nothing = vec![Assignment::new(); 3];
        let shapes = |count| Shapes::from([(topic(0), count)]);
        let first = Assignor::Uniform.assign(&subscribers(&ids, &all, &nothing), &shapes(6));
        assert_eq!(first.iter().map(size).collect::<Vec<_>>(), [2, 2, 2]);
        let grown = Assignor::Uniform.assign(&subscribers(&ids, &all, &first), &shapes(9));
        for (before, after) in first.iter().zip(&grown) {
            assert_eq!((size(after), kept_of(before, after)), (3, 2));
        }
    }

    #[test]
    fn ranges_are_kafkas() {
        let ids: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let nothing = vec![Assignment::new(); 3];
        let shapes = Shapes::from([(topic(0), 7), (topic(1), 2)]);
        let mut members = subscribers(&ids, &vec![vec![true, true]; 3], &nothing);
        let assigned = Assignor::Range.assign(&members, &shapes);
        let expected = [(vec![0, 1, 2], vec![0]), (vec![3, 4], vec![1]), (vec![5, 6], vec![])];
        for (assignment, (first, second)) in assigned.iter().zip(expected.clone()) {
            assert_eq!(assignment.get(&topic(0)), Some(&first));
            assert_eq!(assignment.get(&topic(1)).cloned().unwrap_or_default(), second);
        }
        // Static members come first, in the order of their names, whatever their ids.
        members[2].instance = Some("z");
        let assigned = Assignor::Range.assign(&members, &shapes);
        assert_eq!(assigned[2].get(&topic(0)), Some(&vec![0, 1, 2]));
        assert_eq!(assigned[0].get(&topic(0)), Some(&vec![3, 4]));
    }

    #[test]
    fn members_who_read_different_topics_have_what_they_can() {
        // One reads both, one only the second.
        let ids: Vec<String> = ["a", "b"].map(String::from).to_vec();
        let nothing = vec![Assignment::new(); 2];
        let shapes = Shapes::from([(topic(0), 4), (topic(1), 4)]);
        let members = subscribers(&ids, &[vec![true, true], vec![false, true]], &nothing);
        let assigned = Assignor::Uniform.assign(&members, &shapes);
        assert_eq!(assigned[0], Assignment::from([(topic(0), vec![0, 1, 2, 3])]));
        assert_eq!(assigned[1], Assignment::from([(topic(1), vec![0, 1, 2, 3])]));
    }
}
