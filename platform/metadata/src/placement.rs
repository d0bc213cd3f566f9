//! Which brokers hold a new partition: Kafka's rack-aware round robin (its `AdminUtils`).
//!
//! Leaders go round over the brokers, racks alternating, from a random start; each partition's followers
//! start at a distance that grows with every round, so that a broker's followers are spread over all others.
//! A rack gets a second replica of a partition only when every rack has one. Brokers that name no rack count
//! as one rack of their own.

use std::collections::{BTreeMap, BTreeSet};

use millrace_base::BrokerId;

use crate::command::PartitionAssignment;
use crate::image::Image;

/// A broker that can be given replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub id: BrokerId,
    pub rack: Option<&'a str>,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number of the first new partition: 0 for a new topic.
    pub first_partition: i32,
    pub count: i32,
    pub replication_factor: i16,
    /// A random number; the same one gives the same placement.
    pub seed: u64,
}

/// Replicas that cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error("replication factor {factor} is refused: at least 1 is needed")]
    InvalidFactor { factor: i16 },
    #[error("replication factor {factor} needs as many brokers, {brokers} are registered")]
    TooFewBrokers { factor: i16, brokers: usize },
}

/// Places partitions on the registered brokers.
pub fn place_in(image: &Image, request: Request) -> Result<Vec<PartitionAssignment>, PlacementError> {
    let brokers = image.brokers().values().map(|broker| &broker.registration);
    let candidates: Vec<_> =
        brokers.map(|broker| Candidate { id: broker.id, rack: broker.rack.as_deref() }).collect();
    place(&candidates, request)
}

/// Places partitions on `candidates`, each of which is named once.
pub fn place(
    candidates: &[Candidate<'_>],
    request: Request,
) -> Result<Vec<PartitionAssignment>, PlacementError> {
    let factor = request.replication_factor;
    let replicas = usize::try_from(factor).unwrap_or(0);
    if replicas == 0 {
        return Err(PlacementError::InvalidFactor { factor });
    }
    let brokers = candidates.len();
    if replicas > brokers {
        return Err(PlacementError::TooFewBrokers { factor, brokers });
    }
    let racks = candidates.iter().map(|broker| broker.rack).collect::<BTreeSet<_>>().len();
    let alternating = alternate_racks(candidates);
    let start = (request.seed % brokers as u64) as usize;
    let mut shift = (request.seed / brokers as u64 % brokers as u64) as usize;

    let first = usize::try_from(request.first_partition).unwrap_or(0);
    let count = usize::try_from(request.count).unwrap_or(0);
    let mut assignments = Vec::with_capacity(count);
    for partition in first..first + count {
        if partition > 0 && partition.is_multiple_of(brokers) {
            shift += 1;
        }
        let leader = (partition + start) % brokers;
        assignments.push(choose(&alternating, racks, replicas, leader, shift));
    }
    Ok(assignments)
}

/// The replicas of one partition, from its leader's position on.
fn choose(
    alternating: &[Candidate<'_>],
    racks: usize,
    replicas: usize,
    leader: usize,
    shift: usize,
) -> PartitionAssignment {
    let brokers = alternating.len();
    let mut chosen = vec![alternating[leader].id];
    let mut racks_used = BTreeSet::from([alternating[leader].rack]);
    let mut step = 0;
    // Ends: each turn of `brokers - 1` steps meets every other broker, and a rack or, when all racks have one,
    // a broker without a replica is among them.
    while chosen.len() < replicas {
        let distance = 1 + (shift * racks + step) % (brokers - 1);
        let broker = alternating[(leader + distance) % brokers];
        let rack_is_free = !racks_used.contains(&broker.rack) || racks_used.len() == racks;
        if rack_is_free && !chosen.contains(&broker.id) {
            chosen.push(broker.id);
            racks_used.insert(broker.rack);
        }
        step += 1;
    }
    PartitionAssignment { replicas: chosen }
}

/// One broker of each rack in turn, until all are named.
fn alternate_racks<'a>(candidates: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let mut by_rack = BTreeMap::<_, Vec<_>>::new();
    for broker in candidates {
        by_rack.entry(broker.rack).or_default().push(*broker);
    }
    for rack in by_rack.values_mut() {
        rack.sort_by_key(|broker| broker.id);
    }
    let longest = by_rack.values().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|i| by_rack.values().filter_map(move |rack| rack.get(i).copied())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn placed(racks: &[Option<&str>], request: Request) -> Vec<Vec<i32>> {
        let brokers: Vec<_> =
            (1..).zip(racks).map(|(id, rack)| Candidate { id: BrokerId(id), rack: *rack }).collect();
        let assignments = place(&brokers, request).unwrap();
        assignments.into_iter().map(|a| a.replicas.into_iter().map(|id| id.0).collect()).collect()
    }

    #[test]
    fn one_broker_gets_everything() {
        let request = Request { first_partition: 0, count: 3, replication_factor: 1, seed: 77 };
        assert_eq!(placed(&[None], request), [[1], [1], [1]]);
    }

    #[test]
    fn leaders_go_round_and_followers_shift_with_every_round() {
        let request = Request { first_partition: 0, count: 6, replication_factor: 2, seed: 0 };
        assert_eq!(placed(&[None; 3], request), [[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2]]);
    }

    #[test]
    fn added_partitions_go_on_where_the_others_ended() {
        let request = Request { first_partition: 2, count: 2, replication_factor: 1, seed: 0 };
        assert_eq!(placed(&[None; 3], request), [[3], [1]]);
    }

    #[test]
    fn replicas_are_spread_over_racks() {
        // Racks a: 1, 2; b: 3, 4; c: 5, 6. Alternating: 1 3 5 2 4 6.
        let racks = [Some("a"), Some("a"), Some("b"), Some("b"), Some("c"), Some("c")];
        let request = Request { first_partition: 0, count: 6, replication_factor: 3, seed: 0 };
        for replicas in placed(&racks, request) {
            let used: BTreeSet<_> = replicas.iter().map(|id| (id - 1) / 2).collect();
            assert_eq!(used.len(), 3, "{replicas:?}");
        }
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        let brokers = [Candidate { id: BrokerId(1), rack: None }];
        let request =
            |replication_factor| Request { first_partition: 0, count: 1, replication_factor, seed: 0 };
        assert_eq!(place(&brokers, request(0)), Err(PlacementError::InvalidFactor { factor: 0 }));
        let refused = Err(PlacementError::TooFewBrokers { factor: 2, brokers: 1 });
        assert_eq!(place(&brokers, request(2)), refused);
    }

    proptest! {
        #[test]
        fn placement_is_even_and_uses_as_many_racks_as_it_can(
            racks in prop::collection::vec(prop::option::of("[abc]"), 1..10),
            factor in 1_i16..5,
            rounds in 1..4,
            seed: u64,
        ) {
            prop_assume!(racks.len() >= factor as usize);
            let racks: Vec<_> = racks.iter().map(Option::as_deref).collect();
            let count = racks.len() as i32 * rounds;
            let request = Request { first_partition: 0, count, replication_factor: factor, seed };
            let distinct_racks = racks.iter().collect::<BTreeSet<_>>().len();
            let mut led = BTreeMap::<i32, i32>::new();
            for replicas in placed(&racks, request) {
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor as usize);
                let used: BTreeSet<_> = replicas.iter().map(|id| racks[*id as usize - 1]).collect();
                prop_assert_eq!(used.len(), distinct_racks.min(factor as usize));
                *led.entry(replicas[0]).or_default() += 1;
            }
            prop_assert!(led.values().all(|n| *n == rounds) && led.len() == racks.len());
        }
    }
}
