//! Removing old segments: by age, by size, and below a log start that was asked for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_base::Offset;
use millrace_config::TopicConfig;

use super::PartitionLog;
use super::flush::Purpose;
use super::state::{Segment, State};
use crate::manager::RetentionReport;
use crate::segment::{DiskFault, SegmentFile};

impl State {
    /// How many segments from the first on are closed, committed and end at or below `bound`.
    fn removable(&self, bound: Offset) -> usize {
        let bound = bound.min(self.committed.offset);
        (0..self.segments.len())
            .take_while(|index| {
                self.segments[*index].base < self.flushed.segment && self.segment_end(*index) <= bound
            })
            .count()
    }
}

impl PartitionLog {
    /// The offset that retention would make the log start, and nothing changed yet. `None`: nothing to do.
    pub(crate) fn retention_target(&self, now_ms: i64) -> Option<Offset> {
        let config = self.config.read().clone()?;
        let deletes = config.cleanup_policy.delete;
        if deletes {
            self.load_oldest(&config, now_ms);
            self.roll_expired(&config, now_ms);
            if let Err(fault) = self.close_ended_segments() {
                self.engine.report(&fault);
            }
        }
        let state = self.state.lock();
        let removable = state.removable(self.high_watermark());
        let mut keep_from = 0;
        while deletes && keep_from < removable && is_expired(&state.segments[keep_from], &config, now_ms) {
            keep_from += 1;
        }
        if let Some(max_bytes) = config.retention_bytes.filter(|_| deletes) {
            let mut bytes: u64 = state.segments.range(keep_from..).map(|s| u64::from(s.len)).sum();
            while keep_from < removable && bytes - u64::from(state.segments[keep_from].len) >= max_bytes {
                bytes -= u64::from(state.segments[keep_from].len);
                keep_from += 1;
            }
        }
        // Segments below a log start that was moved by hand, or left by a removal that failed.
        while keep_from < removable && state.segment_end(keep_from) <= self.log_start_offset() {
            keep_from += 1;
        }
        (keep_from > 0).then(|| state.segments[keep_from].base)
    }

    /// An active segment whose records have all expired is ended, so that it can be removed.
    fn roll_expired(&self, config: &TopicConfig, now_ms: i64) {
        let mut appender = self.appender.lock();
        if appender.closed || appender.end.position == 0 {
            return;
        }
        let expired = is_expired(self.state.lock().active(), config, now_ms);
        if expired && self.high_watermark() >= appender.end.offset {
            let base = appender.end.offset;
            self.roll(&mut appender, base, now_ms);
        }
    }

    /// Age is told by the index, or by the file; only the oldest segments' are needed.
    fn load_oldest(&self, config: &TopicConfig, now_ms: i64) {
        loop {
            let (base, file) = {
                let state = self.state.lock();
                let mut oldest = state.segments.iter();
                match oldest.find(|segment| !is_expired(segment, config, now_ms)) {
                    Some(segment) if segment.index.is_none() => (segment.base, None),
                    Some(segment) if segment.newest_ms().is_none() && segment.recovered > 0 => {
                        (segment.base, Some(Arc::clone(&segment.file)))
                    }
                    _ => return,
                }
            };
            let loaded = match file {
                None => self.load_index(base).is_ok(),
                Some(file) => self.load_modified(base, &file).is_ok(),
            };
            if !loaded {
                return;
            }
        }
    }

    pub(super) fn load_modified(&self, base: Offset, file: &Arc<SegmentFile>) -> io::Result<()> {
        let modified_ms = file.log()?.modified_ms()?;
        let mut state = self.state.lock();
        let index = state.segment_index(base);
        let segment = &mut state.segments[index];
        if segment.base == base {
            segment.modified_ms = segment.modified_ms.or(Some(modified_ms));
        }
        Ok(())
    }

    /// Segment writes are brought up to the end, so that ended segments are closed. Durable on return.
    pub(crate) fn close_ended_segments(&self) -> Result<(), DiskFault> {
        let end = {
            let state = self.state.lock();
            if state.flushed.segment == state.end.segment {
                return Ok(());
            }
            state.end
        };
        let mut io = self.segment_io.lock();
        self.flush_to(&mut io, end, Purpose::Upkeep)?;
        self.sync(&mut io)
    }

    pub(crate) fn expire_producers(&self, now_ms: i64, expiration_ms: i64) {
        self.appender.lock().history.producers.expire(now_ms, expiration_ms);
    }

    pub(crate) fn raise_log_start(&self, offset: Offset) {
        self.log_start.fetch_max(offset, Ordering::AcqRel);
        self.appender.lock().history.epochs.trim_start(offset);
        self.state.lock().version += 1;
    }

    /// Whether segments could be removed, were it not for the last checkpoint.
    pub(crate) fn removal_waits_for_checkpoint(&self) -> bool {
        let state = self.state.lock();
        let removable = state.removable(self.log_start_offset());
        let newest = removable.checked_sub(1).and_then(|newest| state.segments.get(newest));
        newest.is_some_and(|newest| newest.base >= self.checkpointed_segment.load(Ordering::Relaxed))
    }

    /// Removes segments that lie below the log start, oldest first, if the last checkpoint does not need them. A
    /// crash leaves a log without holes: each removal is durable before the next one begins.
    pub(crate) fn remove_below_log_start(&self) -> RetentionReport {
        let mut report = RetentionReport::default();
        let mut io = self.segment_io.lock();
        if let Err(fault) = self.finish_swap(&mut io) {
            self.engine.report(&fault);
            return report;
        }
        loop {
            let (file, len): (Arc<_>, u32) = {
                let mut state = self.state.lock();
                let checkpointed = self.checkpointed_segment.load(Ordering::Relaxed);
                let needed = state.segments.front().is_none_or(|first| first.base >= checkpointed);
                if needed || state.deleted || state.removable(self.log_start_offset()) == 0 {
                    return report;
                }
                let Some(segment) = state.segments.pop_front() else { return report };
                (segment.file, segment.len)
            };
            let removed = file.remove().and_then(|()| self.engine.disk.sync_dir(&self.dir));
            if let Err(error) = removed {
                // It stays on disk below the log start; a restart finds it and retention removes it then.
                tracing::warn!(path = %file.log_path.display(), %error, "segment could not be removed");
                return report;
            }
            report.segments += 1;
            report.bytes += u64::from(len);
        }
    }
}

/// Whether the newest record of a segment is past retention. False if its age is not known yet.
fn is_expired(segment: &Segment, config: &TopicConfig, now_ms: i64) -> bool {
    let Some(retention_ms) = config.retention_ms else { return false };
    segment.newest_ms().is_some_and(|newest_ms| now_ms.saturating_sub(newest_ms) > retention_ms)
}
