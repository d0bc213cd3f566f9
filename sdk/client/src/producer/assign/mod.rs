//! Records whose partition a plugin on the brokers chooses wait here for its answer.
//!
//! A record joins the end of its topic's queue, encoded as it will be sent. One task at a time takes the oldest
//! records, asks for their partitions and appends them there; what gathers meanwhile is the next question, so
//! that questions grow with the load by themselves. Invariants:
//! - Records leave in the order in which they came, whatever becomes of the partitioner. So those of one key
//!   never overtake each other.
//! - A record goes where the answer says, or its delivery says why it went nowhere.
//! - The room in the producer's budget moves along with the record.

mod ask;
mod settle;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use millrace_protocol::batch::{BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::error::SendError;
use crate::producer::Shared;
use crate::producer::clock::BatchClock;
pub(crate) use crate::producer::delivery::AssignmentState;
use crate::producer::record::WireRecord;
use ask::{Asker, Verdict};

/// How much is asked about at once: enough to make a call worth its way, little enough to be answered soon.
const QUESTION_BYTES_MAX: usize = 1 << 20;
const QUESTION_RECORDS_MAX: i32 = 10_000;

/// One topic's queue.
pub(crate) struct Assigner {
    topic: Arc<str>,
    queue: Mutex<Queue>,
    asker: Asker,
}

struct Queue {
    /// The topic has a partitioner, as far as is known.
    partitioned: bool,
    /// A task sees to the queue.
    working: bool,
    /// What the task has taken last.
    taken: Option<Arc<AssignmentState>>,
    /// The last one takes further records.
    questions: VecDeque<Question>,
}

/// Records to be asked about together.
struct Question {
    builder: BatchBuilder,
    clock: BatchClock,
    since: Instant,
    /// Taken from the producer's budget.
    reserved: usize,
    assignment: Arc<AssignmentState>,
}

/// Where a record waits.
pub(crate) struct Taken {
    pub(crate) assignment: Arc<AssignmentState>,
    pub(crate) index: u32,
    /// Nobody sees to the queue yet: the caller is to start [`run`].
    pub(crate) start: bool,
}

impl Assigner {
    pub(crate) fn new(topic: Arc<str>) -> Arc<Self> {
        let queue = Queue { partitioned: true, working: false, taken: None, questions: VecDeque::new() };
        Arc::new(Self { topic, queue: Mutex::new(queue), asker: Asker::default() })
    }

    pub(crate) fn set_partitioned(&self, partitioned: bool) {
        self.queue.lock().partitioned = partitioned;
    }

    fn is_partitioned(&self) -> bool {
        self.queue.lock().partitioned
    }

    /// Takes a record of at most `size` bytes, unless the topic has no partitioner any more and nothing waits
    /// here that the record could overtake.
    pub(crate) fn push(&self, record: &WireRecord<'_>, size: usize) -> Option<Taken> {
        let mut queue = self.queue.lock();
        if !queue.partitioned && !queue.working {
            return None;
        }
        let start = !std::mem::replace(&mut queue.working, true);
        if !queue.questions.back().is_some_and(|last| last.has_room(size)) {
            queue.questions.push_back(Question::new());
        }
        let last = queue.questions.back_mut()?;
        let index = last.push(record, size);
        Some(Taken { assignment: Arc::clone(&last.assignment), index, start })
    }

    /// All that is not placed yet.
    pub(crate) fn assignments(&self) -> Vec<Arc<AssignmentState>> {
        let queue = self.queue.lock();
        let waiting = queue.questions.iter().map(|question| &question.assignment);
        queue.taken.iter().chain(waiting).cloned().collect()
    }

    /// The next question. None ends the task's work.
    fn next(&self) -> Option<Question> {
        let mut queue = self.queue.lock();
        let next = queue.questions.pop_front();
        queue.taken = next.as_ref().map(|question| Arc::clone(&question.assignment));
        queue.working = next.is_some();
        next
    }
}

impl Question {
    fn new() -> Self {
        Self {
            builder: BatchBuilder::default(),
            clock: BatchClock::start(),
            since: Instant::now(),
            reserved: 0,
            assignment: Arc::new(AssignmentState::new()),
        }
    }

    fn has_room(&self, size: usize) -> bool {
        self.builder.len_bytes() + size <= QUESTION_BYTES_MAX
            && self.builder.record_count() < QUESTION_RECORDS_MAX
    }

    fn push(&mut self, record: &WireRecord<'_>, size: usize) -> u32 {
        let first = self.builder.is_empty();
        let timestamp_ms = record.timestamp.unwrap_or_else(|| self.clock.now_ms(first));
        self.reserved += size;
        self.builder.append(timestamp_ms, record.key, record.value, record.headers).unsigned_abs()
    }
}

/// Records that nobody asks about any more, because their producer is gone, must not leave anyone waiting.
impl Drop for Question {
    fn drop(&mut self) {
        self.assignment.settle(Err(SendError::Closed));
    }
}

/// Sees to the queue until it is empty, or the producer is gone.
pub(crate) async fn run(producer: Weak<Shared>, cluster: Arc<Cluster>, assigner: Arc<Assigner>) {
    while let Some(mut question) = assigner.next() {
        let Some((count, deadline)) = producer.upgrade().map(|shared| {
            let known = shared.topic(&assigner.topic);
            let count = known.map_or(0, |topic| topic.count);
            (count, question.since + shared.pace.delivery_timeout)
        }) else {
            return;
        };
        let builder = std::mem::take(&mut question.builder);
        let batch = builder.finish(Codec::None, ProducerState::NONE);
        let batch = batch.map_err(|error| assigner.unreadable(&error));
        let verdict = match &batch {
            Ok(batch) => assigner.ask(&producer, &cluster, batch, count, deadline).await,
            Err(error) => Err(error.clone()),
        };
        let Some(shared) = producer.upgrade() else { return };
        if matches!(verdict, Ok(Verdict::Unbound)) && assigner.is_partitioned() {
            assigner.set_partitioned(false);
            shared.refresh_metadata();
        }
        let places = verdict.and_then(|verdict| shared.settle(&assigner.topic, &question, batch?, verdict));
        if places.is_err() {
            shared.budget.release(question.reserved);
        }
        question.assignment.settle(places);
        drop(shared);
        // Others may run in between, also where nothing had to be waited for.
        tokio::task::yield_now().await;
    }
}

impl Assigner {
    /// What was encoded here cannot be finished or read back.
    fn unreadable(&self, reason: &impl ToString) -> SendError {
        SendError::Encode { topic: self.topic.to_string(), reason: reason.to_string() }
    }
}
