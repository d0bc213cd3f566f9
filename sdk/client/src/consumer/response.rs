//! What a fetch response means for each partition in it. Whatever does not move a partition on, or halt it, asks for a
//! pause: no answer can make a fetcher spin.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{Batch, BatchError, BatchHeader, HEADER_LEN};
use millrace_protocol::messages::FetchResponse;
use millrace_protocol::messages::fetch_response::{AbortedTransaction, PartitionData};

use crate::consumer::Shared;
use crate::consumer::assignment::{Assigned, Fetched, Key, Source, State};
use crate::consumer::config::{Isolation, OnOutOfRange};
use crate::error::{FetchError, refused};

/// Puts what was fetched behind what is there; true if leaders have to be looked up, after a pause.
pub(crate) fn apply(
    shared: &Arc<Shared>,
    response: FetchResponse,
    generations: &HashMap<Source, u64>,
) -> bool {
    let mut find_leaders = false;
    let mut state = shared.state.lock();
    for topic in response.responses {
        let named = |source: &&Source| {
            if topic.topic.0.is_empty() {
                source.topic_id.0 == topic.topic_id
            } else {
                *source.key.0 == *topic.topic.0
            }
        };
        // An answer about what was not asked for brings nothing, however often it comes.
        let Some(asked) = generations.keys().find(named).cloned() else {
            find_leaders = true;
            continue;
        };
        for partition in topic.partitions {
            let key = (Arc::clone(&asked.key.0), partition.partition_index);
            let source = Source { key: key.clone(), topic_id: asked.topic_id };
            let Some(generation) = generations.get(&source).copied() else {
                find_leaders = true;
                continue;
            };
            // Moved while the answer was on its way.
            if state.assigned.get(&key).is_none_or(|one| one.generation != generation) {
                continue;
            }
            find_leaders |= apply_partition(shared, &mut state, key, generation, partition);
        }
    }
    let reader = if state.ahead.is_empty() { None } else { state.take_reader() };
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
    find_leaders
}

fn apply_partition(
    shared: &Arc<Shared>,
    state: &mut State,
    key: Key,
    generation: u64,
    partition: PartitionData,
) -> bool {
    let Some(assigned) = state.assigned.get_mut(&key) else { return false };
    let Some(code) = ErrorCode::try_from_code(partition.error_code) else {
        if partition.preferred_read_replica.0 >= 0 {
            assigned.leader = Some(partition.preferred_read_replica.0);
            shared.start_fetchers(&HashSet::from([partition.preferred_read_replica.0]));
        }
        assigned.high_watermark = Some(partition.high_watermark);
        let before = assigned.fetch_offset;
        let brought_bytes = partition.records.as_ref().is_some_and(|records| !records.is_empty());
        let mut found = Vec::new();
        let error = take_batches(shared, assigned, &key, partition, &mut found).err();
        assigned.halted = error.is_some();
        let next = assigned.fetch_offset;
        let stuck = brought_bytes && next == before && error.is_none();
        for batch in found {
            let next = batch.header.next_offset();
            state.push(Fetched { key: key.clone(), next, content: Ok(batch) });
        }
        state.passed(&key, next);
        if let Some(error) = error {
            state.push(Fetched { key, next, content: Err(error) });
        }
        return stuck;
    };
    match code {
        ErrorCode::OffsetOutOfRange if shared.settings.on_out_of_range != OnOutOfRange::Fail => {
            assigned.halted = true;
            tokio::spawn(Arc::clone(shared).move_into_range(key, generation));
            true
        }
        ErrorCode::OffsetOutOfRange => {
            assigned.halted = true;
            let next = assigned.fetch_offset;
            let error = FetchError::OutOfRange {
                topic: key.0.to_string(),
                partition: key.1,
                offset: assigned.fetch_offset,
                start: partition.log_start_offset,
                end: partition.high_watermark,
            };
            state.push(Fetched { key, next, content: Err(error) });
            false
        }
        code if code.is_retriable() || code == ErrorCode::UnknownTopicId => true,
        _ => {
            assigned.halted = true;
            let what = format!("{}-{}", key.0, key.1);
            let next = assigned.fetch_offset;
            let error = refused("Fetch", what, partition.error_code, None);
            state.push(Fetched { key, next, content: Err(error.into()) });
            false
        }
    }
}

/// Cuts the records into batches and moves the partition's fetch offset past them.
fn take_batches(
    shared: &Shared,
    assigned: &mut Assigned,
    key: &Key,
    partition: PartitionData,
    found: &mut Vec<Batch>,
) -> Result<(), FetchError> {
    let Some(mut records) = partition.records else { return Ok(()) };
    let mut aborted = Aborted::new(&shared.settings.isolation, partition.aborted_transactions);
    while let Some(batch) = next_batch(&mut records).map_err(|error| corrupt(assigned, key, &error))? {
        if shared.settings.check_crc {
            batch.verify_crc().map_err(|error| corrupt(assigned, key, &error))?;
        }
        let next = batch.header.next_offset();
        let wanted = next > assigned.fetch_offset && !aborted.hides(&batch);
        assigned.fetch_offset = assigned.fetch_offset.max(next);
        if wanted {
            found.push(batch);
        }
    }
    Ok(())
}

/// Takes the next whole batch; a broker may cut the last one off.
fn next_batch(records: &mut Bytes) -> Result<Option<Batch>, BatchError> {
    if records.len() < HEADER_LEN {
        return Ok(None);
    }
    let header = BatchHeader::parse(records)?;
    if header.total_len() > records.len() {
        return Ok(None);
    }
    Ok(Some(Batch { header, bytes: records.split_to(header.total_len()) }))
}

fn corrupt(assigned: &Assigned, key: &Key, error: &BatchError) -> FetchError {
    FetchError::Corrupt {
        topic: key.0.to_string(),
        partition: key.1,
        offset: assigned.fetch_offset,
        reason: error.to_string(),
    }
}

/// Batches that the application does not get to see: control batches, and aborted ones if it asked so.
struct Aborted {
    /// By first offset; None for a reader of uncommitted records.
    coming: Option<Vec<AbortedTransaction>>,
    open: HashSet<i64>,
}

impl Aborted {
    fn new(isolation: &Isolation, aborted: Option<Vec<AbortedTransaction>>) -> Self {
        let coming = (*isolation == Isolation::ReadCommitted).then(|| {
            let mut coming = aborted.unwrap_or_default();
            coming.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
            coming
        });
        Self { coming, open: HashSet::new() }
    }

    fn hides(&mut self, batch: &Batch) -> bool {
        let header = &batch.header;
        if let Some(coming) = &mut self.coming {
            while coming.last().is_some_and(|next| next.first_offset <= header.last_offset()) {
                self.open.extend(coming.pop().map(|next| next.producer_id.0));
            }
        }
        if header.attributes.is_control() {
            // The marker ends the transaction; only aborted ones are in the set.
            self.open.remove(&header.producer_id);
            return true;
        }
        header.attributes.is_transactional() && self.open.contains(&header.producer_id)
    }
}
