//! Reading what the write-ahead log held when the last process ended.

use std::path::{Path, PathBuf};

use millrace_base::limits::IO_ALIGNMENT;
use millrace_disk::{Disk, DiskFile, OpenMode};

use super::format::{DecodedGroup, Entries, GROUP_BYTES_MAX, GroupId, VERSION, decode, stamp};
use crate::error::OpenError;

/// A file, and what its first group says.
struct Found {
    path: PathBuf,
    bytes: Vec<u8>,
    /// What its groups are sealed with.
    salt: u128,
    first: Option<GroupId>,
}

impl Found {
    /// Reads on until `len` bytes are there, or the file ends.
    fn read_up_to(&mut self, file: &dyn DiskFile, len: u64) -> Result<(), OpenError> {
        let start = self.bytes.len();
        self.bytes.resize(len as usize, 0);
        let read = file.read_at(&mut self.bytes[start..], start as u64);
        let read = read.map_err(OpenError::io("read", &self.path))?;
        self.bytes.truncate(start + read);
        Ok(())
    }

    fn group_at(&self, position: usize) -> Option<DecodedGroup<'_>> {
        decode(self.bytes.get(position..)?, self.salt)
    }
}

/// What [`WalFiles::groups`] went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub groups: u64,
    /// Larger than any sequence that a group may have been written with.
    pub next_sequence: u64,
    pub next_number: u64,
}

impl Replayed {
    /// The log held no group from `from_sequence` on. One sequence more is left out for a file whose first
    /// group was lost together with it.
    pub fn nothing(from_sequence: u64) -> Self {
        Self { groups: 0, next_sequence: from_sequence + 2, next_number: 0 }
    }
}

/// A group, and where it stands.
pub(crate) struct FoundGroup<'a> {
    pub path: &'a Path,
    pub position: u64,
    pub number: u64,
    pub entries: Entries<'a>,
}

/// The bytes of the files that hold groups.
pub(crate) struct WalFiles {
    files: Vec<Found>,
    from_sequence: u64,
}

impl WalFiles {
    /// Of a log of which nothing is needed.
    pub fn none(from_sequence: u64) -> Self {
        Self { files: Vec::new(), from_sequence }
    }

    /// Reads the files that hold groups from `from_sequence` on that were sealed with `salt`. Without a salt, since
    /// no checkpoint names it, each file is read by that of its first group.
    pub fn read(
        disk: &dyn Disk,
        dir: &Path,
        salt: Option<u128>,
        from_sequence: u64,
    ) -> Result<Self, OpenError> {
        let mut files = read_files(disk, dir, salt, from_sequence)?;
        files.sort_by_key(|file| file.first.map(|id| (id.sequence, id.number)));
        Ok(Self { files, from_sequence })
    }

    /// Makes what was read durable: the last process may have ended while it wrote it.
    pub fn sync(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        for Found { path, .. } in &self.files {
            let file = disk.open(path, OpenMode::default()).map_err(OpenError::io("open", path))?;
            file.sync().map_err(OpenError::io("sync", path))?;
        }
        Ok(())
    }

    /// Every group, in the order of their commits.
    ///
    /// Only the very last may be incomplete, since each was durable before the next was written. A whole group after
    /// a damaged one means that acknowledged records were damaged: that is refused.
    pub fn groups(&self) -> Result<(Vec<FoundGroup<'_>>, Replayed), OpenError> {
        let mut groups = Vec::new();
        let replayed = walk(&self.files, self.from_sequence, &mut groups)?;
        Ok((groups, replayed))
    }
}

fn walk<'a>(
    files: &'a [Found],
    from_sequence: u64,
    groups: &mut Vec<FoundGroup<'a>>,
) -> Result<Replayed, OpenError> {
    let mut replayed = Replayed::nothing(from_sequence);
    let mut last: Option<(GroupId, PathBuf)> = None;
    for file in files {
        let mut position = 0;
        while let Some(DecodedGroup { id, padded_len, entries }) = file.group_at(position) {
            // Remains of an earlier life of the file.
            if id.sequence < last.as_ref().map_or(from_sequence, |(before, _)| before.sequence) {
                break;
            }
            if let Some((before, path)) = &last
                && !follows(*before, id, position)
            {
                let reason = format!(
                    "group {} stands here, after group {} in {}: committed records between them are missing",
                    id.number,
                    before.number,
                    path.display()
                );
                return Err(OpenError::corrupt(&file.path, position as u64, reason));
            }
            groups.push(FoundGroup {
                path: &file.path,
                position: position as u64,
                number: id.number,
                entries,
            });
            replayed.groups += 1;
            last = Some((id, file.path.clone()));
            position += padded_len;
        }
        let sequence = last.as_ref().map_or(from_sequence, |(id, _)| id.sequence);
        refuse_later_group(file, position, sequence.max(from_sequence))?;
    }
    if let Some((id, _)) = last {
        // One more for a file whose first group was lost with its sequence.
        replayed.next_sequence = id.sequence + 2;
        replayed.next_number = id.number + 1;
    }
    Ok(replayed)
}

/// Whether `id`, at `position` of its file, is the group committed right after `before`.
fn follows(before: GroupId, id: GroupId, position: usize) -> bool {
    let next_file = position == 0 && id.sequence > before.sequence;
    id.number == before.number + 1 && (id.sequence == before.sequence || next_file)
}

/// Reads the files that may hold groups from `from_sequence` on. A file that begins with an older group, or
/// with one of another salt, has none of them: its first group is written first in each of its lives.
fn read_files(
    disk: &dyn Disk,
    dir: &Path,
    salt: Option<u128>,
    from_sequence: u64,
) -> Result<Vec<Found>, OpenError> {
    let entries = disk.list(dir).map_err(OpenError::io("list", dir))?;
    let mut files = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.name.ends_with(".wal")) {
        let path = dir.join(entry.name);
        let file = disk.open(&path, OpenMode::default()).map_err(OpenError::io("open", &path))?;
        let len = file.len().map_err(OpenError::io("read the length of", &path))?;
        let mut found = Found { path, bytes: Vec::new(), salt: 0, first: None };
        found.read_up_to(&*file, len.min(GROUP_BYTES_MAX as u64))?;
        let own_salt = match stamp(&found.bytes) {
            Some((version, _)) if version != VERSION => {
                return Err(OpenError::Version { path: found.path, found: version, supported: VERSION });
            }
            stamp => stamp.map(|(_, own_salt)| own_salt),
        };
        let Some(wanted_salt) = salt.or(own_salt) else { continue };
        found.salt = own_salt.unwrap_or(wanted_salt);
        found.first = found.group_at(0).map(|group| group.id);
        // A damaged header may seem to have another salt: then the groups behind it have the right one.
        let of_others = own_salt.is_some_and(|own_salt| own_salt != wanted_salt) && found.first.is_some();
        if of_others || found.first.is_some_and(|id| id.sequence < from_sequence) {
            continue;
        }
        found.salt = wanted_salt;
        found.read_up_to(&*file, len)?;
        files.push(found);
    }
    Ok(files)
}

/// Behind the last group, at `end`, there may be remains of the file's earlier lives but no group of this one.
fn refuse_later_group(file: &Found, end: usize, sequence: u64) -> Result<(), OpenError> {
    for position in (end..file.bytes.len()).step_by(IO_ALIGNMENT) {
        if let Some(DecodedGroup { id, .. }) = file.group_at(position)
            && id.sequence >= sequence
            && position > end
        {
            let reason = format!(
                "no valid group stands here, but group {} at byte {position} was committed after it; \
                 acknowledged records are damaged. Restore the directory from a replica or a backup",
                id.number
            );
            return Err(OpenError::corrupt(&file.path, end as u64, reason));
        }
    }
    Ok(())
}
