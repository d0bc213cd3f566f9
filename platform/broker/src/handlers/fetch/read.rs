//! Reading a fetch's partitions one after the other within its limits.

use std::sync::Arc;

use millrace_base::{Offset, Payload};
use millrace_log::ReadError;
use millrace_metadata::Image;
use millrace_protocol::ErrorCode;
use millrace_replication::Divergence;

use crate::error_map::ToErrorCode;
use crate::fetch_session::{FetchTarget, TopicKey};
use crate::handlers::lookup;
use crate::partition::{Partition, Room, Source};
use crate::state::State;

/// What one answer may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_bytes: usize,
    pub(super) read_committed: bool,
    pub(super) is_replica: bool,
}

/// Records asked for are on disk only.
#[derive(Debug)]
pub(super) struct NeedsDisk;

/// What a partition gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) high_watermark: Offset,
    pub(super) last_stable_offset: Offset,
    pub(super) log_start_offset: Offset,
    /// The largest epoch at or below the fetcher's, and its end, where the logs differ (KIP-595).
    pub(super) diverging_epoch: Option<Divergence>,
    pub(super) records: Payload,
    /// Producer id and first offset of each aborted transaction that the records meet, for who asks for committed ones.
    pub(super) aborted: Vec<(i64, Offset)>,
}

/// One partition of a fetch.
pub(super) struct PartitionRead {
    pub(super) target: FetchTarget,
    pub(super) partition: Option<Arc<Partition>>,
    pub(super) outcome: Result<Found, ErrorCode>,
    /// What has been read counts, but is not here: it is read again for the answer.
    forgotten_bytes: usize,
}

impl PartitionRead {
    fn bytes(&self) -> usize {
        self.forgotten_bytes + self.outcome.as_ref().map_or(0, |found| found.records.len())
    }

    fn has_news(&self) -> bool {
        self.outcome.as_ref().map_or(true, |found| found.diverging_epoch.is_some())
    }
}

/// All partitions of a fetch.
pub(super) struct Reading {
    limits: Limits,
    pub(super) reads: Vec<PartitionRead>,
    bytes: usize,
    has_news: bool,
}

impl Reading {
    pub(super) fn new(targets: Vec<FetchTarget>, limits: Limits) -> Self {
        let unread = |target| {
            let outcome = Ok(Found::default());
            PartitionRead { target, partition: None, outcome, forgotten_bytes: 0 }
        };
        Self { limits, reads: targets.into_iter().map(unread).collect(), bytes: 0, has_news: false }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is an error or a diverging epoch, which no fetcher waits upon.
    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    pub(super) fn read_committed(&self) -> bool {
        self.limits.read_committed
    }

    /// The partitions that were found, with their positions and the high watermark that was seen.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (usize, Arc<Partition>, Offset)> {
        self.reads.iter().enumerate().filter_map(|(position, read)| {
            let seen = read.outcome.as_ref().ok()?.high_watermark;
            Some((position, read.partition.clone()?, seen))
        })
    }

    /// Reads every partition anew.
    pub(super) fn read_all(&mut self, state: &State, source: Source) -> Result<(), NeedsDisk> {
        (self.bytes, self.has_news) = (0, false);
        let image = state.metadata.image();
        (0..self.reads.len()).try_for_each(|position| self.read_at(state, &image, position, source, 0))
    }

    /// Lets go of the records, whose memory is wanted for others while this fetch waits.
    pub(super) fn forget_records(&mut self) {
        for read in &mut self.reads {
            if let Ok(found) = &mut read.outcome {
                read.forgotten_bytes += std::mem::take(&mut found.records).len();
            }
        }
    }

    /// The positions whose records are to be read again.
    pub(super) fn forgotten(&self) -> Vec<usize> {
        let reads = self.reads.iter().enumerate();
        reads.filter(|(_, read)| read.forgotten_bytes > 0).map(|(position, _)| position).collect()
    }

    /// Reads the partitions at `positions` anew, in what room the others leave.
    pub(super) fn read_again(
        &mut self,
        state: &State,
        positions: &[usize],
        source: Source,
    ) -> Result<(), NeedsDisk> {
        let image = state.metadata.image();
        positions.iter().try_for_each(|position| {
            let before = self.reads[*position].bytes();
            self.read_at(state, &image, *position, source, before)
        })
    }

    fn read_at(
        &mut self,
        state: &State,
        image: &Image,
        position: usize,
        source: Source,
        before: usize,
    ) -> Result<(), NeedsDisk> {
        let others = self.bytes - before;
        let read = &mut self.reads[position];
        read.outcome = match find(state, image, &read.target, self.limits) {
            Err(error) => Err(error),
            Ok(partition) => {
                let room = Room {
                    bytes: self.limits.max_bytes.saturating_sub(others).min(read.target.max_bytes),
                    at_least_one_batch: others == 0,
                };
                let partition = read.partition.insert(partition);
                read_partition(partition, &read.target, room, self.limits, source)?
            }
        };
        read.forgotten_bytes = 0;
        self.bytes = others + read.bytes();
        self.has_news |= read.has_news();
        Ok(())
    }
}

fn find(
    state: &State,
    image: &Image,
    target: &FetchTarget,
    limits: Limits,
) -> Result<Arc<Partition>, ErrorCode> {
    let (topic, index) = &target.key;
    let topic = match topic {
        TopicKey::Name(name) => lookup::by_name(image, name)?,
        TopicKey::Id(id) => lookup::by_id(image, id.0)?,
    };
    if limits.is_replica {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    lookup::led_here(state, topic, *index, target.current_leader_epoch)
}

fn read_partition(
    partition: &Partition,
    target: &FetchTarget,
    room: Room,
    limits: Limits,
    source: Source,
) -> Result<Result<Found, ErrorCode>, NeedsDisk> {
    let log = partition.log();
    // In this order, so that log start <= last stable offset <= high watermark <= end holds among them.
    let log_start_offset = log.log_start_offset();
    let last_stable_offset = partition.last_stable_offset();
    let high_watermark = partition.high_watermark();
    let mut found = Found { high_watermark, last_stable_offset, log_start_offset, ..Found::default() };
    match partition.divergence(target.last_fetched_epoch, target.fetch_offset) {
        Err(refused) => return Ok(Err(refused.to_error_code())),
        Ok(Some(diverging)) => {
            found.diverging_epoch = Some(diverging);
            return Ok(Ok(found));
        }
        Ok(None) => {}
    }
    let from = target.fetch_offset;
    if from < log_start_offset || from > log.log_end_offset() {
        return Ok(Err(ErrorCode::OffsetOutOfRange));
    }
    let up_to = if limits.read_committed { last_stable_offset } else { high_watermark };
    if from >= up_to || (room.bytes == 0 && !room.at_least_one_batch) {
        return Ok(Ok(found));
    }
    let read = partition.read_records(from, up_to, room, source).and_then(|read| {
        let Some(read) = read else { return Ok(None) };
        let aborted = match limits.read_committed && !read.payload.is_empty() {
            true => partition.aborted_transactions(from, read.next_offset, source)?,
            false => Some(Vec::new()),
        };
        Ok(aborted.map(|aborted| (read.payload, aborted)))
    });
    match read {
        Ok(Some((records, aborted))) => {
            found.records = records;
            found.aborted = aborted.iter().map(|of| (of.producer_id, of.first_offset)).collect();
            Ok(Ok(found))
        }
        Ok(None) => Err(NeedsDisk),
        Err(error) => {
            if !matches!(error, ReadError::OutOfRange { .. }) {
                tracing::error!(partition = %partition.id(), %error, "cannot read records");
            }
            Ok(Err(error.to_error_code()))
        }
    }
}
