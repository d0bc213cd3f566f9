//! What is known of a log below an offset besides its records: its producers and its leaders' epochs.
//!
//! Beside each segment but a log's first lies the history of its base offset, written when the segment before it is
//! closed, so that truncation need not read the log from its beginning. `<base offset>.snapshot`, little-endian,
//! version 2:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `MRSN` |
//! | 4..6 | version u16 |
//! | 6..8 | zero |
//! | 8..16 | base offset i64 |
//! | 16..20 | CRC-32C of all before and after it |
//! | 20.. | [epochs](crate::epochs), [producers](crate::producer), [aborted transactions](crate::transactions) |
//!
//! The aborted transactions are those that end in the segment before: it is their index.
//!
//! It is a cache of what the records say. One that is missing, damaged or of another version is done without: the
//! records are gone through from an earlier one on.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use millrace_base::{LeaderEpoch, Offset};
use millrace_protocol::batch::{BatchHeader, TransactionMarker};

use crate::checksum;
use crate::epochs::Epochs;
use crate::producer::Producers;
use crate::segment::{INDEX_INTERVAL_BYTES_MIN, IndexBuilder, SegmentFile};
use crate::transactions::{self, Aborted, Ended};
use crate::walk::{Walk, WalkError};

const MAGIC: u32 = u32::from_le_bytes(*b"MRSN");
const VERSION: u16 = 2;
const CRC_AT: usize = 16;
const BODY_AT: usize = 20;

/// Producers and epochs of the records below an offset, and the transactions that are aborted in its last segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub epochs: Epochs,
    pub producers: Producers,
    /// Whose markers are in the same segment as the last batch, ordered by them.
    pub aborted: Vec<Aborted>,
}

/// Where a log is cut, what its last segment's index is then, and what is known below.
pub(crate) struct CutAt {
    pub position: u32,
    /// After the last batch that ends at or below the offset that was asked for.
    pub end: Offset,
    pub index: IndexBuilder,
    pub history: History,
}

impl History {
    /// Of a log that begins at `base`; what was below is not known.
    fn unknown_below(base: Offset) -> Self {
        let mut history = Self::default();
        if base > 0 {
            history.producers.forget_any();
        }
        history
    }

    /// Notes a batch at `position` of its segment, and what marker it is. Tells what transaction it ends.
    pub fn record(
        &mut self,
        header: &BatchHeader,
        marker: Option<&TransactionMarker>,
        position: u32,
        now_ms: i64,
    ) -> Option<Ended> {
        if position == 0 {
            self.aborted.clear();
        }
        self.epochs.record(LeaderEpoch(header.partition_leader_epoch), header.base_offset);
        let ended = self.producers.record(header, marker, now_ms);
        self.aborted.extend(ended.filter(|ended| ended.is_aborted).map(|ended| ended.transaction));
        ended
    }

    /// Notes the batches that `walk` has still to come to.
    fn record_all(&mut self, walk: &mut Walk<'_>, now_ms: i64) -> Result<(), WalkError> {
        while let Some((position, header)) = walk.next_header()? {
            let marker = walk.marker(position, &header)?;
            self.record(&header, marker.as_ref(), position, now_ms);
        }
        Ok(())
    }

    pub fn encode_body(&self, out: &mut Vec<u8>) {
        self.epochs.encode(out);
        self.producers.encode(out);
        transactions::encode(&self.aborted, out);
    }

    pub fn decode_body(from: &mut &[u8]) -> Result<Self, bytes::TryGetError> {
        Ok(Self {
            epochs: Epochs::decode(from)?,
            producers: Producers::decode(from)?,
            aborted: transactions::decode(from)?,
        })
    }

    /// The snapshot's bytes for the segment at `base`.
    pub fn encode(&self, base: Offset) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.put_u32_le(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_i64_le(base);
        out.put_u32_le(0);
        self.encode_body(&mut out);
        let crc = checksum_of(&out);
        out[CRC_AT..BODY_AT].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None`: not the whole, undamaged snapshot of the segment at `base`.
    pub fn decode(bytes: &[u8], base: Offset) -> Option<Self> {
        let mut rest = bytes;
        let is_ours = rest.try_get_u32_le().ok()? == MAGIC && rest.try_get_u16_le().ok()? == VERSION;
        let of_base = rest.try_get_u16_le().ok()? == 0 && rest.try_get_i64_le().ok()? == base;
        let crc = rest.try_get_u32_le().ok()?;
        if !is_ours || !of_base || !checksum::holds(crc, checksum_of(bytes)) {
            return None;
        }
        let history = Self::decode_body(&mut rest).ok()?;
        let sound = history.epochs.are_sound(base)
            && history.producers.are_sound(base)
            && transactions::are_sound(&history.aborted, base);
        (rest.is_empty() && sound).then_some(history)
    }

    /// Of the records below a segment, as its snapshot has it.
    fn below(file: &SegmentFile) -> Option<Self> {
        Self::decode(&file.snapshot_bytes()?, file.base_offset())
    }

    /// Of the records below a log's first segment.
    pub fn below_first(file: &SegmentFile) -> Self {
        Self::below(file).unwrap_or_else(|| Self::unknown_below(file.base_offset()))
    }
}

/// Where to cut a log so that all that is left ends at or below `to`. `segments`, each with its length, are the log's
/// from the first on, and the last of them is the one that `to` lies in.
pub(crate) fn cut_at(
    segments: &[(Arc<SegmentFile>, u32)],
    to: Offset,
    now_ms: i64,
) -> Result<CutAt, WalkError> {
    let (last, before) = segments.split_last().expect("a log has at least one segment");
    let mut snapshots = segments.iter().enumerate().skip(1).rev();
    let known = snapshots.find_map(|(number, (file, _))| Some((number, History::below(file)?)));
    let (first, mut history) = known.unwrap_or_else(|| (0, History::below_first(&segments[0].0)));
    for (file, len) in before.get(first..).unwrap_or_default() {
        let log = file.log()?;
        history.record_all(&mut Walk::new(&*log, 0, *len), now_ms)?;
    }
    let (file, len) = last;
    let base = file.base_offset();
    let mut cut =
        CutAt { position: 0, end: base, index: IndexBuilder::new(base, INDEX_INTERVAL_BYTES_MIN), history };
    if *len > 0 {
        let log = file.log()?;
        let mut walk = Walk::new(&*log, 0, *len);
        while let Some((position, header)) = walk.next_header()? {
            if header.base_offset < cut.end || header.last_offset_delta < 0 {
                let reason = format!("offset {} stands behind {}", header.base_offset, cut.end);
                return Err(WalkError::Damaged { position, reason });
            }
            if header.base_offset >= to || header.next_offset() > to {
                break;
            }
            let marker = walk.marker(position, &header)?;
            cut.history.record(&header, marker.as_ref(), position, now_ms);
            cut.index.add(&header, position);
            cut.position = position + header.total_len() as u32;
            cut.end = header.next_offset();
        }
    }
    Ok(cut)
}

/// Of everything but the checksum itself.
fn checksum_of(bytes: &[u8]) -> u32 {
    checksum::crc32c_append(checksum::crc32c(&bytes[..CRC_AT]), bytes.get(BODY_AT..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn history() -> History {
        let mut history = History::default();
        history.epochs.record(LeaderEpoch(3), 5);
        history.epochs.record(LeaderEpoch(4), 9);
        history.producers.forget_any();
        history
    }

    #[test]
    fn what_was_encoded_decodes_to_the_same_and_for_its_segment_only() {
        let history = history();
        let bytes = history.encode(9);
        assert_eq!(History::decode(&bytes, 9), Some(history));
        assert_eq!(History::decode(&bytes, 10), None);
        for cut in 0..bytes.len() {
            assert_eq!(History::decode(&bytes[..cut], 9), None);
        }
        let above = History { producers: Producers::default(), ..self::history() }.encode(8);
        assert_eq!(History::decode(&above, 8), None, "an epoch that begins above the base");
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in 0..100usize, by in 1..=255u8) {
            let history = history();
            let mut bytes = history.encode(9);
            let at = at % bytes.len();
            bytes[at] ^= by;
            prop_assert_eq!(History::decode(&bytes, 9), None);
        }

        #[test]
        fn garbage_is_no_snapshot(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(History::decode(&bytes, 0), None);
        }
    }
}
