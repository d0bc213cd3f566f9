//! A lane: one ordered pipeline of requests to one broker, on a QUIC stream or a connection of its own.
//!
//! Whoever sends writes: the frame goes to the transport in the caller's context, and only what the
//! transport does not take at once is left to a task. One task reads; a response's callback runs in it, so a
//! callback must be quick. Invariant: callbacks run exactly once, in the order of their requests.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::net::certificates;
use crate::net::frames::FrameReader;
use crate::net::pool::BufferPool;
use crate::net::wire::{Inbound, Outbound};

/// The lane is gone, and with it every response that had not arrived.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct LaneError {
    pub reason: Arc<str>,
    /// The reason is a certificate.
    pub of_certificate: bool,
}

impl From<&str> for LaneError {
    fn from(reason: &str) -> Self {
        Self { reason: reason.into(), of_certificate: false }
    }
}

impl LaneError {
    /// A lane that ended while it was `doing` something.
    fn new(doing: &str, error: &std::io::Error) -> Self {
        match certificates::trouble(error) {
            Some(reason) => Self { reason: reason.into(), of_certificate: true },
            None => format!("{doing}: {error}").as_str().into(),
        }
    }
}

/// What becomes of a request: the response frame without its length prefix, or the lane's end.
pub(crate) type OnReply = Box<dyn FnOnce(Result<Bytes, LaneError>) + Send>;

/// Handle of a lane; the lane closes when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Guard>);

struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close("closed by the client".into());
    }
}

struct Shared {
    outgoing: Mutex<Outgoing>,
    waiting: Mutex<VecDeque<Waiting>>,
    /// The task that goes on writing where a sender could not.
    writer: AtomicWaker,
    closed: OnceLock<LaneError>,
    tasks: OnceLock<[AbortHandle; 2]>,
    next_correlation: AtomicI32,
}

struct Outgoing {
    /// None once the lane is closed.
    half: Option<Outbound>,
    queue: VecDeque<Bytes>,
    /// Run once the queue is empty.
    on_written: Vec<OnReply>,
    /// Met by a sender, reported by the writer task: a sender may hold locks that callbacks take.
    error: Option<std::io::Error>,
}

/// What a frame's sender waits for.
enum Then {
    Answered(Waiting),
    Written(OnReply),
}

struct Waiting {
    correlation: Option<i32>,
    since: Instant,
    on_reply: OnReply,
}

impl Lane {
    /// Starts the lane's tasks on the current runtime.
    pub(crate) fn start(outbound: Outbound, inbound: Inbound, pool: Arc<BufferPool>) -> Self {
        let shared = Arc::new(Shared {
            outgoing: Mutex::new(Outgoing {
                half: Some(outbound),
                queue: VecDeque::new(),
                on_written: Vec::new(),
                error: None,
            }),
            waiting: Mutex::new(VecDeque::new()),
            writer: AtomicWaker::new(),
            closed: OnceLock::new(),
            tasks: OnceLock::new(),
            next_correlation: AtomicI32::new(0),
        });
        let reader = tokio::spawn(read(Arc::clone(&shared), FrameReader::new(inbound, pool)));
        let writer = tokio::spawn(write(Arc::clone(&shared)));
        // Set once, here.
        let _ = shared.tasks.set([reader.abort_handle(), writer.abort_handle()]);
        Self(Arc::new(Guard(shared)))
    }

    /// A correlation id that no other request of this lane has.
    pub(crate) fn next_correlation(&self) -> i32 {
        self.0.0.next_correlation.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }

    /// Sends a frame, given in pieces. `correlation` is what the response must carry, if that is to be checked.
    pub(crate) fn send(&self, pieces: Vec<Bytes>, correlation: Option<i32>, on_reply: OnReply) {
        let waiting = Waiting { correlation, since: Instant::now(), on_reply };
        self.0.0.send(pieces, Then::Answered(waiting));
    }

    /// Sends a frame that has no response; the callback runs with no bytes once the transport has taken it.
    pub(crate) fn send_unanswered(&self, pieces: Vec<Bytes>, on_written: OnReply) {
        self.0.0.send(pieces, Then::Written(on_written));
    }

    /// Sends a frame and waits for its response.
    pub(crate) fn request(
        &self,
        pieces: Vec<Bytes>,
        correlation: Option<i32>,
    ) -> impl Future<Output = Result<Bytes, LaneError>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        self.send(pieces, correlation, Box::new(move |reply| _ = sender.send(reply)));
        async move { receiver.await.unwrap_or_else(|_| Err("the runtime shut down".into())) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.0.closed.get().is_some()
    }

    /// Ends the lane; everything that waits fails with `reason`.
    pub(crate) fn close(&self, reason: &str) {
        self.0.0.close(reason.into());
    }

    /// How long the oldest request has been waiting.
    pub(crate) fn oldest_wait(&self) -> Option<Duration> {
        self.0.0.waiting.lock().front().map(|waiting| waiting.since.elapsed())
    }
}

impl Shared {
    fn send(&self, pieces: Vec<Bytes>, then: Then) {
        let mut outgoing = self.outgoing.lock();
        if outgoing.half.is_none() {
            drop(outgoing);
            let (Then::Answered(Waiting { on_reply, .. }) | Then::Written(on_reply)) = then;
            on_reply(Err(self.error()));
            return;
        }
        match then {
            Then::Answered(waiting) => self.waiting.lock().push_back(waiting),
            Then::Written(on_written) => outgoing.on_written.push(on_written),
        }
        let idle = outgoing.queue.is_empty();
        outgoing.queue.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        if !idle {
            return;
        }
        // The writer task comes back with its own waker, which replaces this one.
        match outgoing.poll_drain(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                let written = std::mem::take(&mut outgoing.on_written);
                drop(outgoing);
                for on_written in written {
                    on_written(Ok(Bytes::new()));
                }
                return;
            }
            Poll::Ready(Err(error)) => outgoing.error = Some(error),
            Poll::Pending => {}
        }
        drop(outgoing);
        self.writer.wake();
    }

    fn error(&self) -> LaneError {
        self.closed.get().cloned().unwrap_or_else(|| "closed".into())
    }

    fn close(&self, error: LaneError) {
        // The first reason is the one that explains.
        let _ = self.closed.set(error);
        let unwritten = {
            let mut outgoing = self.outgoing.lock();
            outgoing.half = None;
            outgoing.queue.clear();
            std::mem::take(&mut outgoing.on_written)
        };
        for on_written in unwritten {
            on_written(Err(self.error()));
        }
        // No request can be added any more: senders find the half gone.
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for one in waiting {
            (one.on_reply)(Err(self.error()));
        }
        for task in self.tasks.get().into_iter().flatten() {
            task.abort();
        }
    }

    fn deliver(&self, frame: Bytes) -> Result<(), &'static str> {
        let Some(waiting) = self.waiting.lock().pop_front() else {
            return Err("the broker sent a response that nobody asked for");
        };
        let correlation = (frame.len() >= 4).then(|| (&frame[..4]).get_i32());
        if correlation.is_none() || waiting.correlation.is_some_and(|expected| correlation != Some(expected))
        {
            (waiting.on_reply)(Err("the broker's response belongs to another request".into()));
            return Err("the broker's responses are out of order");
        }
        (waiting.on_reply)(Ok(frame));
        Ok(())
    }
}

impl Outgoing {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        match &mut self.half {
            Some(half) => half.poll_drain(cx, &mut self.queue),
            None => Poll::Ready(Ok(())),
        }
    }
}

async fn read(shared: Arc<Shared>, mut frames: FrameReader) {
    let error = loop {
        match frames.next().await {
            Ok(Some(frame)) => {
                if let Err(reason) = shared.deliver(frame) {
                    break reason.into();
                }
            }
            Ok(None) => break "the broker closed the connection".into(),
            Err(error) => break LaneError::new("read", &error),
        }
    };
    shared.close(error);
}

async fn write(shared: Arc<Shared>) {
    let ended = poll_fn(|cx| {
        shared.writer.register(cx.waker());
        let mut outgoing = shared.outgoing.lock();
        match outgoing.poll_drain(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Ready(Ok(())) => {
                let written = std::mem::take(&mut outgoing.on_written);
                drop(outgoing);
                for on_written in written {
                    on_written(Ok(Bytes::new()));
                }
            }
            Poll::Pending => {}
        }
        // Sleeps until a sender meets back-pressure, or the transport has room again.
        Poll::Pending
    });
    let error = ended.await;
    shared.close(LaneError::new("write", &error));
}
