//! Recovering one partition's segments: trusted up to the recovery point, checked from there on.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_base::Offset;
use millrace_base::limits::IO_ALIGNMENT;
use millrace_disk::DirEntry;

use super::swaps::Unnamed;
use super::taken_back::TakenBack;
use super::{RecoveryReport, WAY_OUT};
use crate::checkpoint::PartitionCheckpoint;
use crate::commit::Engine;
use crate::error::OpenError;
use crate::history::History;
use crate::index::IndexMark;
use crate::partition::{DirState, Recovered, RecoveredSegment};
use crate::segment::{INDEX_INTERVAL_BYTES_MIN, IndexBuilder, SegmentFile, follows_on};
use crate::walk::{WalkError, scan_verified};

/// Recovers one partition's segments.
pub(super) struct PartitionRecovery<'a> {
    pub engine: &'a Arc<Engine>,
    pub dir: PathBuf,
    pub unnamed: Option<Unnamed>,
    pub report: &'a mut RecoveryReport,
}

impl PartitionRecovery<'_> {
    /// `known` is what the checkpoint says, `taken` what the write-ahead log says to be taken back since, and `files`
    /// are what there is.
    pub fn run(
        mut self,
        known: Option<&PartitionCheckpoint>,
        taken: Option<&TakenBack>,
        mut files: Vec<(Offset, u64)>,
    ) -> Result<Recovered, OpenError> {
        let mut recovered = Recovered { dir: DirState::Durable, ..Recovered::default() };
        let taken_to = match taken {
            Some(taken) => self.take_back(taken, known, &mut files, &mut recovered)?,
            None => None,
        };
        let first = files.first().map(|(base, _)| *base);
        let first_history = || match first {
            Some(first) => History::below_first(&self.file(first)),
            None => History::default(),
        };
        let point = match (taken_to, known) {
            (Some(point), _) => point,
            (None, Some(known)) => known.clone(),
            (None, None) => PartitionCheckpoint::at(first.unwrap_or(0), first_history()),
        };
        // One that the checkpoint has no bytes of may have been made after it.
        if known.is_none_or(|known| known.position == 0) {
            recovered.dir = DirState::Made;
        }
        let cut_in = taken.map_or(Offset::MAX, |taken| taken.header.segment);
        recovered.needed_from = known.map(|known| known.segment.min(point.segment).min(cut_in));
        recovered.first_group = taken.map_or(point.first_group, |taken| taken.group + 1);
        recovered.log_start = point.log_start.max(first.unwrap_or(0));
        recovered.high_watermark = point.high_watermark;
        recovered.history = point.history.clone();
        if recovered.log_start > point.offset {
            recovered.history.producers.forget_any();
        }
        recovered.end = point.offset;
        for (base, len) in files.iter().filter(|(base, _)| *base < point.segment) {
            let (len, file) = (self.segment_len(*base, *len)?, self.file(*base));
            if self.unnamed.as_ref().is_some_and(|unnamed| unnamed.base == *base) {
                recovered.unnamed = Some(Arc::clone(&file));
            }
            recovered.segments.push(RecoveredSegment {
                base: *base,
                len,
                file,
                index: None,
                index_mark: IndexMark::default(),
                snapshot: None,
            });
        }
        let later: Vec<_> = files.iter().filter(|(base, _)| *base >= point.segment).copied().collect();
        self.scan(&point, &later, &mut recovered)?;
        let is_short = |end: Offset| recovered.end < end && !follows_on(recovered.end, end);
        if let Some(taken) = taken.filter(|taken| is_short(taken.header.end_offset)) {
            let reason = format!(
                "the log was cut back to offset {}, and ends at {} already: records are missing. {WAY_OUT}",
                taken.header.end_offset, recovered.end
            );
            return Err(OpenError::corrupt(&self.dir, 0, reason));
        }
        self.remove_snapshots(&recovered)?;
        recovered.history.epochs.trim_start(recovered.log_start);
        Ok(recovered)
    }

    /// Base offsets and lengths of the segments on disk, ordered.
    pub fn segment_files(&self) -> Result<Vec<(Offset, u64)>, OpenError> {
        let entries = self.engine.disk.list(&self.dir).map_err(OpenError::io("list", &self.dir))?;
        let base = |entry: &DirEntry, suffix: &str| {
            entry.name.strip_suffix(suffix)?.parse::<Offset>().ok().filter(|base| *base >= 0)
        };
        let mut files: Vec<_> =
            entries.iter().filter_map(|entry| Some((base(entry, ".log")?, entry.len))).collect();
        if let Some(Unnamed { base, len, .. }) = self.unnamed {
            files.insert(files.partition_point(|(before, _)| *before < base), (base, len));
        }
        for entry in &entries {
            if let Some(of) = base(entry, ".index")
                && !files.iter().any(|(base, _)| *base == of)
            {
                let path = self.dir.join(&entry.name);
                self.engine.disk.remove_file(&path).map_err(OpenError::io("remove", &path))?;
            }
        }
        Ok(files)
    }

    /// Removes the snapshots of segments that there are none of: they tell of records that are gone.
    fn remove_snapshots(&self, recovered: &Recovered) -> Result<(), OpenError> {
        let entries = self.engine.disk.list(&self.dir).map_err(OpenError::io("list", &self.dir))?;
        for entry in entries {
            let Some(base) = entry.name.strip_suffix(".snapshot") else { continue };
            let base: Option<Offset> = base.parse().ok();
            if !recovered.segments.iter().any(|segment| Some(segment.base) == base) {
                let path = self.dir.join(&entry.name);
                self.engine.disk.remove_file(&path).map_err(OpenError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    pub fn file(&self, base: Offset) -> Arc<SegmentFile> {
        let engine = self.engine;
        let file =
            SegmentFile::new(Arc::clone(&engine.disk), Arc::clone(&engine.open_files), &self.dir, base);
        match self.unnamed.as_ref().filter(|unnamed| unnamed.base == base) {
            Some(unnamed) => file.swapped_in(unnamed.path.clone()),
            None => file,
        }
    }

    pub fn segment_len(&self, base: Offset, len: u64) -> Result<u32, OpenError> {
        u32::try_from(len).map_err(|_| {
            OpenError::corrupt(&self.file(base).log_path, len, "it is longer than a segment can be")
        })
    }

    /// Checks the segments `files` from the recovery point on, as far as they are whole and follow each
    /// other, and cuts off the rest.
    fn scan(
        &mut self,
        point: &PartitionCheckpoint,
        files: &[(Offset, u64)],
        recovered: &mut Recovered,
    ) -> Result<(), OpenError> {
        if files.first().is_none_or(|(base, _)| *base != point.segment) {
            let file = self.file(point.segment);
            if point.position > 0 || !files.is_empty() {
                let reason = format!(
                    "the checkpoint has {} bytes of this segment, which is missing. {WAY_OUT}",
                    point.position
                );
                return Err(OpenError::corrupt(&file.log_path, 0, reason));
            }
            let index = Some(IndexBuilder::new(point.segment, INDEX_INTERVAL_BYTES_MIN));
            let index_mark = IndexMark::default();
            let fresh =
                RecoveredSegment { base: point.segment, len: 0, file, index, index_mark, snapshot: None };
            recovered.segments.push(fresh);
            return Ok(());
        }
        for (number, (base, len)) in files.iter().enumerate() {
            let from = if number == 0 { point.position } else { 0 };
            let mark = if number == 0 { point.index } else { IndexMark::default() };
            let max_timestamp_ms = if number == 0 { point.max_timestamp_ms } else { -1 };
            let (file, end) = self.scan_segment(*base, from, (mark, max_timestamp_ms), *len, recovered)?;
            let next = files.get(number + 1).map(|(base, _)| *base);
            if next.is_some_and(|next| follows_on(recovered.end, next)) {
                recovered.close_from = recovered.close_from.or(Some(*base));
                continue;
            }
            self.cut(&file, end, *len, end > from, recovered)?;
            for (base, len) in &files[number + 1..] {
                let file = self.file(*base);
                file.remove().map_err(OpenError::io("remove", &file.log_path))?;
                self.report.truncated_bytes += len;
                recovered.unsynced.push(self.file(recovered.segments.last().map_or(0, |last| last.base)));
            }
            break;
        }
        Ok(())
    }

    /// Checks one segment from position `from` on; returns where it ends.
    fn scan_segment(
        &mut self,
        base: Offset,
        from: u32,
        (mark, max_timestamp_ms): (IndexMark, i64),
        len: u64,
        recovered: &mut Recovered,
    ) -> Result<(Arc<SegmentFile>, u32), OpenError> {
        let file = self.file(base);
        if len < u64::from(from) {
            let reason =
                format!("the checkpoint has {from} bytes of this segment; records are missing. {WAY_OUT}");
            return Err(OpenError::corrupt(&file.log_path, len, reason));
        }
        self.segment_len(base, len)?;
        let (index, index_mark) = file.active_index(from, mark).map_err(|error| match error {
            WalkError::Io(source) => OpenError::io("read", &file.log_path)(source),
            WalkError::Damaged { position, reason } => {
                OpenError::corrupt(&file.log_path, u64::from(position), reason)
            }
        })?;
        let mut index = IndexBuilder::resume(index, max_timestamp_ms, base);
        let log = file.log().map_err(OpenError::io("open", &file.log_path))?;
        let now_ms = self.engine.clock.now_ms();
        // Behind a gap, the log ends where the segment begins until there is a record in it.
        recovered.end = recovered.end.max(base);
        // Its snapshot may not have come to disk: it is written when the segment before is closed.
        let history = &mut recovered.history;
        let snapshot = (from == 0 && base > 0).then(|| history.encode(base));
        let (end, end_offset) = scan_verified(&*log, from, recovered.end, |position, header, marker| {
            index.add(header, position);
            history.record(header, marker, position, now_ms);
        })
        .map_err(OpenError::io("read", &file.log_path))?;
        self.report.scanned_bytes += u64::from(end - from);
        recovered.end = end_offset;
        recovered.segments.push(RecoveredSegment {
            base,
            len: end,
            file: Arc::clone(&file),
            index: Some(index),
            index_mark,
            snapshot,
        });
        Ok((file, end))
    }

    /// Makes `end` the end of the active segment's file, unless only the padding of its last block follows.
    fn cut(
        &mut self,
        file: &Arc<SegmentFile>,
        end: u32,
        len: u64,
        scanned: bool,
        recovered: &mut Recovered,
    ) -> Result<(), OpenError> {
        let log = file.log().map_err(OpenError::io("open", &file.log_path))?;
        let block = end - end % IO_ALIGNMENT as u32;
        let mut last_block = vec![0; IO_ALIGNMENT];
        let read =
            log.read_at(&mut last_block, u64::from(block)).map_err(OpenError::io("read", &file.log_path))?;
        let kept = (end - block) as usize;
        let padding_only = len <= u64::from(block) + IO_ALIGNMENT as u64
            && last_block[kept..read].iter().all(|byte| *byte == 0);
        if !padding_only || (kept == 0 && len > u64::from(end)) {
            log.truncate(u64::from(end)).map_err(OpenError::io("cut", &file.log_path))?;
            self.report.truncated_bytes += len - u64::from(end);
        }
        if scanned || len != u64::from(end) {
            recovered.unsynced.push(Arc::clone(file));
        }
        last_block.truncate(kept);
        recovered.last_block = last_block;
        Ok(())
    }
}
