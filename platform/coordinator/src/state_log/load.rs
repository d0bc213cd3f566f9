//! Reading a log back, step by step.

use std::time::Duration;

use millrace_base::limits::{BATCH_BYTES_MAX, MIB};
use millrace_base::{LeaderEpoch, Offset};
use millrace_protocol::batch::{Batch, BatchError};

use super::StateLogParts;
use super::core::Core;
use super::machine::Machine;
use crate::ReadFailure;

/// Bytes that one step asks for.
const STEP_BYTES: usize = MIB;
/// Records after which others get their turn.
const RECORDS_PER_TURN: usize = 4_096;

/// Pauses after a log could not be read or written, doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long to wait after so many failures.
pub(super) fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE)
}

/// Why a log is not read back.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadFailure {
    #[error(transparent)]
    Read(#[from] ReadFailure),
    /// What is behind it must not be taken for the whole.
    #[error(
        "the batch at offset {offset} is damaged: {source}. Have another replica lead the partition, or bring the \
         records back from a backup"
    )]
    Damaged { offset: Offset, source: BatchError },
    #[error("the records up to offset {0} are not on all in-sync replicas yet")]
    NotReplicated(Offset),
}

/// Reads everything that the log held when the epoch began, which takes until all of it is replicated.
pub(super) async fn load<M: Machine>(
    parts: &StateLogParts,
    epoch: LeaderEpoch,
) -> Result<Core<M>, LoadFailure> {
    let StateLogParts { partitions, place, .. } = parts;
    if partitions.leadership(*place) != Some(epoch) {
        return Err(ReadFailure::NotHere.into());
    }
    let target = partitions.log_end(*place).ok_or(ReadFailure::NotHere)?;
    let mut core = Core::new(partitions.bounds(*place).ok_or(ReadFailure::NotHere)?.start);
    while core.next_offset() < target {
        let at = core.next_offset();
        let end = parts.end_in(epoch).ok_or(ReadFailure::NotHere)?;
        if end <= at {
            partitions.wait_for(*place, at).await;
            if parts.end_in(epoch).is_some_and(|end| end <= at) {
                return Err(LoadFailure::NotReplicated(target));
            }
            continue;
        }
        // Only so many logs hold what they read at a time. There is no end to the turns.
        let _turn = parts.turns.acquire().await;
        let batches = match partitions.read(*place, at, STEP_BYTES).await {
            // Deleted meanwhile, by another's wish.
            Err(ReadFailure::OutOfRange { bounds, .. }) if at < bounds.start => {
                core.loaded(bounds.start, 0);
                continue;
            }
            read => read?,
        };
        if batches.is_empty() {
            core.loaded(end, 0);
        }
        for batch in batches {
            take(&mut core, &batch).await?;
        }
        tokio::task::yield_now().await;
    }
    // Of another epoch since, what was read may be another leader's.
    parts.end_in(epoch).ok_or(ReadFailure::NotHere)?;
    Ok(core)
}

async fn take<M: Machine>(core: &mut Core<M>, batch: &Batch) -> Result<(), LoadFailure> {
    let header = batch.header;
    let damaged = |source| LoadFailure::Damaged { offset: header.base_offset, source };
    // The leader has checked it; compaction leaves batches with fewer records than offsets.
    batch.verify_crc().map_err(damaged)?;
    let from = core.next_offset();
    if core.is_read(batch) {
        let records = batch.records(BATCH_BYTES_MAX).map_err(damaged)?;
        for (index, record) in records.iter().enumerate() {
            let record = record.map_err(damaged)?;
            if record.offset >= from {
                core.load(&record);
            }
            if index % RECORDS_PER_TURN == RECORDS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
    }
    core.loaded(header.next_offset(), batch.bytes.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<u64> = (1..9).map(|failures| pause(failures).as_millis() as u64).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
