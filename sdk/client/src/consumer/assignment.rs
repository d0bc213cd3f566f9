//! What a consumer reads and how far it is: positions, what was fetched ahead, who waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millrace_base::TopicId;
use millrace_protocol::batch::Batch;

use crate::consumer::session::Wanted;
use crate::error::FetchError;

/// A partition by its topic's name.
pub(crate) type Key = (Arc<str>, i32);

/// A partition of one incarnation of a topic, as a fetch names it: a topic that was deleted and made again is
/// another one, and what is asked or answered for the former does not concern it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Source {
    pub(crate) key: Key,
    pub(crate) topic_id: TopicId,
}

#[derive(Debug)]
pub(crate) struct Assigned {
    pub(crate) topic_id: TopicId,
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    /// Where the next fetch goes on.
    pub(crate) fetch_offset: i64,
    /// What the application reads next.
    pub(crate) position: i64,
    pub(crate) high_watermark: Option<i64>,
    pub(crate) paused: bool,
    /// An error stands at the position; nothing is fetched before the next seek.
    pub(crate) halted: bool,
    /// Differs after every seek: what was fetched before is not wanted any more.
    pub(crate) generation: u64,
}

/// One fetched batch, or why there will be none.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) key: Key,
    /// What the application reads after this.
    pub(crate) next: i64,
    pub(crate) content: Result<Batch, FetchError>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) assigned: BTreeMap<Key, Assigned>,
    pub(crate) ahead: VecDeque<Fetched>,
    /// Bytes of batches in `ahead`.
    pub(crate) ahead_bytes: usize,
    next_generation: u64,
    reader: Option<Waker>,
    pub(crate) closed: bool,
}

impl State {
    /// Reads `key` from `offset` on, whatever was before.
    pub(crate) fn start_at(&mut self, key: Key, topic_id: TopicId, offset: i64) {
        self.next_generation += 1;
        let generation = self.next_generation;
        self.drop_ahead(&key);
        let before = self.assigned.remove(&key);
        let assigned = Assigned {
            topic_id,
            leader: before.as_ref().and_then(|before| before.leader),
            leader_epoch: before.as_ref().map_or(-1, |before| before.leader_epoch),
            fetch_offset: offset,
            position: offset,
            high_watermark: before.as_ref().and_then(|before| before.high_watermark),
            paused: before.is_some_and(|before| before.paused),
            halted: false,
            generation,
        };
        self.assigned.insert(key, assigned);
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        self.assigned.remove(key);
        self.drop_ahead(key);
    }

    pub(crate) fn drop_ahead(&mut self, key: &Key) {
        self.ahead.retain(|fetched| fetched.key != *key);
        self.ahead_bytes = self.ahead.iter().map(Fetched::bytes).sum();
    }

    /// What a fetch from `broker` asks for.
    pub(crate) fn wanted_from(&self, broker: i32) -> BTreeMap<Source, Wanted> {
        let readable =
            self.assigned.iter().filter(|(_, one)| one.leader == Some(broker) && !one.paused && !one.halted);
        readable
            .map(|(key, one)| {
                let source = Source { key: key.clone(), topic_id: one.topic_id };
                (source, Wanted { offset: one.fetch_offset, leader_epoch: one.leader_epoch })
            })
            .collect()
    }

    /// Stops reading a partition at `at`: whoever asks is told why until the next seek.
    pub(crate) fn halt(&mut self, key: &Key, at: i64, error: FetchError) {
        let Some(assigned) = self.assigned.get_mut(key) else { return };
        assigned.halted = true;
        (assigned.position, assigned.fetch_offset) = (at, at);
        self.drop_ahead(key);
        self.push(Fetched { key: key.clone(), next: at, content: Err(error) });
    }

    pub(crate) fn push(&mut self, fetched: Fetched) {
        self.ahead_bytes += fetched.bytes();
        self.ahead.push_back(fetched);
    }

    /// Everything up to `next` is fetched of a partition, though there may be no record to show for it.
    pub(crate) fn passed(&mut self, key: &Key, next: i64) {
        if let Some(last) = self.ahead.iter_mut().rev().find(|fetched| fetched.key == *key) {
            last.next = last.next.max(next);
        } else if let Some(assigned) = self.assigned.get_mut(key) {
            assigned.position = assigned.position.max(next);
        }
    }

    /// Tells the application that there is something to read.
    pub(crate) fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// The next batch of a partition that is not paused, with the offset that is wanted first.
    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<(Fetched, i64)>> {
        if self.closed {
            return Poll::Ready(None);
        }
        let assigned = &self.assigned;
        let ready = |fetched: &Fetched| assigned.get(&fetched.key).is_some_and(|one| !one.paused);
        if let Some(index) = self.ahead.iter().position(ready)
            && let Some(fetched) = self.ahead.remove(index)
        {
            self.ahead_bytes -= fetched.bytes();
            let mut first = 0;
            if let Some(one) = self.assigned.get_mut(&fetched.key) {
                first = one.position;
                one.position = fetched.next;
            }
            if fetched.content.is_err() {
                // It stays, behind what there is of other partitions.
                self.ahead.push_back(fetched.clone());
            }
            return Poll::Ready(Some((fetched, first)));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Fetched {
    fn bytes(&self) -> usize {
        self.content.as_ref().map_or(0, |batch| batch.bytes.len())
    }
}
