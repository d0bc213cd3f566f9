//! A map whose clone shares everything, and whose change copies little.
//!
//! The image is replaced with every change; with a hundred thousand topics it must not be copied for each.
//! Keys are spread by a fixed hash over groups of shards. All are copied on write, so a change copies the list
//! of groups, one group's list of shards and one shard's entries; [`ShardedMap::diff`] skips what two maps still
//! share.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_protocol::crc::crc32c;

/// Groups in a map, and shards in a group: a change of a map of n entries copies 128 pointers and about n / 4096
/// entries.
const FANOUT: usize = 64;

type Shard<K, V> = Arc<BTreeMap<K, V>>;
type Group<K, V> = Arc<Vec<Shard<K, V>>>;

#[derive(Clone)]
pub(crate) struct ShardedMap<K, V> {
    groups: Arc<Vec<Group<K, V>>>,
    len: usize,
}

/// A key's bytes, the same for its owned and its borrowed form.
pub(crate) trait ShardKey {
    fn shard_bytes(&self) -> &[u8];
}

impl ShardKey for str {
    fn shard_bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl ShardKey for Arc<str> {
    fn shard_bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl ShardKey for millrace_base::TopicId {
    fn shard_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The group and the shard in it.
fn place_of<Q: ShardKey + ?Sized>(key: &Q) -> (usize, usize) {
    let hash = crc32c(key.shard_bytes()) as usize;
    (hash % FANOUT, hash / FANOUT % FANOUT)
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        // All share one empty shard until they are changed.
        let shard = Shard::default();
        let group = Arc::new(vec![shard; FANOUT]);
        Self { groups: Arc::new(vec![group; FANOUT]), len: 0 }
    }
}

impl<K: Ord + Clone + ShardKey, V: Clone> ShardedMap<K, V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + ShardKey + ?Sized,
    {
        let (group, shard) = place_of(key);
        self.groups[group][shard].get(key)
    }

    /// The shard for a key, not shared with any other map from now on.
    fn shard_mut<Q: ShardKey + ?Sized>(&mut self, key: &Q) -> &mut BTreeMap<K, V> {
        let (group, shard) = place_of(key);
        let group = Arc::make_mut(&mut Arc::make_mut(&mut self.groups)[group]);
        Arc::make_mut(&mut group[shard])
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let shard = self.shard_mut(&key);
        let before = shard.insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ShardKey + ?Sized,
    {
        self.get(key)?;
        let before = self.shard_mut(key).remove(key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// In no order that means anything, but the same for the same keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.groups.iter().flat_map(|group| group.iter()).flat_map(|shard| shard.values())
    }

    /// Calls `changed` with every entry whose key or value (by `same`) is not in `earlier`, and `removed` with
    /// every entry of `earlier` whose key is gone. Work is done only in shards that were copied in between.
    pub(crate) fn diff<'a>(
        &'a self,
        earlier: &'a Self,
        same: impl Fn(&V, &V) -> bool,
        mut changed: impl FnMut(&'a V),
        mut removed: impl FnMut(&'a V),
    ) {
        let groups = self.groups.iter().zip(earlier.groups.iter());
        let shards = groups
            .filter(|(now, before)| !Arc::ptr_eq(now, before))
            .flat_map(|(now, before)| now.iter().zip(before.iter()))
            .filter(|(now, before)| !Arc::ptr_eq(now, before));
        for (now, before) in shards {
            for (key, value) in now.iter() {
                if !before.get(key).is_some_and(|old| same(value, old)) {
                    changed(value);
                }
            }
            for (key, value) in before.iter() {
                if !now.contains_key(key) {
                    removed(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_earlier_clones_alone_and_shares_the_other_shards() {
        let mut map = ShardedMap::<Arc<str>, u32>::default();
        for i in 0..1000 {
            map.insert(i.to_string().into(), i);
        }
        let earlier = map.clone();
        map.insert("7".into(), 700);
        map.remove("8");
        assert_eq!((map.len(), earlier.len()), (999, 1000));
        assert_eq!((map.get("7"), earlier.get("7")), (Some(&700), Some(&7)));
        assert_eq!((map.get("8"), earlier.get("8")), (None, Some(&8)));
        let shards =
            |map: &ShardedMap<_, _>| map.groups.iter().flat_map(|group| group.to_vec()).collect::<Vec<_>>();
        let (now, before) = (shards(&map), shards(&earlier));
        let copied = now.iter().zip(&before).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert!(copied <= 2, "{copied} shards copied");

        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        map.diff(&earlier, |a, b| a == b, |value| changed.push(*value), |value| removed.push(*value));
        assert_eq!((changed, removed), (vec![700], vec![8]));
    }
}
