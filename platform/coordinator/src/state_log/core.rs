//! What one leader knows of its log: the machine as all of the log makes it, and as the part makes it that is on all
//! in-sync replicas. Pure: no lock, no task, no clock.
//!
//! Decisions are made on the first, since what is appended will be so or the leadership is lost, and everything here
//! with it. Answers come from the second. Records change both through what [`Machine::decode`] reads of their bytes,
//! never directly, so that a machine that is made again from its log is the one that lived.
//!
//! The two are two copies, not one with both in it: it costs memory, and no machine can get the rule wrong.

use std::collections::VecDeque;

use millrace_base::Offset;
use millrace_protocol::batch::{Batch, BatchBuilder, Record};

use super::kept::Kept;
use super::machine::{Machine, StateRecord};

/// Records of about so many bytes are written together when all are written.
const CHUNK_BYTES: usize = 256 << 10;

/// Changes that are appended, and not known to be on all in-sync replicas.
struct Pending<M: Machine> {
    end: Offset,
    bytes: usize,
    changes: Vec<M::Change>,
}

/// How far a snapshot is.
pub(super) enum Cursor<C> {
    State(Option<C>),
    Kept(Option<Vec<u8>>),
}

/// See the module's text.
pub(super) struct Core<M: Machine> {
    latest: M,
    committed: M,
    pending: VecDeque<Pending<M>>,
    pending_bytes: usize,
    kept: Kept,
    /// Everything below is in `latest`.
    next_offset: Offset,
    /// Bytes of the log that a snapshot would make needless, and of the last snapshot.
    grown_bytes: usize,
    snapshot_bytes: usize,
    /// The log holds something that no snapshot would: nothing of it is ever deleted.
    is_pinned: bool,
    is_overtaken: bool,
}

impl<M: Machine> Core<M> {
    /// Nothing is read yet.
    pub fn new(start: Offset) -> Self {
        Self {
            latest: M::default(),
            committed: M::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            kept: Kept::default(),
            next_offset: start,
            grown_bytes: 0,
            snapshot_bytes: 0,
            is_pinned: false,
            is_overtaken: false,
        }
    }

    /// Whether the records of a batch that was read are to be [loaded](Self::load). Whether a transaction's count is
    /// said by its marker, and this version reads none.
    pub fn is_read(&mut self, batch: &Batch) -> bool {
        let attributes = batch.header.attributes;
        let is_read = !attributes.is_control() && !attributes.is_transactional();
        self.is_pinned |= !is_read;
        is_read
    }

    /// Takes a record of the log that is on all in-sync replicas.
    pub fn load(&mut self, record: &Record<'_>) {
        let Some(key) = record.key else {
            // No later record can stand for it.
            self.is_pinned = true;
            return;
        };
        match M::decode(key, record.value) {
            Some(change) => {
                self.kept.forget(key);
                self.latest.apply(&change);
                self.committed.apply(&change);
            }
            None => self.kept.keep(key, record),
        }
    }

    /// Everything below `next_offset` is read.
    pub fn loaded(&mut self, next_offset: Offset, bytes: usize) {
        self.next_offset = self.next_offset.max(next_offset);
        self.grown_bytes += bytes;
    }

    pub const fn latest(&self) -> &M {
        &self.latest
    }

    pub const fn committed(&self) -> &M {
        &self.committed
    }

    pub const fn next_offset(&self) -> Offset {
        self.next_offset
    }

    pub const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Where the last change ends that is not known to be on all in-sync replicas.
    pub fn pending_end(&self) -> Option<Offset> {
        self.pending.back().map(|pending| pending.end)
    }

    /// Records of the machine's, decoded, were appended, and end before `end`.
    pub fn appended(&mut self, records: &[StateRecord], changes: Vec<M::Change>, end: Offset, bytes: usize) {
        for record in records {
            self.kept.forget(&record.key);
        }
        for change in &changes {
            self.latest.apply(change);
        }
        self.next_offset = end;
        self.grown_bytes += bytes;
        self.pending_bytes += bytes;
        self.pending.push_back(Pending { end, bytes, changes });
    }

    /// All in-sync replicas have everything below `end`.
    pub fn commit(&mut self, end: Offset) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.end <= end) {
            self.pending_bytes -= pending.bytes;
            for change in &pending.changes {
                self.committed.apply(change);
            }
        }
    }

    /// The log holds records that are not in `latest`.
    pub const fn overtaken(&mut self) {
        self.is_overtaken = true;
    }

    pub const fn is_overtaken(&self) -> bool {
        self.is_overtaken
    }

    /// Whether all state should be written once more, to delete what is before it: the log has grown by `min_bytes`,
    /// and by as much as that writes.
    pub fn snapshot_is_due(&self, min_bytes: usize) -> bool {
        !self.is_pinned && self.grown_bytes >= min_bytes.max(self.snapshot_bytes)
    }

    pub const fn grown_bytes(&self) -> usize {
        self.grown_bytes
    }

    /// The next records of a snapshot; `None` when there are no more. They are appended before anything else is, so
    /// that none of them hides a later one.
    pub fn snapshot_chunk(&self, cursor: &mut Cursor<M::Cursor>, now_ms: i64) -> Option<BatchBuilder> {
        let (mut builder, mut bytes) = (BatchBuilder::default(), 0);
        while bytes < CHUNK_BYTES {
            let written = match cursor {
                Cursor::State(after) => match self.latest.next_record(after.as_ref()) {
                    Some((at, StateRecord { key, value })) => {
                        *after = Some(at);
                        builder.append(now_ms, Some(&key), value.as_deref(), &[]);
                        BatchBuilder::record_bytes_max(Some(&key), value.as_deref(), &[])
                    }
                    None => {
                        *cursor = Cursor::Kept(None);
                        continue;
                    }
                },
                // Behind the state, since a value that is not known may be of a key that is.
                Cursor::Kept(after) => match self.kept.write_next(after.as_deref(), &mut builder) {
                    Some((at, written)) => {
                        *after = Some(at);
                        written
                    }
                    None => break,
                },
            };
            bytes += written;
        }
        (bytes > 0).then_some(builder)
    }

    /// A part of a snapshot was appended, and ends before `end`.
    pub const fn snapshot_appended(&mut self, end: Offset) {
        self.next_offset = end;
    }

    /// A snapshot of `bytes` stands for the log's first `grown` bytes.
    pub const fn snapshot_done(&mut self, grown: usize, bytes: usize) {
        self.grown_bytes -= grown;
        self.snapshot_bytes = bytes;
    }
}
