//! One partition's records before they are sent: the open batch, the full ones, and the core's bookkeeping.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_base::TopicId;
use millrace_protocol::StrBytes;
use millrace_protocol::batch::{BatchBuilder, HEADER_LEN, ProducerState};
use millrace_protocol::compression::Codec;
use parking_lot::Mutex;

use crate::error::SendError;
use crate::producer::buffers::Buffers;
use crate::producer::clock::BatchClock;
use crate::producer::core::{Command, Core, FlightId, Identity, Stamp};
use crate::producer::delivery::BatchState;
use crate::producer::lane::ProduceLane;
use crate::producer::record::WireRecord;

/// First allocation of a partition's first batch; later ones are as large as their predecessor became.
const FIRST_BATCH_BYTES: usize = 1 << 10;

pub(crate) struct Partition {
    pub(crate) topic: StrBytes,
    pub(crate) index: i32,
    pub(crate) state: Mutex<PartitionState>,
}

pub(crate) struct PartitionState {
    pub(crate) topic_id: TopicId,
    /// The topic was made again without this partition: what was sent here is gone with the former one.
    outlived: bool,
    open: Option<Pending>,
    full: VecDeque<Pending>,
    pub(crate) core: Core<Arc<Sent>>,
    /// To the leader; None while there is none.
    pub(crate) lane: Option<Arc<ProduceLane>>,
    /// Stands in the lane's queue of partitions that have something to send.
    pub(crate) queued: bool,
    /// The open batch goes out though it is not full: a flush is waiting for it.
    flushing: bool,
    last_batch_bytes: usize,
    /// A larger batch was refused for its size.
    batch_bytes_max: usize,
}

/// Records that are not sent yet.
pub(crate) struct Pending {
    pub(crate) builder: BatchBuilder,
    pub(crate) delivery: Arc<BatchState>,
    pub(crate) since: Instant,
    clock: BatchClock,
    /// Taken from the producer's budget.
    pub(crate) reserved: usize,
    /// Indices of records whose senders named this partition.
    pub(crate) named: Vec<Range<u32>>,
}

/// A batch that was sent at least once.
pub(crate) struct Sent {
    pub(crate) delivery: Arc<BatchState>,
    pub(crate) reserved: usize,
    /// The bytes as last sent, with what they say of the producer.
    pub(crate) wire: Mutex<Option<(Stamp, Bytes)>>,
    /// As [`Pending::named`].
    pub(crate) named: Vec<Range<u32>>,
}

/// Records whose partition is gone, to be placed again.
pub(crate) struct Orphan {
    /// A batch; None if it could not be built.
    pub(crate) bytes: Option<Bytes>,
    pub(crate) delivery: Arc<BatchState>,
    pub(crate) since: Instant,
    pub(crate) reserved: usize,
    pub(crate) named: Vec<Range<u32>>,
}

/// What a lane is to send next for this partition.
pub(crate) enum Next {
    New { id: FlightId, stamp: Stamp, sent: Arc<Sent>, builder: BatchBuilder },
    Resend { id: FlightId, stamp: Stamp, sent: Arc<Sent> },
}

/// Where a record was put.
pub(crate) struct Placed {
    pub(crate) delivery: Arc<BatchState>,
    pub(crate) index: u32,
    /// The batch is new: if it lingers, somebody has to remember it.
    pub(crate) opened: bool,
}

/// When batches become due.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) batch_bytes: usize,
    pub(crate) linger: Duration,
    pub(crate) delivery_timeout: Duration,
}

impl Partition {
    pub(crate) fn new(topic: StrBytes, topic_id: TopicId, index: i32, core: Core<Arc<Sent>>) -> Arc<Self> {
        let state = PartitionState {
            topic_id,
            outlived: false,
            open: None,
            full: VecDeque::new(),
            core,
            lane: None,
            queued: false,
            flushing: false,
            last_batch_bytes: FIRST_BATCH_BYTES,
            batch_bytes_max: usize::MAX,
        };
        Arc::new(Self { topic, index, state: Mutex::new(state) })
    }
}

impl PartitionState {
    /// Encodes a record into the open batch, which is closed first if the record does not fit. A new batch
    /// counts its age from `since`, or from now.
    pub(crate) fn append(
        &mut self,
        partition: i32,
        record: &WireRecord<'_>,
        size: usize,
        since: Option<Instant>,
        pace: Pace,
        buffers: &Buffers,
    ) -> Placed {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.builder.len_bytes() + size > pace.batch_bytes.min(self.batch_bytes_max))
        {
            self.close_open();
        }
        let opened = self.open.is_none();
        let capacity = self.last_batch_bytes;
        let open = self.open.get_or_insert_with(|| Pending {
            builder: BatchBuilder::with_buffer(buffers.take(capacity.max(HEADER_LEN + size))),
            delivery: BatchState::new(partition),
            since: since.unwrap_or_else(Instant::now),
            clock: BatchClock::start(),
            reserved: 0,
            named: Vec::new(),
        });
        let timestamp_ms = record.timestamp.unwrap_or_else(|| open.clock.now_ms(opened));
        let index = open.builder.append(timestamp_ms, record.key, record.value, record.headers);
        open.reserved += size;
        Placed { delivery: Arc::clone(&open.delivery), index: index.unsigned_abs(), opened }
    }

    /// The record at `index` of the open batch goes to this partition or nowhere.
    pub(crate) fn note_named(&mut self, index: u32) {
        let Some(open) = &mut self.open else { return };
        match open.named.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => open.named.push(index..index + 1),
        }
    }

    /// Keeps later batches to a size that has more hope of being taken.
    pub(crate) fn limit_batches(&mut self, bytes: usize) {
        self.batch_bytes_max = self.batch_bytes_max.min(bytes);
    }

    /// The topic, by its id, and whether it has this partition.
    pub(crate) fn follow(&mut self, topic_id: TopicId, exists: bool) {
        self.outlived = !exists && (self.outlived || self.topic_id != topic_id);
        self.topic_id = topic_id;
    }

    /// Takes what can be placed elsewhere, in order: what was never sent, and where the topic was made again what
    /// was sent as well; then nothing while a request is unanswered, since that was sent before the rest.
    pub(crate) fn take_orphans(&mut self, pace: Pace) -> Vec<Orphan> {
        let mut orphans = Vec::new();
        if self.outlived {
            for (sent, deadline) in self.core.take_sent() {
                orphans.push(Orphan {
                    bytes: sent.wire.lock().take().map(|(_, bytes)| bytes),
                    delivery: Arc::clone(&sent.delivery),
                    since: deadline.checked_sub(pace.delivery_timeout).unwrap_or(deadline),
                    reserved: sent.reserved,
                    named: sent.named.clone(),
                });
            }
            if !self.core.is_idle() {
                return orphans;
            }
        }
        let unsent = self.full.drain(..).chain(self.open.take());
        orphans.extend(unsent.map(|Pending { builder, delivery, since, reserved, named, .. }| Orphan {
            bytes: builder.finish(Codec::None, ProducerState::NONE).ok(),
            delivery,
            since,
            reserved,
            named,
        }));
        orphans
    }

    /// Lets no further record into the open batch.
    pub(crate) fn close_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.last_batch_bytes = open.builder.len_bytes().next_power_of_two().max(FIRST_BATCH_BYTES);
            self.full.push_back(open);
        }
    }

    /// Whether a lane would find something to send now.
    pub(crate) fn is_due(&self, pace: Pace, now: Instant) -> bool {
        if self.core.is_retrying() {
            return true;
        }
        self.core.can_admit() && (!self.full.is_empty() || self.open_is_due(pace, now))
    }

    /// As [`Self::is_due`] but for what lingers, and without a look at the clock: asked for every record.
    pub(crate) fn is_due_at_once(&self, pace: Pace) -> bool {
        let open_is_due = || {
            self.open.as_ref().is_some_and(|open| {
                open.builder.len_bytes() >= pace.batch_bytes.min(self.batch_bytes_max)
                    || (pace.linger.is_zero() && self.core.is_idle())
            })
        };
        !self.queued && self.core.can_admit() && (!self.full.is_empty() || open_is_due())
    }

    /// Without linger a batch that is not full goes out when nothing is on its way (as Nagle's algorithm), so
    /// that a lone record does not wait and many share a request.
    fn open_is_due(&self, pace: Pace, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|open| {
            self.flushing
                || open.builder.len_bytes() >= pace.batch_bytes.min(self.batch_bytes_max)
                || if pace.linger.is_zero() {
                    self.core.is_idle()
                } else {
                    now.saturating_duration_since(open.since) >= pace.linger
                }
        })
    }

    /// Takes what is to be sent next, new batches with the number that the core gives them.
    pub(crate) fn next(&mut self, pace: Pace, now: Instant, identity: Option<Identity>) -> Option<Next> {
        if let Some((id, stamp, sent)) = self.core.next_resend(now) {
            return Some(Next::Resend { id, stamp, sent });
        }
        if !self.core.can_admit() {
            return None;
        }
        if self.full.is_empty() {
            if !self.open_is_due(pace, now) {
                return None;
            }
            self.close_open();
            self.flushing = false;
        }
        let pending = self.full.pop_front()?;
        let sent = Arc::new(Sent {
            delivery: pending.delivery,
            reserved: pending.reserved,
            wire: Mutex::new(None),
            named: pending.named,
        });
        let deadline = pending.since + pace.delivery_timeout;
        let count = pending.builder.record_count();
        let (id, stamp) = self.core.on_send(Arc::clone(&sent), count, deadline, identity);
        Some(Next::New { id, stamp, sent, builder: pending.builder })
    }

    /// Takes all that was never sent, and has the core give up the rest.
    pub(crate) fn give_up(&mut self) -> (Vec<Pending>, Vec<Command<Arc<Sent>>>) {
        let unsent = self.full.drain(..).chain(self.open.take()).collect();
        self.flushing = false;
        (unsent, self.core.give_up(Instant::now()))
    }

    /// Takes batches that were never sent and have waited for too long.
    pub(crate) fn take_expired(&mut self, pace: Pace, now: Instant) -> Vec<Pending> {
        let expired =
            |pending: &Pending| now.saturating_duration_since(pending.since) >= pace.delivery_timeout;
        let mut taken = Vec::new();
        // Not in order of their age: records that waited for their partition bring theirs along.
        if self.full.iter().any(expired) {
            for pending in std::mem::take(&mut self.full) {
                if expired(&pending) {
                    taken.push(pending);
                } else {
                    self.full.push_back(pending);
                }
            }
        }
        if self.open.as_ref().is_some_and(expired) {
            taken.extend(self.open.take());
        }
        taken
    }

    /// Marks the open batch as due and returns the deliveries of all that is not done.
    pub(crate) fn flush(&mut self) -> Vec<Arc<BatchState>> {
        self.flushing = self.open.is_some();
        let waiting = self.full.iter().chain(&self.open).map(|pending| Arc::clone(&pending.delivery));
        self.core.batches().map(|sent| Arc::clone(&sent.delivery)).chain(waiting).collect()
    }

    /// Whether anything is not done.
    pub(crate) fn is_busy(&self) -> bool {
        self.open.is_some() || !self.full.is_empty() || !self.core.is_idle()
    }
}

/// A batch that nobody will send any more, because its producer is gone, must not leave anyone waiting.
impl Drop for PartitionState {
    fn drop(&mut self) {
        for delivery in self.flush() {
            delivery.complete(Err(SendError::Closed));
        }
    }
}
