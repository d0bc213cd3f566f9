//! The partition's part in a commit: what is pending goes into a group or a segment, then it is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::PartitionLog;
use super::flush::Purpose;
use super::state::LogPosition;
use crate::commit::Route;
use crate::segment::DiskFault;
use crate::wal::format::{EntryHeader, EntryKind};
use crate::wal::writer::Group;

/// What became of a partition's turn in a group of the write-ahead log.
#[derive(Debug)]
pub(crate) enum Fill {
    /// Everything up to here is in the group and in flight.
    Added(LogPosition),
    /// Nothing is pending, or a commit is under way whose end will queue the partition again.
    Nothing,
    /// The group is too full; the partition keeps its turn.
    GroupFull,
    /// It is to be committed straight to its segment.
    Direct,
}

impl PartitionLog {
    /// Copies what is pending into `group`.
    pub(crate) fn fill(&self, group: &mut Group) -> Fill {
        let mut state = self.state.lock();
        let pending = state.pending_bytes();
        if state.in_flight.is_some() || pending == 0 || state.deleted || state.takes_nothing() {
            state.queued = false;
            return Fill::Nothing;
        }
        if state.heat.route(pending, self.engine.wal_bytes_max) == Route::Direct {
            return Fill::Direct;
        }
        if !group.has_room(state.pending_spans().count(), pending as usize) {
            return if group.is_empty() { Fill::Direct } else { Fill::GroupFull };
        }
        for (segment, range) in state.pending_spans() {
            let base_offset = if range.start == 0 { segment.base } else { state.committed.offset };
            let last = segment.tail.batches.back().expect("what is pending is in memory");
            let end_offset = last.next_offset();
            let header = EntryHeader {
                kind: EntryKind::Append,
                tp: self.tp,
                len: range.len() as u32,
                base_offset,
                end_offset,
                segment: segment.base,
                position: range.start,
            };
            group.push(&header, |mut target| {
                segment.tail.for_each_piece(range.clone(), |chunk, piece| {
                    let bytes = chunk.bytes(piece);
                    let (part, rest) = std::mem::take(&mut target).split_at_mut(bytes.len());
                    part.copy_from_slice(bytes);
                    target = rest;
                });
            });
        }
        state.queued = false;
        state.in_flight = Some(state.end);
        Fill::Added(state.end)
    }

    /// Writes everything to the segment and makes it durable. Returns whether there was anything to do.
    pub(crate) fn commit_direct(&self) -> Result<bool, DiskFault> {
        let mut io = self.segment_io.lock();
        self.finish_taking_back(&mut io).inspect_err(|_| self.stall())?;
        let target = {
            let mut state = self.state.lock();
            state.queued = false;
            let nothing =
                state.in_flight.is_some() || state.pending_bytes() == 0 || state.deleted || state.unsure;
            if nothing {
                return Ok(false);
            }
            let end = state.end;
            state.in_flight = Some(end);
            end
        };
        let outcome = self.flush_to(&mut io, target, Purpose::Commit).and_then(|()| self.sync(&mut io));
        drop(io);
        match outcome {
            Ok(()) => {
                self.complete(target);
                Ok(true)
            }
            Err(fault) => {
                let mut state = self.state.lock();
                state.in_flight = None;
                // Known bytes stay in memory and are written again, to the same places.
                state.stalled = true;
                Err(fault)
            }
        }
    }

    /// A retry of a commit that was stalled: true if it went through now.
    pub(crate) fn retry_direct(&self) -> Result<bool, DiskFault> {
        self.state.lock().stalled = false;
        self.commit_direct()
    }

    /// What is pending waits until it is retried; appends are refused meanwhile.
    pub(crate) fn stall(&self) {
        let mut state = self.state.lock();
        state.queued = false;
        state.stalled = true;
    }

    /// Notes that the commit in flight has made everything up to `target` durable, unless that was taken back.
    pub(crate) fn complete(&self, target: LogPosition) {
        // Held until it has returned: who takes records back waits for that.
        let listener = self.listener.read();
        {
            let mut state = self.state.lock();
            if state.in_flight != Some(target) {
                return;
            }
            let committed = target.total - state.committed.total;
            state.committed = target;
            self.durable_end.store(target.offset, Ordering::Release);
            self.engine.committed(committed);
        }
        if let Some(listener) = &*listener {
            listener(target.offset);
        }
        drop(listener);
        // Only now may the next commit begin: listeners see the end grow.
        self.abandon(target);
    }

    /// Ends the commit in flight, whatever came of it; what is pending waits for the next one.
    pub(crate) fn abandon(&self, target: LogPosition) {
        let route = {
            let mut state = self.state.lock();
            if state.in_flight != Some(target) {
                return;
            }
            state.in_flight = None;
            state.next_route(self.engine.wal_bytes_max)
        };
        self.enqueue(route);
    }

    /// Whether the commit up to `target` is still wanted: the partition was not deleted, nor cut back.
    pub(crate) fn is_in_flight(&self, target: LogPosition) -> bool {
        let state = self.state.lock();
        !state.deleted && state.in_flight == Some(target)
    }

    pub(super) fn enqueue(&self, route: Option<Route>) {
        if let Some(route) = route
            && let Some(me) = self.me.upgrade()
        {
            self.engine.queues.push(me, route);
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        let state = self.state.lock();
        !state.deleted && !state.unsure && (state.pending_bytes() > 0 || state.in_flight.is_some())
    }

    /// Ends the partition: appends are refused, what is pending is forgotten, segment writes are over.
    pub(crate) fn end(&self) {
        let mut io = self.segment_io.lock();
        self.close_appends();
        let mut state = self.state.lock();
        state.deleted = true;
        state.in_flight = None;
        let pending = state.pending_bytes();
        state.committed = state.end;
        for segment in &state.segments {
            segment.file.forget();
        }
        io.forget();
        drop(state);
        self.engine.committed(pending);
    }

    pub(crate) fn close_appends(&self) {
        self.appender.lock().closed = true;
    }

    pub(crate) fn arc(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }
}
