//! The queue between the two halves of a pipeline: replies in the order of their requests, bounded by count
//! and bytes, and what each half is waiting for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_base::Payload;
use millrace_base::limits::MIB;
use tokio::time::Instant;

use crate::idle::Usage;
use crate::limits::TransportLimits;
use crate::outgoing::Outgoing;
use crate::pace::Pace;
use crate::replies::{ReplyMemory, in_memory};
use crate::service::{CloseReason, TransportKind};

/// Pieces and bytes that one round of writing takes from the queue: a vectored write's worth.
const TAKE_PIECES: usize = 64;
const TAKE_BYTES: usize = MIB;

enum Queued {
    Ready(Payload),
    Later { reply: BoxFuture<'static, Payload>, request_bytes: usize },
}

/// What [`Flow::poll_take`] found.
pub(crate) enum Take {
    Taken(Taken),
    Finished,
}

/// Replies that were taken together, and their bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Taken {
    pub(crate) replies: usize,
    bytes: usize,
    in_memory: usize,
}

/// See the module.
pub(crate) struct Flow {
    limits: TransportLimits,
    transport: TransportKind,
    usage: Arc<Usage>,
    reply_memory: ReplyMemory,
    /// What is counted there.
    in_memory: usize,
    /// Whether `usage` counts this pipeline.
    busy: bool,
    queue: VecDeque<Queued>,
    /// Replies queued or being written, and the bytes held for them.
    in_flight: usize,
    in_flight_bytes: usize,
    /// One half has made room or work for the other since that was last polled.
    another_round: bool,
    reader_waits: bool,
    waiting: Option<Waiting>,
    writing: Option<Since>,
    /// The last time a byte or a reply went either way.
    active_at: Instant,
    /// Reading is over; what is still owed has this long.
    ended: Option<Option<Instant>>,
}

/// What the reading half waits for.
pub(crate) enum Waiting {
    /// The peer's next request.
    Request,
    /// The rest of a frame.
    Frame(Since),
    /// Room in the budget of receive buffers, which is not the peer's fault.
    Memory,
}

/// A wait for the peer, which must keep a pace.
#[derive(Clone, Copy)]
pub(crate) struct Since {
    pub(crate) start: Instant,
    pub(crate) pace: Pace,
}

/// When a pipeline must end unless something happens, and why.
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) reason: CloseReason,
    /// It comes sooner when memory gets short, which nobody tells.
    pub(crate) watches_memory: bool,
}

impl Flow {
    pub(crate) fn new(
        limits: &TransportLimits,
        transport: TransportKind,
        usage: Arc<Usage>,
        reply_memory: ReplyMemory,
        now: Instant,
    ) -> Self {
        Self {
            limits: limits.clone(),
            transport,
            usage,
            reply_memory,
            in_memory: 0,
            busy: false,
            queue: VecDeque::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            another_round: false,
            reader_waits: false,
            waiting: None,
            writing: None,
            active_at: now,
            ended: None,
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight == 0
            || (self.in_flight < self.limits.in_flight_max
                && self.in_flight_bytes < self.limits.in_flight_bytes_max
                && !self.reply_memory.is_short())
    }

    /// Ready when another request may start.
    pub(crate) fn poll_room(&mut self) -> Poll<()> {
        self.reader_waits = !self.has_room();
        if self.reader_waits { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Ready after the writing half had a turn.
    pub(crate) const fn poll_yield_to_writer(&mut self, yielded: &mut bool) -> Poll<()> {
        if *yielded {
            return Poll::Ready(());
        }
        *yielded = true;
        self.another_round = true;
        Poll::Pending
    }

    /// Whether both halves should be polled again at once.
    pub(crate) fn take_another_round(&mut self) -> bool {
        std::mem::take(&mut self.another_round)
    }

    pub(crate) fn push_ready(&mut self, payload: Payload) {
        self.in_flight += 1;
        self.in_flight_bytes += payload.len();
        self.hold(in_memory(&payload));
        self.queue.push_back(Queued::Ready(payload));
    }

    fn hold(&mut self, bytes: usize) {
        self.in_memory += bytes;
        self.reply_memory.add(bytes);
    }

    pub(crate) fn push_later(&mut self, reply: BoxFuture<'static, Payload>, request_bytes: usize) {
        self.in_flight += 1;
        self.in_flight_bytes += request_bytes;
        self.queue.push_back(Queued::Later { reply, request_bytes });
    }

    /// Moves replies that are ready, from the front, into `out`.
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>, out: &mut Outgoing) -> Poll<Take> {
        let mut taken = Taken::default();
        while out.pieces() < TAKE_PIECES && out.len() < TAKE_BYTES {
            let Some(front) = self.queue.front_mut() else { break };
            if let Queued::Later { reply, request_bytes } = front {
                let Poll::Ready(payload) = reply.poll_unpin(cx) else { break };
                self.in_flight_bytes = self.in_flight_bytes + payload.len() - *request_bytes;
                let bytes = in_memory(&payload);
                *front = Queued::Ready(payload);
                self.hold(bytes);
            }
            if let Some(Queued::Ready(payload)) = self.queue.pop_front() {
                taken.replies += 1;
                taken.bytes += payload.len();
                taken.in_memory += in_memory(&payload);
                out.push(payload);
            }
        }
        if taken.replies > 0 {
            return Poll::Ready(Take::Taken(taken));
        }
        if self.ended.is_some() && self.queue.is_empty() {
            return Poll::Ready(Take::Finished);
        }
        Poll::Pending
    }

    pub(crate) const fn begin_write(&mut self, since: Since) {
        self.writing = Some(since);
    }

    pub(crate) fn end_write(&mut self, taken: Taken, now: Instant) {
        self.writing = None;
        self.active_at = now;
        self.in_flight -= taken.replies;
        self.in_flight_bytes -= taken.bytes;
        self.in_memory -= taken.in_memory;
        self.reply_memory.give_back(taken.in_memory);
        self.tell_usage();
        if self.reader_waits && self.has_room() {
            self.another_round = true;
        }
    }

    pub(crate) fn begin_wait(&mut self, waiting: Waiting) {
        self.waiting = Some(waiting);
        self.tell_usage();
    }

    pub(crate) fn end_wait(&mut self, now: Instant) {
        self.waiting = None;
        self.active_at = now;
        self.tell_usage();
    }

    /// Tells whether there is anything to do but to wait for a request.
    fn tell_usage(&mut self) {
        let busy = self.in_flight > 0 || !matches!(self.waiting, Some(Waiting::Request));
        if busy == self.busy {
            return;
        }
        self.busy = busy;
        if busy { self.usage.begin() } else { self.usage.end(self.active_at) }
    }

    /// Whether the reading half waits for more bytes, as opposed to working on a request.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// No more requests: what is owed is sent, in bounded time unless the listener bounds it.
    ///
    /// On QUIC a peer that has ended its requests says nothing by it about reading the replies, and one that
    /// is gone is noticed, so there is no bound.
    pub(crate) fn end_reading(&mut self, reason: &CloseReason, now: Instant) {
        self.waiting = None;
        let unbounded = match reason {
            CloseReason::Shutdown => true,
            CloseReason::PeerClosed => self.transport == TransportKind::Quic,
            _ => false,
        };
        self.ended = Some((!unbounded).then(|| now + self.limits.half_close_timeout));
    }

    /// The next moment at which the pipeline must end unless something happens.
    pub(crate) fn next_deadline(&self, memory_is_short: bool) -> Option<Deadline> {
        let plain = |at, reason| Deadline { at, reason, watches_memory: false };
        let writing = self.writing.map(|since| Deadline {
            at: since.start + since.pace.left(self.reply_memory.is_short()),
            reason: CloseReason::SlowReader,
            watches_memory: true,
        });
        let reading = match &self.waiting {
            Some(Waiting::Frame(since)) => Some(Deadline {
                at: since.start + since.pace.left(memory_is_short),
                reason: CloseReason::FrameTimeout,
                watches_memory: true,
            }),
            Some(Waiting::Request) if self.in_flight == 0 => {
                Some(plain(self.active_at + self.limits.idle_timeout, CloseReason::Idle))
            }
            _ => None,
        };
        let ended = self.ended.flatten().map(|deadline| plain(deadline, CloseReason::PeerClosed));
        [writing, reading, ended].into_iter().flatten().min_by_key(|deadline| deadline.at)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.reply_memory.give_back(self.in_memory);
        if self.busy {
            self.usage.end(self.active_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::Usages;
    use bytes::Bytes;
    use futures::channel::oneshot;
    use prometheus::IntGauge;

    fn flow(limits: &TransportLimits) -> Flow {
        let usage = Usages::new(limits.idle_min).open(1);
        let replies = ReplyMemory::new(1000, IntGauge::new("held", "bytes").unwrap());
        Flow::new(limits, TransportKind::Tcp, usage, replies, Instant::now())
    }

    fn payload(text: &'static str) -> Payload {
        Payload::from(Bytes::from_static(text.as_bytes()))
    }

    fn take(flow: &mut Flow) -> Vec<u8> {
        let mut out = Outgoing::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(Take::Taken(taken)) = flow.poll_take(&mut cx, &mut out) {
            flow.end_write(taken, Instant::now());
        }
        let mut chunks = Vec::new();
        out.chunks(64, &mut chunks);
        chunks.concat()
    }

    #[test]
    fn replies_leave_in_the_order_of_their_requests() {
        let mut flow = flow(&TransportLimits::default());
        let (send, receive) = oneshot::channel();
        flow.push_ready(payload("a"));
        flow.push_later(Box::pin(receive.map(Result::unwrap)), 10);
        flow.push_ready(payload("c"));
        assert_eq!(take(&mut flow), b"a");
        assert_eq!(take(&mut flow), b"");
        send.send(payload("b")).unwrap();
        assert_eq!(take(&mut flow), b"bc");
        assert_eq!((flow.in_flight, flow.in_flight_bytes), (0, 0));
    }

    #[test]
    fn requests_wait_while_too_much_is_in_flight() {
        let limits =
            TransportLimits { in_flight_max: 2, in_flight_bytes_max: 100, ..TransportLimits::default() };
        let mut flow = flow(&limits);
        flow.push_ready(payload("a"));
        assert!(flow.poll_room().is_ready());
        flow.push_ready(payload("b"));
        assert!(flow.poll_room().is_pending(), "by count");
        take(&mut flow);
        assert!(flow.take_another_round(), "the reader is told");
        assert!(flow.poll_room().is_ready());
        flow.push_later(Box::pin(std::future::pending()), 1000);
        assert!(flow.poll_room().is_pending(), "by bytes");
    }

    #[test]
    fn one_reply_at_a_time_while_those_of_all_hold_much() {
        let mut flow = flow(&TransportLimits::default());
        flow.push_ready(payload("a"));
        assert!(flow.poll_room().is_ready());
        flow.reply_memory.add(1000);
        assert!(flow.poll_room().is_pending());
        take(&mut flow);
        assert!(flow.take_another_round() && flow.poll_room().is_ready());
        drop(flow);
    }
}
