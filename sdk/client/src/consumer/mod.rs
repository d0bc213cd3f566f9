//! Reading records from assigned partitions.
//!
//! A task per broker fetches ahead, bounded in bytes; what it receives is handed out as slices of the memory
//! that it was received into. A [`session`] keeps requests small however many partitions are read.
//!
//! What cannot be read is never passed by: the error stands at its place, each poll reports it, and only a seek
//! moves on. A topic that was deleted and made again is another topic: no position in the former means anything
//! there, so it counts as out of range ([`OnOutOfRange`]), even where such an offset exists.

mod assignment;
mod config;
mod fetcher;
mod membership;
mod rebalance;
mod record;
mod response;
mod session;
mod shared;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

pub use config::{ConsumerBuilder, Isolation, OnOutOfRange, StartAt};
use futures::Stream;
pub use rebalance::RebalanceListener;
pub use record::{ConsumerRecord, RecordBatch, RecordView};
pub(crate) use shared::Shared;

use crate::error::{FetchError, GroupError};
use assignment::{Fetched, Key, State};
use membership::Membership;

/// Reads the partitions it is assigned. Also a [`Stream`] of records.
pub struct Consumer {
    shared: Arc<Shared>,
    /// Records of the batch that is being handed out one by one.
    current: VecDeque<ConsumerRecord>,
    /// In the group that the settings name, if they name one.
    membership: Option<Membership>,
    listener: Option<Box<dyn RebalanceListener>>,
}

/// Ends a poll that an application does not wait for any more.
struct PollEnds(Option<Arc<membership::MemberState>>);

impl Drop for PollEnds {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            state.poll_ends();
        }
    }
}

impl Consumer {
    fn new(settings: ConsumerBuilder) -> Self {
        let group = settings.group.clone();
        let shared = Shared::new(settings);
        let membership = group.map(|group| Membership::start(&shared, &group));
        Self { shared, current: VecDeque::new(), membership, listener: None }
    }

    /// Adds partitions of `topic`, to be read from `start`. A partition assigned before is moved there.
    pub async fn assign(
        &mut self,
        topic: &str,
        partitions: &[i32],
        start: StartAt,
    ) -> Result<(), FetchError> {
        if self.membership.as_ref().is_some_and(|membership| membership.active) {
            let reason = "it assigns partitions to this consumer, which cannot assign others to itself: use one \
                          consumer for what is subscribed to and another for what is assigned";
            let group = self.shared.settings.group.as_deref().unwrap_or_default().to_owned();
            return Err(GroupError::Settings { group, reason: reason.to_owned() }.into());
        }
        // The picture that is there may be of a former topic of this name.
        self.shared.cluster.topic(topic, false).await?;
        self.shared.cluster.refresh(Some(topic), Instant::now(), false).await?;
        self.shared.adopt_leaders();
        self.start(topic, partitions, start).await
    }

    async fn start(&mut self, topic: &str, partitions: &[i32], start: StartAt) -> Result<(), FetchError> {
        let image = self.shared.cluster.topic(topic, false).await?;
        for &partition in partitions {
            self.shared.cluster.known_leader(&image, partition)?;
        }
        let offsets = self.shared.resolve(topic, partitions, start).await?;
        {
            let mut state = self.shared.state.lock();
            for (partition, offset) in offsets {
                state.start_at((Arc::clone(&image.name), partition), image.id, offset);
            }
        }
        self.current.retain(|record| record.topic() != topic || !partitions.contains(&record.partition()));
        self.shared.adopt_leaders();
        self.shared.wanted.send_replace(());
        Ok(())
    }

    /// Adds all partitions of `topic`.
    pub async fn assign_topic(&mut self, topic: &str, start: StartAt) -> Result<(), FetchError> {
        let count = self.shared.cluster.topic(topic, false).await?.partitions.len();
        let partitions: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
        self.assign(topic, &partitions, start).await
    }

    /// Stops reading partitions; what was prefetched of them is dropped.
    pub fn unassign(&mut self, topic: &str, partitions: &[i32]) {
        let mut state = self.shared.state.lock();
        for &partition in partitions {
            state.remove(&(Arc::from(topic), partition));
        }
        drop(state);
        self.current.retain(|record| record.topic() != topic || !partitions.contains(&record.partition()));
        self.shared.wanted.send_replace(());
    }

    /// Moves the position of one assigned partition.
    pub async fn seek(&mut self, topic: &str, partition: i32, to: StartAt) -> Result<(), FetchError> {
        if self.position(topic, partition).is_none() {
            return Err(FetchError::NotAssigned { topic: topic.to_owned(), partition });
        }
        self.start(topic, &[partition], to).await
    }

    /// Offset of the next record that a poll returns.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        match self.current.front() {
            Some(next) if next.partition() == partition && next.topic() == topic => Some(next.offset()),
            _ => self.with(topic, partition, |assigned| assigned.position),
        }
    }

    /// End of what may be read (high watermark) as of the last fetch.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        self.with(topic, partition, |assigned| assigned.high_watermark)?
    }

    fn with<T>(&self, topic: &str, partition: i32, read: impl Fn(&assignment::Assigned) -> T) -> Option<T> {
        let key: Key = (Arc::from(topic), partition);
        self.shared.state.lock().assigned.get(&key).map(read)
    }

    /// Assigned partitions.
    pub fn assignment(&self) -> Vec<(String, i32)> {
        let state = self.shared.state.lock();
        state.assigned.keys().map(|(topic, partition)| (topic.to_string(), *partition)).collect()
    }

    /// Stops returning records of partitions until [`Consumer::resume`]; their position stays. What was
    /// prefetched of them is dropped, so that it takes no room from the others.
    pub fn pause(&mut self, topic: &str, partitions: &[i32]) {
        for &partition in partitions {
            let position = self.position(topic, partition);
            self.current.retain(|record| record.topic() != topic || record.partition() != partition);
            let mut state = self.shared.state.lock();
            let key: Key = (Arc::from(topic), partition);
            if let (Some(from), Some(id)) = (position, state.assigned.get(&key).map(|one| one.topic_id)) {
                state.start_at(key.clone(), id, from);
            }
            set_paused(&mut state, &key, true);
        }
        self.shared.wanted.send_replace(());
    }

    pub fn resume(&mut self, topic: &str, partitions: &[i32]) {
        for &partition in partitions {
            set_paused(&mut self.shared.state.lock(), &(Arc::from(topic), partition), false);
        }
        self.shared.wanted.send_replace(());
    }

    /// The next record, waiting as long as it takes. `None` only after [`Consumer::close`].
    pub async fn next_record(&mut self) -> Result<Option<ConsumerRecord>, FetchError> {
        let _poll_ends = self.poll_ends();
        poll_fn(|cx| self.poll_record(cx)).await
    }

    fn poll_ends(&self) -> PollEnds {
        PollEnds(self.membership.as_ref().map(|membership| Arc::clone(&membership.state)))
    }

    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ConsumerRecord>, FetchError>> {
        self.begin_poll(cx)?;
        let polled = loop {
            if let Some(record) = self.current.pop_front() {
                break Ok(Some(record));
            }
            match ready!(self.poll_ahead(cx)) {
                Ok(Some(batch)) => self.current.extend(batch.records()),
                Ok(None) => break Ok(None),
                Err(error) => break Err(error),
            }
        };
        drop(self.poll_ends());
        Poll::Ready(polled)
    }

    /// The application polls: its group hears of that and has its say first.
    fn begin_poll(&mut self, cx: &mut Context<'_>) -> Result<(), FetchError> {
        if let Some(membership) = &self.membership {
            membership.poll_begins();
            return self.poll_group(cx);
        }
        Ok(())
    }

    /// The next batch of one partition; `None` when `timeout` passed without one. The quickest way to read:
    /// the batch's records are views into the memory that was received.
    pub async fn poll_batch(&mut self, timeout: Duration) -> Result<Option<RecordBatch>, FetchError> {
        let _poll_ends = self.poll_ends();
        // What next_record has begun to hand out stays its own.
        if let Poll::Ready(batch) = poll_fn(|cx| Poll::Ready(self.poll_fetched(cx))).await {
            return batch;
        }
        match tokio::time::timeout(timeout, poll_fn(|cx| self.poll_fetched(cx))).await {
            Ok(batch) => batch,
            Err(_) => Ok(None),
        }
    }

    fn poll_fetched(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<RecordBatch>, FetchError>> {
        self.begin_poll(cx)?;
        self.poll_ahead(cx)
    }

    /// What was fetched ahead.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<RecordBatch>, FetchError>> {
        let in_group = self.membership.as_ref().is_some_and(|membership| membership.active);
        loop {
            let (fetched, first) = {
                let mut state = self.shared.state.lock();
                if state.assigned.is_empty() && !state.closed && !in_group {
                    return Poll::Ready(Err(FetchError::NothingAssigned));
                }
                let had_room = state.ahead_bytes < self.shared.settings.prefetch_bytes;
                let polled = state.poll_next(cx);
                let has_room = state.ahead_bytes < self.shared.settings.prefetch_bytes;
                drop(state);
                if has_room && !had_room {
                    self.shared.room.send_replace(());
                }
                match ready!(polled) {
                    Some(next) => next,
                    None => return Poll::Ready(Ok(None)),
                }
            };
            let key = fetched.key.clone();
            let batch = open(fetched, first);
            if let Err(error @ FetchError::Corrupt { .. }) = &batch {
                self.shared.state.lock().halt(&key, first, error.clone());
            }
            let batch = batch?;
            if !batch.is_empty() {
                return Poll::Ready(Ok(Some(batch)));
            }
        }
    }

    /// Stops fetching and forgets what was prefetched. A member of a group leaves it, after committing if it does so
    /// by itself.
    pub async fn close(&mut self) {
        self.leave_group().await;
        self.stop();
    }

    fn stop(&mut self) {
        self.current.clear();
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.ahead.clear();
        drop(state);
        self.shared.wanted.send_replace(());
    }
}

fn set_paused(state: &mut State, key: &Key, paused: bool) {
    if let Some(assigned) = state.assigned.get_mut(key) {
        assigned.paused = paused;
    }
}

fn open(fetched: Fetched, first: i64) -> Result<RecordBatch, FetchError> {
    let (topic, partition) = fetched.key;
    let batch = fetched.content?;
    RecordBatch::open(Arc::clone(&topic), partition, &batch, first).map_err(|error| FetchError::Corrupt {
        topic: topic.to_string(),
        partition,
        offset: batch.header.base_offset,
        reason: error.to_string(),
    })
}

impl Stream for Consumer {
    type Item = Result<ConsumerRecord, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx).map(Result::transpose)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop();
    }
}
