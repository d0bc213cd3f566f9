//! Produce requests that wait for a partition's high watermark or durable end, in the order of their offsets.
//!
//! Appends to a partition get ascending offsets but may be queued slightly out of order by threads racing
//! to the queue, so an insert looks for its place from the back: usually the first one it looks at.
//! A request that spans partitions is one [`PendingAcks`]; only the last partition to finish wakes it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, AtomicUsize, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;
use millrace_base::Offset;

/// The outcome of a part that has none yet.
const WAITING: i16 = i16::MIN;

/// What one produce request still waits for: a part per partition, each finishing with an error code
/// (0: acknowledged).
#[derive(Debug)]
pub(crate) struct PendingAcks {
    waiting: AtomicUsize,
    outcomes: Box<[AtomicI16]>,
    waker: AtomicWaker,
}

impl PendingAcks {
    pub(crate) fn new(parts: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: AtomicUsize::new(parts),
            outcomes: (0..parts).map(|_| AtomicI16::new(WAITING)).collect(),
            waker: AtomicWaker::new(),
        })
    }

    /// Finishes one part; the first outcome stands.
    pub(super) fn complete(&self, part: usize, code: i16) {
        let first = self.outcomes[part].compare_exchange(WAITING, code, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() && self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake();
        }
    }

    /// Completes when every part has.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            if self.is_complete() {
                return Poll::Ready(());
            }
            self.waker.register(context.waker());
            if self.is_complete() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn is_complete(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// The error code of a part, `None` while it waits.
    pub(crate) fn outcome(&self, part: usize) -> Option<i16> {
        Some(self.outcomes[part].load(Ordering::Acquire)).filter(|code| *code != WAITING)
    }
}

/// One part of a request: done once what it waits for has reached `end`.
#[derive(Debug)]
struct Waiting {
    end: Offset,
    part: usize,
    acks: Arc<PendingAcks>,
}

/// The requests that wait on one partition.
#[derive(Debug, Default)]
pub(crate) struct AckQueue {
    waiting: VecDeque<Waiting>,
}

impl AckQueue {
    pub(crate) fn push(&mut self, end: Offset, acks: Arc<PendingAcks>, part: usize) {
        let later = self.waiting.iter().rev().take_while(|other| other.end > end).count();
        self.waiting.insert(self.waiting.len() - later, Waiting { end, part, acks });
    }

    /// Acknowledges everything below the end that was reached.
    pub(crate) fn on_end(&mut self, reached: Offset) {
        while let Some(done) = self.waiting.pop_front_if(|first| first.end <= reached) {
            done.acks.complete(done.part, 0);
        }
    }

    /// Fails everything that waits, because the partition is no longer served here.
    pub(crate) fn fail_all(&mut self, code: i16) {
        for waiting in self.waiting.drain(..) {
            waiting.acks.complete(waiting.part, code);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_request_completes_with_its_last_partition() {
        let (mut first, mut second) = (AckQueue::default(), AckQueue::default());
        let acks = PendingAcks::new(2);
        first.push(10, acks.clone(), 0);
        second.push(3, acks.clone(), 1);
        first.on_end(10);
        assert_eq!((acks.outcome(0), acks.outcome(1)), (Some(0), None));
        assert!(acks.wait().now_or_never().is_none());
        second.on_end(2);
        assert!(acks.wait().now_or_never().is_none(), "the watermark has not reached it");
        second.on_end(5);
        assert!(acks.wait().now_or_never().is_some());
    }

    #[test]
    fn requests_that_arrive_out_of_order_are_answered_in_order_of_offset() {
        let mut queue = AckQueue::default();
        let acks = PendingAcks::new(3);
        for (part, end) in [5, 15, 10].into_iter().enumerate() {
            queue.push(end, acks.clone(), part);
        }
        queue.on_end(10);
        assert_eq!([0, 1, 2].map(|part| acks.outcome(part)), [Some(0), None, Some(0)]);
    }

    #[test]
    fn a_partition_that_goes_away_fails_what_waits() {
        let mut queue = AckQueue::default();
        let acks = PendingAcks::new(1);
        queue.push(1, acks.clone(), 0);
        queue.fail_all(6);
        assert_eq!(acks.outcome(0), Some(6));
        queue.on_end(1);
        assert_eq!(acks.outcome(0), Some(6), "the first outcome stands");
    }
}
