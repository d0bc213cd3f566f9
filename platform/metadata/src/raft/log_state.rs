//! What the Raft log holds, in memory: entries, vote, how far it was purged and committed. No I/O.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use super::{Entry, LogId, Vote};

/// What is on disk, and what is on its way there.
#[derive(Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<u64, (Entry, usize)>,
    pub(super) entry_bytes: u64,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

impl State {
    pub(super) fn insert(&mut self, entry: Entry, bytes: usize) {
        self.entry_bytes += bytes as u64;
        if let Some((_, before)) = self.entries.insert(entry.log_id.index, (entry, bytes)) {
            self.entry_bytes -= before as u64;
        }
    }

    pub(super) fn truncate(&mut self, from: u64) {
        let dropped = self.entries.split_off(&from);
        self.entry_bytes -= dropped.values().map(|(_, bytes)| *bytes as u64).sum::<u64>();
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        let kept = self.entries.split_off(&(upto.index + 1));
        let dropped = std::mem::replace(&mut self.entries, kept);
        self.entry_bytes -= dropped.values().map(|(_, bytes)| *bytes as u64).sum::<u64>();
        self.purged = self.purged.max(Some(upto));
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, (entry, _))| entry.log_id).or(self.purged)
    }

    /// Entries in order, as many as have `bytes_max`, but one at least if there is one.
    pub(super) fn entries_in(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for (entry, len) in
            self.entries.range((range.start_bound().cloned(), range.end_bound().cloned())).map(|(_, e)| e)
        {
            bytes += len;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }
}
