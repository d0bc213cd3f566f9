//! Writing a segment anew: whole aligned blocks, as direct I/O wants them, so that what is compacted neither takes
//! memory from the page cache nor leaves the disk one long sync.

use std::io;
use std::sync::Arc;

use millrace_base::limits::{IO_ALIGNMENT, KIB};
use millrace_disk::{AlignedBuffer, DiskFile};

/// Bytes of a write: some 0.2 ms of a disk's time, which a commit that comes meanwhile has to wait.
const WRITE_BYTES: usize = 512 * KIB;
const _: () = assert!(WRITE_BYTES.is_multiple_of(IO_ALIGNMENT));

pub(super) struct BlockWriter {
    file: Arc<dyn DiskFile>,
    buffer: AlignedBuffer,
    filled: usize,
    /// Of the buffer's first byte in the file.
    position: u64,
}

impl BlockWriter {
    /// Into an empty file, opened for direct I/O.
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, buffer: AlignedBuffer::zeroed(WRITE_BYTES), filled: 0, position: 0 }
    }

    pub fn len(&self) -> u64 {
        self.position + self.filled as u64
    }

    /// Appends. Returns how many bytes went to the disk.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<u64> {
        let before = self.position;
        while !bytes.is_empty() {
            let room = &mut self.buffer.as_mut_slice()[self.filled..];
            let (part, rest) = bytes.split_at(bytes.len().min(room.len()));
            room[..part.len()].copy_from_slice(part);
            self.filled += part.len();
            bytes = rest;
            if self.filled == WRITE_BYTES {
                self.file.write_all_at(&[self.buffer.as_slice()], self.position)?;
                self.position += WRITE_BYTES as u64;
                self.filled = 0;
            }
        }
        Ok(self.position - before)
    }

    /// Writes what is left and cuts the padding off; not synced. Returns how many bytes went to the disk.
    pub fn finish(mut self) -> io::Result<u64> {
        let len = self.len();
        let blocks = self.filled.next_multiple_of(IO_ALIGNMENT);
        let buffer = self.buffer.as_mut_slice();
        buffer[self.filled..blocks].fill(0);
        if blocks > 0 {
            self.file.write_all_at(&[&buffer[..blocks]], self.position)?;
        }
        self.file.truncate(len)?;
        Ok(blocks as u64)
    }
}
