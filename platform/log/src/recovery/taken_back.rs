//! What the write-ahead log says to be taken back: the last entry of a partition that does so counts, together with
//! whether it was carried out. Pure.

use std::collections::BTreeMap;

use millrace_base::{Offset, TopicPartition};

use crate::checkpoint::Checkpoint;
use crate::wal::format::{EntryHeader, EntryKind};
use crate::wal::replay::FoundGroup;

/// What was taken back of one partition since the checkpoint.
pub(super) struct TakenBack {
    /// The last truncate or reset, and the number of its group.
    pub header: EntryHeader,
    pub group: u64,
    /// What was taken back is gone from the segments.
    pub is_cut: bool,
    /// The records below are those that the checkpoint knows; `None`: there are none.
    pub kept_below: Option<Offset>,
    /// Where the last reset has the log begin.
    pub log_start: Option<Offset>,
}

/// What the groups say to be taken back, as far as the checkpoint does not know it.
pub(super) fn of(groups: &[FoundGroup<'_>], checkpoint: &Checkpoint) -> BTreeMap<TopicPartition, TakenBack> {
    let mut taken: BTreeMap<TopicPartition, TakenBack> = BTreeMap::new();
    for group in groups {
        for (header, _) in group.entries.clone() {
            let known = checkpoint.partitions.get(&header.tp).map_or(0, |known| known.first_group);
            // One that does not fit together is refused when it is replayed.
            if group.number < known || !header.is_sound() {
                continue;
            }
            let before = taken.get_mut(&header.tp);
            let (kept_below, log_start) = match (header.kind, &before) {
                (EntryKind::Append, _) => continue,
                (EntryKind::Cut, _) => {
                    if let Some(before) = before {
                        before.is_cut = true;
                    }
                    continue;
                }
                (EntryKind::Reset, _) => (None, Some(header.end_offset)),
                (EntryKind::Truncate, None) => (Some(header.end_offset), None),
                (EntryKind::Truncate, Some(before)) => {
                    (before.kept_below.map(|below| below.min(header.end_offset)), before.log_start)
                }
            };
            let last = TakenBack { header, group: group.number, is_cut: false, kept_below, log_start };
            taken.insert(header.tp, last);
        }
    }
    taken
}
