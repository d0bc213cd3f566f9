//! Sending batches to one broker: gathers what its partitions have due, in the context of whoever kicks it.
//!
//! A kick comes from a sender that made something due, from the reader of responses, and from upkeep. One of
//! them dispatches at a time; the others leave a mark and go. So no task stands between a record and the
//! wire. Locks: the dispatch lock, then one partition's at a time, never the other way round.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_base::{Payload, TopicId};
use millrace_protocol::StrBytes;
use millrace_protocol::batch::{BatchHeader, ProducerState};
use millrace_protocol::crc::crc32c;
use millrace_protocol::messages::{ApiKey, ProduceRequest};
use millrace_protocol::produce::{ProduceBody, ProducePartition, ProduceTopic, encode_produce_request};
use parking_lot::Mutex;

use crate::cluster::{Broker, pieces};
use crate::error::{SendError, api_name};
use crate::net::{Lane, LaneError};
use crate::producer::Shared;
use crate::producer::config::Acks;
use crate::producer::core::{Answer, FlightId, Stamp};
use crate::producer::partition::{Next, Partition, Sent};
use crate::producer::reply;

/// Pause after a lane could not be opened.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct ProduceLane {
    pub(crate) broker: Arc<Broker>,
    producer: Weak<Shared>,
    wire: Mutex<Wire>,
    due: Mutex<VecDeque<Arc<Partition>>>,
    dispatching: Mutex<()>,
    marked: AtomicBool,
}

enum Wire {
    Idle,
    Connecting,
    Open { lane: Lane, version: i16 },
}

/// One partition's share of a request.
pub(crate) struct Part {
    pub(crate) partition: Arc<Partition>,
    pub(crate) id: FlightId,
    pub(crate) sent: Arc<Sent>,
}

/// A request being gathered.
#[derive(Default)]
struct Gathered {
    parts: Vec<Part>,
    body: Vec<(TopicId, ProducePartition)>,
    bytes: usize,
}

impl ProduceLane {
    pub(crate) fn new(broker: Arc<Broker>, producer: Weak<Shared>) -> Arc<Self> {
        Arc::new(Self {
            broker,
            producer,
            wire: Mutex::new(Wire::Idle),
            due: Mutex::default(),
            dispatching: Mutex::default(),
            marked: AtomicBool::new(false),
        })
    }

    /// Puts a partition into the queue. The caller has set its `queued` mark.
    pub(crate) fn enqueue(&self, partition: Arc<Partition>) {
        self.due.lock().push_back(partition);
    }

    /// Lets go of what waits here: its producer is gone.
    pub(crate) fn abandon(&self) {
        let due = std::mem::take(&mut *self.due.lock());
        drop(due);
    }

    /// Sends what is due, unless somebody else is at it: then they look again.
    pub(crate) fn kick(self: &Arc<Self>) {
        self.marked.store(true, Ordering::SeqCst);
        while self.marked.load(Ordering::SeqCst) {
            let Some(_dispatching) = self.dispatching.try_lock() else { return };
            while self.marked.swap(false, Ordering::SeqCst) {
                self.dispatch();
            }
        }
    }

    fn dispatch(self: &Arc<Self>) {
        let Some(producer) = self.producer.upgrade() else { return self.abandon() };
        let Some((lane, version)) = self.open_wire() else { return };
        loop {
            let gathered = self.gather(&producer);
            if gathered.parts.is_empty() {
                return;
            }
            self.send(&producer, &lane, version, gathered);
        }
    }

    /// The open lane; if there is none, one is being opened and kicks again.
    fn open_wire(self: &Arc<Self>) -> Option<(Lane, i16)> {
        let mut wire = self.wire.lock();
        match &*wire {
            Wire::Open { lane, version } if !lane.is_closed() => return Some((lane.clone(), *version)),
            Wire::Connecting => return None,
            Wire::Open { .. } | Wire::Idle => {}
        }
        if self.due.lock().is_empty() {
            return None;
        }
        *wire = Wire::Connecting;
        tokio::spawn(Arc::clone(self).connect());
        None
    }

    /// Opens the lane ahead of the first batch.
    pub(crate) async fn warm_up(self: &Arc<Self>) {
        {
            let mut wire = self.wire.lock();
            if !matches!(&*wire, Wire::Idle) {
                return;
            }
            *wire = Wire::Connecting;
        }
        Arc::clone(self).connect().await;
    }

    async fn connect(self: Arc<Self>) {
        let opened = match self.broker.open_lane().await {
            Ok((lane, versions)) => {
                self.broker.version(&versions, ApiKey::Produce as i16).map(|version| (lane, version))
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok((lane, version)) => {
                *self.wire.lock() = Wire::Open { lane, version };
                self.kick();
            }
            Err(error) => {
                tracing::debug!(broker = self.broker.name(), %error, "open a lane for produce");
                // Another leader may be known in a moment; upkeep then moves the batches there.
                if let Some(producer) = self.producer.upgrade() {
                    producer.note_trouble(error.to_string());
                    producer.refresh_metadata();
                }
                // Until this is over nobody tries again: a refusal comes at once, and so would the next.
                tokio::time::sleep(CONNECT_PAUSE).await;
                *self.wire.lock() = Wire::Idle;
                self.kick();
            }
        }
    }

    /// Takes one batch of each due partition, as many as one request may carry.
    fn gather(&self, producer: &Shared) -> Gathered {
        let mut gathered = Gathered::default();
        let now = Instant::now();
        let mut untouched = self.due.lock().len();
        while untouched > 0 && gathered.bytes < producer.max_request_bytes {
            untouched -= 1;
            let Some(partition) = self.due.lock().pop_front() else { break };
            let mut state = partition.state.lock();
            state.queued = false;
            // The partition has moved to another broker's lane since it was queued here.
            if state.lane.as_ref().is_none_or(|lane| !std::ptr::eq(Arc::as_ptr(lane), self)) {
                drop(state);
                if let Some(lane) = producer.enqueue(&partition) {
                    lane.kick();
                }
                continue;
            }
            let next = state.next(producer.pace, now, producer.identity());
            let topic_id = state.topic_id;
            let more = next.is_some() && state.is_due(producer.pace, now);
            if more {
                state.queued = true;
            }
            drop(state);
            let Some(next) = next else { continue };
            if let Some((part, records)) = producer.finish(&partition, next) {
                gathered.bytes += records.len();
                let records = Payload::from(records);
                gathered.body.push((topic_id, ProducePartition { index: partition.index, records }));
                gathered.parts.push(part);
            }
            if more {
                self.enqueue(partition);
            }
        }
        gathered
    }

    fn send(self: &Arc<Self>, producer: &Arc<Shared>, lane: &Lane, version: i16, gathered: Gathered) {
        let Gathered { parts, body, .. } = gathered;
        let mut topics: Vec<ProduceTopic> = Vec::with_capacity(1);
        for (part, (topic_id, partition)) in parts.iter().zip(body) {
            let same = |topic: &&mut ProduceTopic| topic.name == part.partition.topic;
            match topics.iter_mut().rev().find(same) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    let name = part.partition.topic.clone();
                    topics.push(ProduceTopic { name, topic_id, partitions: vec![partition] });
                }
            }
        }
        let body = ProduceBody {
            transactional_id: producer.transactional_id(),
            acks: producer.acks.wire(),
            timeout_ms: producer.request_timeout_ms(),
            topics,
        };
        let correlation = lane.next_correlation();
        let frame = match encode_produce_request(correlation, Some(self.broker.client_id()), version, body) {
            Ok(frame) => pieces(frame),
            Err(error) => return producer.reject_all(&parts, &error.to_string()),
        };
        let this = Arc::clone(self);
        let producer = Arc::clone(producer);
        if producer.acks == Acks::None {
            let on_written = move |written: Result<Bytes, LaneError>| {
                let answer = match written {
                    Ok(_) => Answer::Stored { base_offset: -1 },
                    Err(error) => Answer::Again { reason: error.to_string(), stale_metadata: true },
                };
                for part in parts {
                    producer.answer(&part, answer.clone());
                }
                this.kick();
            };
            lane.send_unanswered(frame, Box::new(on_written));
            return;
        }
        let on_reply = move |frame: Result<Bytes, LaneError>| {
            let response = match frame {
                Ok(frame) => this.broker.decode::<ProduceRequest>(frame, version),
                Err(error) => Err(this.broker.disconnected(api_name(ApiKey::Produce as i16), &error)),
            };
            reply::apply(&producer, parts, response);
        };
        lane.send(frame, Some(correlation), Box::new(on_reply));
    }

    /// Ends a lane whose oldest request has waited for too long; its batches go again.
    pub(crate) fn check_timeout(&self, limit: Duration) {
        let wire = self.wire.lock();
        if let Wire::Open { lane, .. } = &*wire
            && lane.oldest_wait().is_some_and(|wait| wait > limit)
        {
            let lane = lane.clone();
            drop(wire);
            lane.close(&format!("{} did not answer within {limit:?}", self.broker.name()));
        }
    }

    /// The open lane, for a barrier behind what was sent without asking for answers.
    pub(crate) fn opened(&self) -> Option<Lane> {
        match &*self.wire.lock() {
            Wire::Open { lane, .. } => Some(lane.clone()),
            Wire::Idle | Wire::Connecting => None,
        }
    }
}

impl Shared {
    fn reject_all(&self, parts: &[Part], reason: &str) {
        for part in parts {
            let topic = part.partition.topic.to_string();
            self.reject(part, SendError::Encode { topic, reason: reason.to_owned() });
        }
    }

    /// The batch's bytes under its stamp: built and compressed when new, restamped if its numbers changed.
    fn finish(&self, partition: &Arc<Partition>, next: Next) -> Option<(Part, Bytes)> {
        match next {
            Next::New { id, stamp, sent, builder } => {
                let part = Part { partition: Arc::clone(partition), id, sent };
                match builder.finish(self.compression, self.producer_state(stamp)) {
                    Ok(bytes) => {
                        *part.sent.wire.lock() = Some((stamp, bytes.clone()));
                        Some((part, bytes))
                    }
                    Err(error) => {
                        self.reject(
                            &part,
                            SendError::Encode {
                                topic: partition.topic.to_string(),
                                reason: error.to_string(),
                            },
                        );
                        None
                    }
                }
            }
            Next::Resend { id, stamp, sent } => {
                let bytes = {
                    let mut wire = sent.wire.lock();
                    let (last, bytes) = wire.take()?;
                    let bytes = if last == stamp { bytes } else { restamp(&bytes, stamp) };
                    *wire = Some((stamp, bytes.clone()));
                    bytes
                };
                Some((Part { partition: Arc::clone(partition), id, sent }, bytes))
            }
        }
    }
}

impl Shared {
    fn producer_state(&self, stamp: Stamp) -> ProducerState {
        match stamp.identity {
            None => ProducerState::NONE,
            Some(identity) => ProducerState {
                producer_id: identity.producer_id,
                producer_epoch: identity.epoch,
                base_sequence: stamp.base_sequence,
                transactional: self.standing.is_some(),
            },
        }
    }

    fn transactional_id(&self) -> Option<StrBytes> {
        let standing = self.standing.as_ref()?;
        Some(StrBytes::from_string(standing.transactional_id.to_string()))
    }
}

/// A copy of the batch with another producer id, epoch and sequence, and its checksum anew.
fn restamp(batch: &Bytes, stamp: Stamp) -> Bytes {
    /// The checksum covers everything from the attributes on.
    const CRC_START: usize = 21;
    let Ok(mut header) = BatchHeader::parse(batch) else { return batch.clone() };
    let identity = stamp.identity;
    header.producer_id = identity.map_or(-1, |identity| identity.producer_id);
    header.producer_epoch = identity.map_or(-1, |identity| identity.epoch);
    header.base_sequence = stamp.base_sequence;
    let mut copy = batch.to_vec();
    header.write(&mut copy);
    header.crc = crc32c(&copy[CRC_START..]);
    header.write(&mut copy);
    copy.into()
}
