//! Reads: from the tail memory at once, from the disk on a thread that may block.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::{Offset, Payload, Piece};
use millrace_coordinator::ReadFailure;
use millrace_log::{Aborted, LogError, ReadError};
use millrace_protocol::batch::{Batch, BatchHeader, HEADER_LEN};

use super::{Isolation, bounds_of};
use crate::partition::{Partition, Room, Source};

pub(super) async fn read(
    partition: Arc<Partition>,
    isolation: Isolation,
    from: Offset,
    max_bytes: usize,
) -> Result<Vec<Batch>, ReadFailure> {
    if let Some(batches) = read_from(&partition, isolation, from, max_bytes, Source::Memory)? {
        return Ok(batches);
    }
    let read = blocking(move || read_from(&partition, isolation, from, max_bytes, Source::Disk)).await?;
    Ok(read.unwrap_or_default())
}

/// `None`: the records are on disk only.
fn read_from(
    partition: &Partition,
    isolation: Isolation,
    from: Offset,
    max_bytes: usize,
    source: Source,
) -> Result<Option<Vec<Batch>>, ReadFailure> {
    let bounds = bounds_of(partition, isolation);
    if from < bounds.start || from > partition.log().log_end_offset() {
        return Err(ReadFailure::OutOfRange { offset: from, bounds });
    }
    if from >= bounds.end {
        return Ok(Some(Vec::new()));
    }
    let room = Room { bytes: max_bytes, at_least_one_batch: true };
    let failure = |error| match error {
        // Retention was quicker.
        ReadError::OutOfRange { offset, .. } => {
            ReadFailure::OutOfRange { offset, bounds: bounds_of(partition, isolation) }
        }
        error => ReadFailure::Storage(error.to_string()),
    };
    let read = partition.read_records(from, bounds.end, room, source).map_err(failure)?;
    let Some(read) = read else { return Ok(None) };
    let aborted = match isolation {
        Isolation::Committed => {
            partition.aborted_transactions(from, read.next_offset, source).map_err(failure)?
        }
        Isolation::Replicated => Some(Vec::new()),
    };
    let Some(aborted) = aborted else { return Ok(None) };
    let mut batches = split(read.payload).map_err(ReadFailure::Storage)?;
    leave_out(&mut batches, &aborted);
    Ok(Some(batches))
}

/// Takes the records out of batches of aborted transactions.
fn leave_out(batches: &mut [Batch], aborted: &[Aborted]) {
    if aborted.is_empty() {
        return;
    }
    for batch in batches {
        let header = batch.header;
        let is_within = |of: &Aborted| {
            of.producer_id == header.producer_id
                && (of.first_offset..of.last_offset).contains(&header.base_offset)
        };
        let attributes = header.attributes;
        if attributes.is_transactional() && !attributes.is_control() && aborted.iter().any(is_within) {
            *batch = batch.emptied();
        }
    }
}

/// The batches of a payload, which holds whole ones: slices of its pieces. Only a batch that lies across two
/// pieces is copied.
fn split(payload: Payload) -> Result<Vec<Batch>, String> {
    let mut batches = Vec::new();
    // The beginning of a batch whose rest is in the next piece.
    let mut begun = Vec::new();
    for piece in payload.into_pieces() {
        let mut bytes = in_memory(piece).map_err(|error| format!("read records: {error}"))?;
        while !bytes.is_empty() {
            if begun.is_empty() && is_whole(&bytes)? {
                let header = header(&bytes)?;
                batches.push(Batch { header, bytes: bytes.split_to(header.total_len()) });
                continue;
            }
            let wanted = if begun.len() < HEADER_LEN { HEADER_LEN } else { header(&begun)?.total_len() };
            begun.extend_from_slice(&bytes.split_to(bytes.len().min(wanted - begun.len())));
            if is_whole(&begun)? {
                let bytes = Bytes::from(std::mem::take(&mut begun));
                batches.push(Batch { header: header(&bytes)?, bytes });
            }
        }
    }
    if begun.is_empty() { Ok(batches) } else { Err("read records: the last batch is cut off".into()) }
}

fn header(bytes: &[u8]) -> Result<BatchHeader, String> {
    BatchHeader::parse(bytes).map_err(|error| format!("read records: {error}"))
}

/// Whether `bytes` begins with a whole batch.
fn is_whole(bytes: &[u8]) -> Result<bool, String> {
    Ok(bytes.len() >= HEADER_LEN && bytes.len() >= header(bytes)?.total_len())
}

fn in_memory(piece: Piece) -> std::io::Result<Bytes> {
    match piece {
        Piece::Bytes(bytes) => Ok(bytes),
        Piece::File { file, position, len } => {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, position)?;
            Ok(bytes.into())
        }
    }
}

pub(super) async fn offset_for_time(
    partition: Arc<Partition>,
    isolation: Isolation,
    timestamp_ms: i64,
) -> Result<Offset, ReadFailure> {
    let end = isolation.end_of(&partition);
    let found = blocking(move || {
        let found = partition.log().offset_for_timestamp(timestamp_ms, end);
        found.map_err(|error| ReadFailure::Storage(error.to_string()))
    });
    Ok(found.await?.map_or(end, |found| found.offset))
}

pub(super) async fn trim(partition: Arc<Partition>, before: Offset) -> Result<(), ReadFailure> {
    let before = before.min(partition.high_watermark());
    if before <= partition.log().log_start_offset() {
        return Ok(());
    }
    blocking(move || match partition.log().delete_records(before) {
        Ok(_) => Ok(()),
        Err(LogError::Closed | LogError::UnknownPartition(_)) => Err(ReadFailure::NotHere),
        Err(error) => Err(ReadFailure::Storage(error.to_string())),
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadFailure> + Send + 'static,
) -> Result<T, ReadFailure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(ReadFailure::Storage(format!("reading the log was interrupted: {error}")))
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use millrace_protocol::batch::{BatchBuilder, ProducerState};
    use millrace_protocol::compression::Codec;
    use proptest::prelude::*;

    use super::*;

    fn batch(value: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::with_capacity(256);
        builder.append(1, None, Some(value), &[]);
        builder.finish(Codec::None, ProducerState::NONE).unwrap()
    }

    fn payload(pieces: &[&[u8]]) -> Payload {
        let mut payload = Payload::new();
        pieces.iter().for_each(|piece| payload.push_bytes(Bytes::copy_from_slice(piece)));
        payload
    }

    proptest! {
        #[test]
        fn batches_are_found_wherever_the_pieces_are_cut(
            lens in prop::collection::vec(0..300usize, 1..6),
            mut cuts in prop::collection::vec(0..1500usize, 0..6),
        ) {
            let expected: Vec<Bytes> = lens.iter().map(|len| batch(&vec![7; *len])).collect();
            let mut rest = expected.iter().flatten().copied().collect::<BytesMut>().freeze();
            cuts.sort_unstable();
            let (mut pieces, mut at) = (Payload::new(), 0);
            for cut in cuts {
                let cut = (cut - at).min(rest.len());
                pieces.push_bytes(rest.split_to(cut));
                at += cut;
            }
            pieces.push_bytes(rest);
            let found: Vec<Bytes> = split(pieces).unwrap().into_iter().map(|batch| batch.bytes).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_batch_that_lies_in_one_piece_is_not_copied_and_one_that_is_cut_off_is_told() {
        let (first, second) = (batch(b"first"), batch(b"second"));
        let both: BytesMut = [&first[..], &second[..]].concat().as_slice().into();
        let both = both.freeze();
        let found = split(both.clone().into()).unwrap();
        assert_eq!(found[1].bytes.as_ptr(), both[first.len()..].as_ptr());
        let cut = split(payload(&[&both[..both.len() - 1]])).unwrap_err();
        assert!(cut.contains("cut off"), "{cut}");
    }
}
