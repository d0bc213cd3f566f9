//! Writing groups, and turning to the next file when one is full.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_base::limits::{IO_ALIGNMENT, MIB};
use millrace_disk::{AlignedBuffer, Disk, DiskFile, OpenMode};

use super::format::{ENTRY_HEADER_LEN, EntryHeader, GROUP_BYTES_MAX, GROUP_HEADER_LEN, GroupId, seal};

/// Files that the log's space is divided into: while one is written the others wait for their segments.
const FILES: u64 = 4;
/// Smallest file: a group of one entry has room in it.
pub(crate) const FILE_BYTES_MIN: u64 = 16 * 1024;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is not there: the first start puts off making what it does not need at once.
    Missing,
    /// Nothing that is still needed.
    Free,
    /// Groups of this life of the file.
    Holds { sequence: u64 },
}

struct WalFile {
    file: Option<Arc<dyn DiskFile>>,
    usage: Use,
}

/// A file that is still to be made; making it needs no lock on the writer.
pub(crate) struct MissingFile {
    index: usize,
    path: PathBuf,
    len: u64,
}

impl MissingFile {
    pub fn make(&self, disk: &dyn Disk, dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = open_zeroed(disk, &self.path, self.len)?;
        disk.sync_dir(dir)?;
        Ok(file)
    }
}

/// A group that is being collected.
pub(crate) struct Group {
    buffer: AlignedBuffer,
    len: usize,
    limit: usize,
    entries: u32,
}

impl Group {
    /// As large as a log of `wal_bytes` takes.
    pub fn new(wal_bytes: u64) -> Self {
        Self::of(GROUP_BYTES_MAX.min(file_bytes(wal_bytes) as usize))
    }

    /// One that takes a block.
    pub fn small() -> Self {
        Self::of(IO_ALIGNMENT)
    }

    fn of(limit: usize) -> Self {
        Self { buffer: AlignedBuffer::zeroed(limit), len: GROUP_HEADER_LEN, limit, entries: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Whether `entries` stretches of `bytes` together still fit.
    pub fn has_room(&self, entries: usize, bytes: usize) -> bool {
        self.len + entries * ENTRY_HEADER_LEN + bytes <= self.limit
    }

    /// Adds an entry, whose `header.len` bytes `copy` puts into the slice it is given.
    pub fn push(&mut self, header: &EntryHeader, copy: impl FnOnce(&mut [u8])) {
        let start = self.len + ENTRY_HEADER_LEN;
        let end = start + header.len as usize;
        let buffer = self.buffer.as_mut_slice();
        buffer[self.len..start].copy_from_slice(&header.encode());
        copy(&mut buffer[start..end]);
        self.len = end;
        self.entries += 1;
    }

    pub fn clear(&mut self) {
        self.len = GROUP_HEADER_LEN;
        self.entries = 0;
    }

    fn padded_len(&self) -> usize {
        self.len.next_multiple_of(IO_ALIGNMENT)
    }
}

/// Where the groups of a process begin. Its first checkpoint names the salt and the sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalStart {
    pub salt: u128,
    pub sequence: u64,
    pub number: u64,
}

/// The files and the place of the next group.
pub(crate) struct WalWriter {
    dir: PathBuf,
    files: Vec<WalFile>,
    file_bytes: u64,
    current: usize,
    position: u64,
    salt: u128,
    next_number: u64,
    next_sequence: u64,
    /// The last write failed: nobody knows whether its group stands at `position`.
    unsure: bool,
}

impl WalWriter {
    /// Opens the files, and makes the first where it is missing; the others are [`Self::missing`] then.
    /// Nothing in them is needed any more: recovery has put it into segments. Groups written from here on
    /// have the sequence of `start` or a larger one, and its salt, which a durable checkpoint names.
    pub fn create(disk: &dyn Disk, dir: &Path, wal_bytes: u64, start: WalStart) -> io::Result<Self> {
        let file_bytes = file_bytes(wal_bytes);
        let present = disk.list(dir)?;
        let mut files = Vec::new();
        for index in 0..FILES {
            let path = file_path(dir, index);
            if index > 0 && !present.iter().any(|entry| path.ends_with(&entry.name)) {
                files.push(WalFile { file: None, usage: Use::Missing });
                continue;
            }
            let file = open_zeroed(disk, &path, file_bytes)?;
            files.push(WalFile { file: Some(file), usage: Use::Free });
        }
        // Also of names that were there: whoever made them may not have come to it.
        disk.sync_dir(dir)?;
        files[0].usage = Use::Holds { sequence: start.sequence };
        Ok(Self {
            dir: dir.to_owned(),
            files,
            file_bytes,
            current: 0,
            position: 0,
            salt: start.salt,
            next_number: start.number,
            next_sequence: start.sequence + 1,
            unsure: false,
        })
    }

    /// Bytes of one partition's batches that one group can always take, as two entries if need be.
    pub fn entry_bytes_max(file_bytes_total: u64) -> usize {
        let file_bytes = (file_bytes_total / FILES).max(FILE_BYTES_MIN) as usize;
        GROUP_BYTES_MAX.min(file_bytes) - GROUP_HEADER_LEN - 2 * ENTRY_HEADER_LEN
    }

    /// Finds the place for `group`, in the next file if this one is full. False: that one is still needed;
    /// a checkpoint has to [`Self::recycle`] it first.
    pub fn make_room(&mut self, group: &Group) -> io::Result<bool> {
        if self.position + group.padded_len() as u64 <= self.file_bytes {
            return Ok(true);
        }
        self.rotate()
    }

    /// Writes `group` durably where [`Self::make_room`] found room, and returns the bytes written. After an error it
    /// may stand there or not; the same group may be written again, or another: it goes to the same place, and nothing
    /// else there waits for a sync.
    pub fn write(&mut self, group: &mut Group) -> io::Result<u64> {
        let (len, padded) = (group.len, group.padded_len());
        let file = &self.files[self.current];
        let (Use::Holds { sequence }, Some(writer)) = (file.usage, &file.file) else {
            unreachable!("make_room has put the file to use")
        };
        let buffer = group.buffer.as_mut_slice();
        let id = GroupId { sequence, number: self.next_number };
        seal(&mut buffer[..len], id, group.entries, self.salt);
        buffer[len..padded].fill(0);
        let outcome = writer.write_all_at(&[&buffer[..padded]], self.position);
        self.unsure = outcome.is_err();
        outcome?;
        self.position += padded as u64;
        self.next_number += 1;
        Ok(padded as u64)
    }

    /// The sequence of the file that is being written: all below are full.
    pub fn current_sequence(&self) -> u64 {
        match self.files[self.current].usage {
            Use::Holds { sequence } => sequence,
            Use::Free | Use::Missing => unreachable!("the current file is in use"),
        }
    }

    /// True when files other than the current one wait to be recycled.
    pub fn has_full_files(&self) -> bool {
        self.files.iter().filter(|file| matches!(file.usage, Use::Holds { .. })).count() > 1
    }

    pub fn has_free_file(&self) -> bool {
        self.files.iter().any(|file| file.usage == Use::Free)
    }

    /// A file that is still to be made.
    pub fn missing(&self) -> Option<MissingFile> {
        let index = self.files.iter().position(|file| file.usage == Use::Missing)?;
        Some(MissingFile { index, path: file_path(&self.dir, index as u64), len: self.file_bytes })
    }

    /// Takes a file that was made.
    pub fn made(&mut self, missing: &MissingFile, file: Arc<dyn DiskFile>) {
        let slot = &mut self.files[missing.index];
        if slot.usage == Use::Missing {
            *slot = WalFile { file: Some(file), usage: Use::Free };
        }
    }

    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Turns to the next file. False if that is still needed, or missing.
    pub fn rotate(&mut self) -> io::Result<bool> {
        let next = (self.current + 1) % self.files.len();
        if self.files[next].usage != Use::Free {
            return Ok(false);
        }
        if self.unsure {
            // What may stand at the end of this file would be followed by a group of the same number.
            self.write(&mut Group::small())?;
        }
        self.files[next].usage = Use::Holds { sequence: self.next_sequence };
        self.next_sequence += 1;
        self.current = next;
        self.position = 0;
        Ok(true)
    }

    /// Frees the files whose sequence is below `sequence`: their records are in segments, durably, and a
    /// durable checkpoint says so.
    pub fn recycle(&mut self, below: u64) {
        for file in &mut self.files {
            if matches!(file.usage, Use::Holds { sequence } if sequence < below) {
                file.usage = Use::Free;
            }
        }
    }
}

/// Length of one of the files that a log of `wal_bytes` consists of.
fn file_bytes(wal_bytes: u64) -> u64 {
    (wal_bytes / FILES).next_multiple_of(IO_ALIGNMENT as u64).max(FILE_BYTES_MIN)
}

pub(crate) fn file_path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:04}.wal"))
}

/// A file of `len` bytes that have all been written once: a commit into it moves no extent.
fn open_zeroed(disk: &dyn Disk, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
    let in_place = OpenMode { create: true, direct: true, ..OpenMode::default() };
    let file = disk.open(path, in_place)?;
    if file.len()? != len {
        file.truncate(0)?;
        let zeros = AlignedBuffer::zeroed((len as usize).min(MIB));
        let mut position = 0;
        while position < len {
            let part = (len - position).min(zeros.as_slice().len() as u64) as usize;
            file.write_all_at(&[&zeros.as_slice()[..part]], position)?;
            position += part as u64;
        }
        file.sync()?;
    }
    let durable = OpenMode { direct: true, durable: true, ..OpenMode::default() };
    disk.open(path, durable)
}

#[cfg(test)]
mod tests {
    use millrace_base::{TopicId, TopicPartition};
    use millrace_disk::sim::{Shortage, SimDisk};

    use super::*;
    use crate::wal::format::EntryKind;
    use crate::wal::replay::WalFiles;

    const START: WalStart = WalStart { salt: 7, sequence: 1, number: 1 };

    /// A group with one entry of `len` bytes.
    fn group(len: u32) -> Group {
        let tp = TopicPartition::new(TopicId(uuid::Uuid::nil()), 0);
        let (kind, base_offset, end_offset) = (EntryKind::Append, 0, 1);
        let header = EntryHeader { kind, tp, len, base_offset, end_offset, segment: 0, position: 0 };
        let mut group = Group::new(4 * FILE_BYTES_MIN);
        group.push(&header, |bytes| bytes.fill(1));
        group
    }

    /// A write that failed may have left its group on the disk, and the next one may not fit behind it any more.
    #[test]
    fn what_a_failed_write_has_left_is_no_group_once_the_log_has_turned() {
        let (disk, dir) = (SimDisk::new(1), Path::new("/wal"));
        disk.create_dir_all(dir).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let mut writer = WalWriter::create(&disk, dir, 4 * FILE_BYTES_MIN, START).unwrap();
        while let Some(missing) = writer.missing() {
            writer.made(&missing, missing.make(&disk, dir).unwrap());
        }
        for _ in 0..3 {
            writer.write(&mut group(100)).unwrap();
        }
        // The half that is written holds all of the group but its padding.
        disk.run_short(Shortage::Room, disk.operations()..disk.operations() + 1);
        writer.write(&mut group(100)).unwrap_err();
        let mut large = group(6000);
        assert!(writer.make_room(&large).unwrap());
        writer.write(&mut large).unwrap();

        let numbers = || -> Vec<u64> {
            let files = WalFiles::read(&disk, dir, Some(START.salt), START.sequence).unwrap();
            files.groups().unwrap().0.iter().map(|group| group.number).collect()
        };
        assert_eq!(numbers(), [1, 2, 3, 4, 5]);
        disk.crash();
        disk.restart();
        assert_eq!(numbers(), [1, 2, 3, 4, 5]);
    }
}
