//! Recovering a partition as if what was taken back had never been there.
//!
//! All below the place is in segments, so that nothing of the groups before it is replayed; what segments hold above it
//! is removed, unless it has come later. A crash before recovery's checkpoint leaves the same to be done.

use std::sync::Arc;

use millrace_base::Offset;

use super::WAY_OUT;
use super::partition::PartitionRecovery;
use super::taken_back::TakenBack;
use crate::checkpoint::PartitionCheckpoint;
use crate::error::OpenError;
use crate::history::{History, cut_at};
use crate::partition::Recovered;
use crate::segment::{SegmentFile, follows_on};
use crate::wal::format::{EntryHeader, EntryKind};
use crate::walk::WalkError;

impl PartitionRecovery<'_> {
    /// Brings `files` to what is left. Returns the point from which they are to be checked, if it is not the one that
    /// the checkpoint knows.
    pub fn take_back(
        &mut self,
        taken: &TakenBack,
        known: Option<&PartitionCheckpoint>,
        files: &mut Vec<(Offset, u64)>,
        recovered: &mut Recovered,
    ) -> Result<Option<PartitionCheckpoint>, OpenError> {
        let EntryHeader { kind, end_offset: end, segment, position, .. } = taken.header;
        if !taken.is_cut {
            let keeps = |base: Offset| kind == EntryKind::Truncate && base < end;
            // The newest first: what is left is a log without holes.
            while let Some((base, len)) = files.pop_if(|(base, _)| !keeps(*base)) {
                let file = self.file(base);
                file.remove().map_err(OpenError::io("remove", &file.log_path))?;
                self.report.truncated_bytes += len;
                recovered.names = true;
            }
        }
        if kind == EntryKind::Truncate && position > 0 {
            let cut = self.cut_back(segment, position, files)?;
            recovered.unsynced.extend(cut);
        }
        // Nothing has changed of what the checkpoint knows, or it knows nothing and all is checked.
        let knows = |offset: Offset| taken.kept_below.is_some_and(|below| offset <= below);
        if known.map_or(taken.kept_below.is_some(), |known| knows(known.offset)) {
            return Ok(None);
        }
        let before: Vec<_> = files.iter().filter(|(base, _)| *base < end).copied().collect();
        let mut segments = Vec::with_capacity(before.len());
        for (base, len) in before {
            segments.push((self.file(base), self.segment_len(base, len)?));
        }
        let mut history = self.history(&segments, end)?;
        if let (Some(known), Some(below)) = (known, taken.kept_below) {
            // Records may tell less than was known of them: compaction leaves epochs without any, and producers.
            history.epochs = history.epochs.over(&known.history.epochs, below);
            history.producers.forget_as(&known.history.producers);
        }
        let mut point = PartitionCheckpoint::at(end, history);
        let kept = known.filter(|_| taken.log_start.is_none());
        point.log_start = taken.log_start.or(kept.map(|known| known.log_start)).unwrap_or(end).min(end);
        point.high_watermark = kept.map_or(end, |known| known.high_watermark).clamp(point.log_start, end);
        Ok(Some(point))
    }

    /// Makes the segment that a truncation ends in end at `position`. Returns it if it did not.
    fn cut_back(
        &mut self,
        segment: Offset,
        position: u32,
        files: &mut [(Offset, u64)],
    ) -> Result<Option<Arc<SegmentFile>>, OpenError> {
        let file = self.file(segment);
        let found = files.iter_mut().find(|(base, _)| *base == segment);
        let len = found.as_ref().map_or(0, |(_, len)| *len);
        let Some((_, found)) = found.filter(|(_, len)| *len >= u64::from(position)) else {
            let reason = format!(
                "its log was cut back to {position} bytes of this segment; records are missing. {WAY_OUT}"
            );
            return Err(OpenError::corrupt(&file.log_path, len, reason));
        };
        if len == u64::from(position) {
            return Ok(None);
        }
        *found = u64::from(position);
        let log = file.log().map_err(OpenError::io("open", &file.log_path))?;
        log.truncate(u64::from(position)).map_err(OpenError::io("cut", &file.log_path))?;
        self.report.truncated_bytes += len - u64::from(position);
        Ok(Some(file))
    }

    /// What is known of the records below `end`, all of which `segments` hold.
    fn history(&self, segments: &[(Arc<SegmentFile>, u32)], end: Offset) -> Result<History, OpenError> {
        let Some((last, _)) = segments.last() else {
            return Ok(History::below_first(&self.file(end)));
        };
        let cut = cut_at(segments, end, self.engine.clock.now_ms()).map_err(|error| match error {
            WalkError::Io(source) => OpenError::io("read", &last.log_path)(source),
            WalkError::Damaged { position, reason } => {
                OpenError::corrupt(&last.log_path, u64::from(position), reason)
            }
        })?;
        if cut.end < end && !follows_on(cut.end, end) {
            let reason = format!(
                "the log was cut back to offset {end}, and this segment ends at {} already: records are missing. {WAY_OUT}",
                cut.end
            );
            return Err(OpenError::corrupt(&last.log_path, u64::from(cut.position), reason));
        }
        Ok(cut.history)
    }
}
