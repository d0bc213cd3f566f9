//! As even as the subscriptions allow, moving only what must.
//!
//! Topics with the same readers are one pool. Everyone keeps what it had and may still read; what nobody has goes to
//! whoever has least; then, as long as a reader of a pool has two partitions more than another one of it, one moves.
//! Each move makes the shares more even, so that it ends.

use std::collections::{BTreeMap, BTreeSet};

use millrace_base::TopicId;

use super::{Assignment, Shapes, Subscriber};

type Partition = (TopicId, i32);

/// Topics with the same readers.
struct Pool {
    readers: Vec<usize>,
    /// What each of the readers has of it, in their order.
    held: Vec<Vec<Partition>>,
    free: Vec<Partition>,
}

pub(super) fn assign(members: &[Subscriber<'_>], shapes: &Shapes) -> Vec<Assignment> {
    let (mut pools, mut shares) = keep(members, shapes);
    // Those with few readers first: the others have more of a choice.
    pools.sort_by_key(|pool| pool.readers.len());
    for pool in &mut pools {
        pool.hand_out(&mut shares);
    }
    // All of them, and again until none has moved anything.
    while pools.iter_mut().filter_map(|pool| pool.level(&mut shares).then_some(())).count() > 0 {}
    let mut assigned = vec![Assignment::new(); members.len()];
    for pool in pools {
        for (at, held) in pool.readers.into_iter().zip(pool.held) {
            for (topic, partition) in held {
                assigned[at].entry(topic).or_default().push(partition);
            }
        }
    }
    for partitions in assigned.iter_mut().flat_map(|assignment| assignment.values_mut()) {
        partitions.sort_unstable();
    }
    assigned
}

/// The pools with what everyone keeps, and how much each member has.
fn keep(members: &[Subscriber<'_>], shapes: &Shapes) -> (Vec<Pool>, Vec<usize>) {
    let mut alike: BTreeMap<&[TopicId], Vec<usize>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        alike.entry(&member.topics).or_default().push(at);
    }
    let mut kinds_of: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (kind, topics) in alike.keys().enumerate() {
        for topic in *topics {
            kinds_of.entry(*topic).or_default().push(kind);
        }
    }
    let mut topics_of: BTreeMap<Vec<usize>, Vec<TopicId>> = BTreeMap::new();
    for (topic, kinds) in kinds_of {
        topics_of.entry(kinds).or_default().push(topic);
    }
    let readers_of: Vec<Vec<usize>> = alike.into_values().collect();
    let mut shares = vec![0; members.len()];
    let pools = topics_of.into_iter().map(|(kinds, topics)| {
        let mut readers: Vec<usize> =
            kinds.iter().flat_map(|kind| readers_of[*kind].iter().copied()).collect();
        readers.sort_unstable();
        let held = vec![Vec::new(); readers.len()];
        let mut pool = Pool { readers, held, free: Vec::new() };
        for topic in topics {
            pool.keep_of(topic, members, shapes.get(&topic).copied().unwrap_or_default(), &mut shares);
        }
        pool
    });
    let pools = pools.collect();
    (pools, shares)
}

impl Pool {
    fn keep_of(&mut self, topic: TopicId, members: &[Subscriber<'_>], count: i32, shares: &mut [usize]) {
        let mut is_free = vec![true; usize::try_from(count).unwrap_or_default()];
        for (place, at) in self.readers.iter().enumerate() {
            for partition in members[*at].owned.get(&topic).into_iter().flatten() {
                let free = usize::try_from(*partition).ok().and_then(|partition| is_free.get_mut(partition));
                if let Some(free) = free.filter(|free| **free) {
                    *free = false;
                    self.held[place].push((topic, *partition));
                    shares[*at] += 1;
                }
            }
        }
        let free = (0..count).zip(is_free).filter(|(_, is_free)| *is_free);
        self.free.extend(free.map(|(partition, _)| (topic, partition)));
    }

    /// What nobody has goes to whoever has least.
    fn hand_out(&mut self, shares: &mut [usize]) {
        let mut by_share: BTreeSet<(usize, usize)> =
            self.readers.iter().enumerate().map(|(place, at)| (shares[*at], place)).collect();
        for partition in std::mem::take(&mut self.free) {
            let Some((share, place)) = by_share.pop_first() else { return };
            by_share.insert((share + 1, place));
            shares[self.readers[place]] += 1;
            self.held[place].push(partition);
        }
    }

    /// Moves partitions from those who have most to those who have least; whether any moved.
    fn level(&mut self, shares: &mut [usize]) -> bool {
        let place_of = |(place, at): (usize, &usize)| (shares[*at], place);
        let mut takers: BTreeSet<(usize, usize)> = self.readers.iter().enumerate().map(place_of).collect();
        let mut givers: BTreeSet<(usize, usize)> =
            takers.iter().copied().filter(|(_, place)| !self.held[*place].is_empty()).collect();
        let mut has_moved = false;
        while let (Some((most, giver)), Some((least, taker))) =
            (givers.last().copied(), takers.first().copied())
            && most >= least + 2
            && let Some(partition) = self.held[giver].pop()
        {
            givers.remove(&(most, giver));
            takers.remove(&(most, giver));
            takers.insert((most - 1, giver));
            if !self.held[giver].is_empty() {
                givers.insert((most - 1, giver));
            }
            takers.remove(&(least, taker));
            givers.remove(&(least, taker));
            takers.insert((least + 1, taker));
            givers.insert((least + 1, taker));
            self.held[taker].push(partition);
            shares[self.readers[giver]] -= 1;
            shares[self.readers[taker]] += 1;
            has_moved = true;
        }
        has_moved
    }
}
