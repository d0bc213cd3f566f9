//! Reading a segment's batches one after the other, each checked.

use bytes::Bytes;
use millrace_base::limits::{BATCH_BYTES_MAX, MIB};
use millrace_disk::DiskFile;
use millrace_protocol::batch::{Batch, BatchHeader, HEADER_LEN};

use crate::walk::WalkError;

/// Bytes read at a time; more for a batch that is larger.
const READ_BYTES: usize = MIB;

pub(super) struct BatchReader<'a> {
    file: &'a dyn DiskFile,
    /// Of the next batch.
    position: u32,
    end: u32,
    /// The bytes from there on, as far as they are read.
    ahead: Bytes,
    read: u64,
}

impl<'a> BatchReader<'a> {
    /// Batches from `position`, where one begins, up to `end`, where one ends.
    pub fn new(file: &'a dyn DiskFile, position: u32, end: u32) -> Self {
        Self { file, position, end, ahead: Bytes::new(), read: 0 }
    }

    /// Where the next batch begins.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Bytes that were read from the disk since it was asked last.
    pub fn take_read(&mut self) -> u64 {
        std::mem::take(&mut self.read)
    }

    pub fn next(&mut self) -> Result<Option<Batch>, WalkError> {
        let position = self.position;
        let left = self.end.saturating_sub(position) as usize;
        if left == 0 {
            return Ok(None);
        }
        let damaged = |reason: String| WalkError::Damaged { position, reason };
        let needed = |len: usize| {
            if len > left || len > BATCH_BYTES_MAX {
                return Err(damaged(format!("a batch of {len} bytes, where {left} are left")));
            }
            Ok(len)
        };
        self.read_ahead(needed(HEADER_LEN)?)?;
        let header = BatchHeader::parse(&self.ahead).map_err(|error| damaged(error.to_string()))?;
        let len = needed(header.total_len())?;
        self.read_ahead(len)?;
        let batch = Batch { header, bytes: self.ahead.split_to(len) };
        batch.verify_crc().map_err(|error| damaged(error.to_string()))?;
        if header.last_offset_delta < 0 {
            return Err(damaged("its last offset is before its first".to_owned()));
        }
        self.position += len as u32;
        Ok(Some(batch))
    }

    /// Has `len` bytes ahead at least, which the segment has.
    fn read_ahead(&mut self, len: usize) -> Result<(), WalkError> {
        let kept = self.ahead.len();
        if kept >= len {
            return Ok(());
        }
        let wanted = len.max(READ_BYTES).min((self.end - self.position) as usize);
        let mut bytes = vec![0; wanted];
        bytes[..kept].copy_from_slice(&self.ahead);
        let from = u64::from(self.position) + kept as u64;
        let read = self.file.read_at(&mut bytes[kept..], from)?;
        bytes.truncate(kept + read);
        if bytes.len() < len {
            let reason = format!("the segment ends early, at byte {}", from + read as u64);
            return Err(WalkError::Damaged { position: self.position, reason });
        }
        self.ahead = bytes.into();
        self.read += read as u64;
        Ok(())
    }
}
