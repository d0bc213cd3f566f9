//! One pipeline: frames in, replies out in the same order, in one task.
//!
//! Reading and writing are two futures that this module polls in turn from one task: a ready reply is
//! written right after its request was read, without a wake-up in between, and a peer that does not read its
//! replies still has its next requests read up to the in-flight bounds. They share [`Flow`], the queue
//! between them.
//!
//! Every wait for the peer has a deadline. There is one timer for all of them, and it is only moved when the
//! next deadline comes before it: under steady load it costs nothing.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::flow::{Deadline, Flow, Since, Take, Waiting};
use crate::framing::Assembler;
use crate::idle::Usage;
use crate::limits::TransportLimits;
use crate::memory::ReceiveMemory;
use crate::metrics::PerTransport;
use crate::outgoing::Outgoing;
use crate::pace::Pace;
use crate::phase::{Phase, PhaseWatch};
use crate::replies::ReplyMemory;
use crate::service::{CloseReason, Pipeline, Reply, TransportKind};

/// Turns of both halves, with one read each, after which other tasks get theirs.
const ROUNDS_MAX: usize = 16;

/// The receiving side of a transport.
pub(crate) trait ByteSource: Send {
    /// Reads once into `frames`; the number of bytes read, 0 at the stream's end.
    fn fill(&mut self, frames: &mut Assembler) -> impl Future<Output = Result<usize, CloseReason>> + Send;
}

/// The sending side of a transport.
pub(crate) trait ByteSink: Send {
    /// Writes once from the front of `out`, which is not empty; the number of bytes taken.
    fn write_some(&mut self, out: &mut Outgoing) -> impl Future<Output = io::Result<usize>> + Send;

    /// Ends the sending side after everything is written.
    fn finish(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// What pipelines have from their listener.
pub(crate) struct PipelineContext<'a> {
    pub(crate) usage: Arc<Usage>,
    pub(crate) limits: &'a TransportLimits,
    pub(crate) memory: &'a ReceiveMemory,
    pub(crate) replies: &'a ReplyMemory,
    pub(crate) metrics: &'a PerTransport,
    pub(crate) transport: TransportKind,
    pub(crate) phase: PhaseWatch,
}

/// Serves one pipeline to its end and says what ended it.
pub(crate) async fn serve<R: ByteSource, W: ByteSink>(
    context: PipelineContext<'_>,
    mut source: R,
    mut sink: W,
    mut pipeline: Box<dyn Pipeline>,
) -> CloseReason {
    let PipelineContext { usage, limits, memory, replies, metrics, transport, phase } = context;
    let _open = OpenPipeline::count(metrics);
    let flow = Mutex::new(Flow::new(limits, transport, usage, replies.clone(), Instant::now()));
    let reason = {
        let reading =
            read_requests(&flow, &phase, limits, memory, replies, metrics, &mut source, pipeline.as_mut());
        let writing = write_replies(&flow, limits, metrics, &mut sink);
        drive(&flow, &phase, memory, reading, writing).await
    };
    metrics.protocol_error(&reason);
    reason
}

/// Polls both halves in turn until the pipeline has ended.
async fn drive(
    flow: &Mutex<Flow>,
    phase: &PhaseWatch,
    memory: &ReceiveMemory,
    reading: impl Future<Output = CloseReason>,
    writing: impl Future<Output = io::Result<()>>,
) -> CloseReason {
    let (mut reading, mut writing) = (pin!(reading), pin!(writing));
    let mut phase_change = pin!(phase.clone().changes());
    let mut phase_seen = None;
    let mut timer = Timer { sleep: None, looked_at: Instant::now() };
    let mut ended = None;
    poll_fn(move |cx| {
        if phase_seen != Some(phase.current()) {
            phase_seen = Some(phase.current());
            while phase_change.as_mut().poll(cx).is_ready() {
                phase_change.set(phase.clone().changes());
                phase_seen = Some(phase.current());
            }
        }
        if phase_seen == Some(Phase::Aborting) {
            return Poll::Ready(CloseReason::Shutdown);
        }
        for _ in 0..ROUNDS_MAX {
            if ended.is_none() {
                let mut reason = reading.as_mut().poll(cx);
                if reason.is_pending() && phase_seen == Some(Phase::Draining) && flow.lock().is_waiting() {
                    reason = Poll::Ready(CloseReason::Shutdown);
                }
                if let Poll::Ready(reason) = reason {
                    match reason {
                        CloseReason::Io { source, .. } if is_disconnect(&source) => {
                            return Poll::Ready(CloseReason::PeerClosed);
                        }
                        CloseReason::Io { .. } => return Poll::Ready(reason),
                        _ => {}
                    }
                    flow.lock().end_reading(&reason, Instant::now());
                    ended = Some(reason);
                }
            }
            if let Poll::Ready(written) = writing.as_mut().poll(cx) {
                return Poll::Ready(match (written, ended.take()) {
                    (_, Some(reason)) if !matches!(reason, CloseReason::PeerClosed) => reason,
                    (Err(source), _) if is_disconnect(&source) => CloseReason::PeerClosed,
                    (Err(source), _) => CloseReason::Io { action: "send replies", source },
                    (Ok(()), _) => CloseReason::PeerClosed,
                });
            }
            if !flow.lock().take_another_round() {
                return match timer.poll(cx, flow, memory) {
                    Poll::Ready(reason) => Poll::Ready(ended.take().unwrap_or(reason)),
                    Poll::Pending => Poll::Pending,
                };
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Reads and starts requests until the peer stops sending, or must be stopped.
async fn read_requests<R: ByteSource>(
    flow: &Mutex<Flow>,
    phase: &PhaseWatch,
    limits: &TransportLimits,
    memory: &ReceiveMemory,
    replies: &ReplyMemory,
    metrics: &PerTransport,
    source: &mut R,
    pipeline: &mut dyn Pipeline,
) -> CloseReason {
    let mut frames = Assembler::new(memory.clone(), limits.frame_bytes_max);
    let mut frame = 0;
    let mut pace = Pace::new(limits);
    loop {
        while let Some(frame) = frames.pop() {
            metrics.frames_in.inc();
            poll_fn(|_| flow.lock().poll_room()).await;
            replies.room().await;
            if let Err(reason) = start(flow, pipeline, frame).await {
                return reason;
            }
        }
        if let Some(want) = frames.wanted() {
            flow.lock().begin_wait(Waiting::Memory);
            let grant = memory.wait_for(want).await;
            flow.lock().end_wait(Instant::now());
            frames.grant(grant);
            continue;
        }
        if let Some(reason) = frames.take_broken() {
            return reason;
        }
        // A frame that may not start yet is not read either: it would hold its memory for as long.
        poll_fn(|_| flow.lock().poll_room()).await;
        replies.room().await;
        // Replies go out before the next read: the peer may be waiting for them.
        let mut yielded = false;
        poll_fn(|_| flow.lock().poll_yield_to_writer(&mut yielded)).await;
        if phase.current() >= Phase::Draining {
            return CloseReason::Shutdown;
        }
        let start = Instant::now();
        if frame != frames.frames_begun() {
            frame = frames.frames_begun();
            pace = Pace::new(limits);
        }
        let waiting =
            if frames.is_mid_frame() { Waiting::Frame(Since { start, pace }) } else { Waiting::Request };
        flow.lock().begin_wait(waiting);
        let filled = source.fill(&mut frames).await;
        let now = Instant::now();
        flow.lock().end_wait(now);
        pace.progress(now - start, *filled.as_ref().unwrap_or(&0));
        match filled {
            Ok(0) if frames.is_mid_frame() => return CloseReason::Truncated,
            Ok(0) => return CloseReason::PeerClosed,
            Ok(bytes) => metrics.bytes_in.inc_by(bytes as u64),
            Err(reason) => return reason,
        }
    }
}

async fn start(flow: &Mutex<Flow>, pipeline: &mut dyn Pipeline, frame: Bytes) -> Result<(), CloseReason> {
    let bytes = frame.len();
    match pipeline.start(frame).await? {
        Reply::None => {}
        Reply::Ready(payload) => flow.lock().push_ready(payload),
        Reply::Later(mut reply) => {
            let polled = poll_fn(|cx| Poll::Ready(reply.poll_unpin(cx))).await;
            match polled {
                Poll::Ready(payload) => flow.lock().push_ready(payload),
                Poll::Pending => flow.lock().push_later(reply, bytes),
            }
        }
    }
    Ok(())
}

/// Writes replies as they become ready, several at a time, until none can come any more.
async fn write_replies<W: ByteSink>(
    flow: &Mutex<Flow>,
    limits: &TransportLimits,
    metrics: &PerTransport,
    sink: &mut W,
) -> io::Result<()> {
    let mut out = Outgoing::default();
    loop {
        let taken = match poll_fn(|cx| flow.lock().poll_take(cx, &mut out)).await {
            Take::Taken(taken) => taken,
            Take::Finished => return sink.finish().await,
        };
        let mut pace = Pace::of_replies(limits);
        let mut start = Instant::now();
        while !out.is_empty() {
            flow.lock().begin_write(Since { start, pace });
            let written = sink.write_some(&mut out).await?;
            let now = Instant::now();
            pace.progress(now - start, written);
            start = now;
            metrics.bytes_out.inc_by(written as u64);
        }
        metrics.replies.inc_by(taken.replies as u64);
        flow.lock().end_write(taken, start);
    }
}

/// Counts an open pipeline, also through cancellation.
struct OpenPipeline<'a>(&'a PerTransport);

impl<'a> OpenPipeline<'a> {
    fn count(metrics: &'a PerTransport) -> Self {
        metrics.pipelines.inc();
        Self(metrics)
    }
}

impl Drop for OpenPipeline<'_> {
    fn drop(&mut self) {
        self.0.pipelines.dec();
    }
}

/// How often the deadline of a frame is looked at again, which depends on whether memory is short.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Ends a pipeline whose next deadline has passed.
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    looked_at: Instant,
}

impl Timer {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        flow: &Mutex<Flow>,
        memory: &ReceiveMemory,
    ) -> Poll<CloseReason> {
        loop {
            let Some(deadline) = flow.lock().next_deadline(memory.is_short()) else { return Poll::Pending };
            let wake = wake_at(&deadline, self.looked_at);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(wake)));
            if wake < sleep.deadline() {
                sleep.as_mut().reset(wake);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            self.looked_at = now;
            match flow.lock().next_deadline(memory.is_short()) {
                Some(deadline) if deadline.at <= now => return Poll::Ready(deadline.reason),
                Some(deadline) => sleep.as_mut().reset(wake_at(&deadline, now)),
                None => sleep.as_mut().reset(now + Duration::from_secs(60)),
            }
        }
    }
}

fn wake_at(deadline: &Deadline, looked_at: Instant) -> Instant {
    if deadline.watches_memory { deadline.at.min(looked_at + LOOK_AGAIN) } else { deadline.at }
}

fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}
