//! Fetches that wait for a partition to have more to read.
//!
//! A waiting fetch stands in the list of each of its partitions with its position in the request, so that
//! a wake-up re-reads only the partitions that moved. It leaves every list when it is dropped: a consumer
//! that polls an idle partition for hours leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;
use millrace_base::Offset;
use parking_lot::Mutex;

use super::Partition;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// One fetch that waits, and which of its partitions have moved since it last looked.
#[derive(Debug)]
pub(crate) struct WaitingFetch {
    id: u64,
    /// Positions in the request. A set, since partitions may move any number of times before the fetch looks: it
    /// does not while requests before it on its connection wait.
    moved: Mutex<BTreeSet<usize>>,
    waker: AtomicWaker,
}

impl WaitingFetch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            moved: Mutex::default(),
            waker: AtomicWaker::new(),
        })
    }

    pub(crate) fn notify(&self, position: usize) {
        self.moved.lock().insert(position);
        self.waker.wake();
    }

    /// Waits until partitions have moved; their positions in the request, ascending and each once.
    pub(crate) async fn moved(&self) -> Vec<usize> {
        poll_fn(|context| {
            self.waker.register(context.waker());
            let moved = std::mem::take(&mut *self.moved.lock());
            if moved.is_empty() { Poll::Pending } else { Poll::Ready(moved.into_iter().collect()) }
        })
        .await
    }
}

/// The fetches that wait on one partition.
#[derive(Debug, Default)]
pub(crate) struct FetchWaiters {
    waiting: BTreeMap<u64, (Arc<WaitingFetch>, usize)>,
}

impl FetchWaiters {
    pub(crate) fn add(&mut self, fetch: &Arc<WaitingFetch>, position: usize) {
        self.waiting.insert(fetch.id, (fetch.clone(), position));
    }

    pub(crate) fn remove(&mut self, fetch: &WaitingFetch) {
        self.waiting.remove(&fetch.id);
    }

    pub(crate) fn notify_all(&self) {
        for (fetch, position) in self.waiting.values() {
            fetch.notify(*position);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// A fetch that stands in its partitions' lists, and leaves them when it is dropped.
pub(crate) struct Registered {
    pub(crate) fetch: Arc<WaitingFetch>,
    partitions: Vec<Arc<Partition>>,
}

impl Registered {
    /// `partitions` come with their position in the request and the high watermark that was seen.
    pub(crate) fn new(partitions: impl Iterator<Item = (usize, Arc<Partition>, Offset)>) -> Self {
        let fetch = WaitingFetch::new();
        let register = |(position, partition, seen): (usize, Arc<Partition>, Offset)| {
            partition.notify_beyond(seen, &fetch, position);
            partition
        };
        let partitions = partitions.map(register).collect();
        Self { fetch, partitions }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.stop_notifying(&self.fetch);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_fetch_learns_which_partitions_moved() {
        let (mut first, mut second) = (FetchWaiters::default(), FetchWaiters::default());
        let fetch = WaitingFetch::new();
        first.add(&fetch, 0);
        second.add(&fetch, 1);
        assert!(fetch.moved().now_or_never().is_none());
        second.notify_all();
        first.notify_all();
        second.notify_all();
        assert_eq!(fetch.moved().now_or_never(), Some(vec![0, 1]));
        first.remove(&fetch);
        assert_eq!(first.len(), 0);
    }

    #[test]
    fn partitions_that_move_in_turn_are_remembered_once_each() {
        let fetch = WaitingFetch::new();
        for _ in 0..1000 {
            fetch.notify(0);
            fetch.notify(1);
        }
        assert_eq!(fetch.moved.lock().len(), 2);
        assert_eq!(fetch.moved().now_or_never(), Some(vec![0, 1]));
        assert!(fetch.moved.lock().is_empty());
    }
}
