//! Going through the batches of a segment's file: by their headers alone, trusting what lies between them, or checking
//! each.

use std::io;

use millrace_base::Offset;
use millrace_base::limits::{BATCH_BYTES_MAX, KIB, MIB};
use millrace_disk::DiskFile;
use millrace_protocol::batch::{BatchHeader, HEADER_LEN, TransactionMarker};

use crate::checksum;

/// Offsets that may be missing before a batch. One that is further behind the end of the log begins a segment of
/// its own, at its own offset, since a segment's index counts offsets from its base in 31 bits.
pub(crate) const GAP_OFFSETS_MAX: i64 = 1 << 30;

/// A batch's checksum covers it from its attributes on.
pub(crate) const CRC_START: usize = 21;

/// Batches that could not be walked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    #[error("no batch header at byte {position}: {reason}")]
    Damaged { position: u32, reason: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Walks the headers of a file's batches, trusting what lies between them.
pub(crate) struct Walk<'a> {
    file: &'a dyn DiskFile,
    position: u32,
    end: u32,
    window: Vec<u8>,
    window_start: u32,
}

/// What is looked at of a marker: one of today has 78 bytes.
const MARKER_BYTES_MAX: usize = KIB;

/// Bytes read at once: many headers of small batches, little waste for large ones.
const WINDOW_BYTES: usize = 16 * KIB;

impl<'a> Walk<'a> {
    /// Batches that begin at `position` and after, up to `end`, where one must end.
    pub fn new(file: &'a dyn DiskFile, position: u32, end: u32) -> Self {
        Self { file, position, end, window: Vec::new(), window_start: position }
    }

    /// Goes on at `position`, where a batch begins.
    pub fn skip_to(&mut self, position: u32) {
        self.position = position;
        self.window.clear();
        self.window_start = position;
    }

    pub fn next_header(&mut self) -> Result<Option<(u32, BatchHeader)>, WalkError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let position = self.position;
        let damaged = |reason: String| WalkError::Damaged { position, reason };
        let offset = (position - self.window_start) as usize;
        if offset + HEADER_LEN > self.window.len() {
            self.window.resize(WINDOW_BYTES, 0);
            let read = self.file.read_at(&mut self.window, u64::from(position))?;
            self.window.truncate(read);
            self.window_start = position;
        }
        let bytes = &self.window[(position - self.window_start) as usize..];
        let header = BatchHeader::parse(bytes).map_err(|error| damaged(error.to_string()))?;
        let next = u64::from(position) + header.total_len() as u64;
        if next > u64::from(self.end) {
            return Err(damaged(format!("it reaches to byte {next}, behind {}", self.end)));
        }
        self.position = next as u32;
        Ok(Some((position, header)))
    }

    /// What marker the batch is, of which the header at `position` was the last to be told.
    pub fn marker(
        &self,
        position: u32,
        header: &BatchHeader,
    ) -> Result<Option<TransactionMarker>, WalkError> {
        if !header.attributes.is_control() {
            return Ok(None);
        }
        let len = header.total_len().min(MARKER_BYTES_MAX);
        let start = (position - self.window_start) as usize;
        let read = match self.window.get(start..start + len) {
            Some(bytes) => return Ok(TransactionMarker::parse(header, &bytes[HEADER_LEN..])),
            None => {
                let mut bytes = vec![0; len];
                self.file.read_exact_at(&mut bytes, u64::from(position))?;
                bytes
            }
        };
        Ok(TransactionMarker::parse(header, &read[HEADER_LEN..]))
    }
}

/// Reads whole batches from `position` on, checking each; stops at the first that is not as it was written,
/// or that does not begin at the offset where the last ended or a little behind. Returns the position and offset of
/// the end.
pub(crate) fn scan_verified(
    file: &dyn DiskFile,
    mut position: u32,
    mut offset: Offset,
    mut visit: impl FnMut(u32, &BatchHeader, Option<&TransactionMarker>),
) -> io::Result<(u32, Offset)> {
    let len = file.len()?;
    let mut buffer: Vec<u8> = Vec::new();
    let mut at = 0;
    let mut wanted = HEADER_LEN;
    loop {
        if buffer.len() - at < wanted {
            let read_from = u64::from(position) + (buffer.len() - at) as u64;
            buffer.drain(..at);
            at = 0;
            let kept = buffer.len();
            let ahead = wanted.max(MIB).min((len.saturating_sub(read_from)) as usize + kept);
            if ahead < wanted {
                return Ok((position, offset));
            }
            buffer.resize(ahead, 0);
            let read = file.read_at(&mut buffer[kept..], read_from)?;
            buffer.truncate(kept + read);
            if buffer.len() < wanted {
                return Ok((position, offset));
            }
        }
        let Ok(header) = BatchHeader::parse(&buffer[at..]) else { return Ok((position, offset)) };
        let total = header.total_len();
        let follows = (0..=GAP_OFFSETS_MAX).contains(&header.base_offset.saturating_sub(offset));
        if !follows || total > BATCH_BYTES_MAX {
            return Ok((position, offset));
        }
        if buffer.len() - at < total {
            wanted = total;
            continue;
        }
        let computed = checksum::crc32c(&buffer[at + CRC_START..at + total]);
        let intact = checksum::holds(header.crc, computed);
        if !intact || header.last_offset_delta < 0 {
            return Ok((position, offset));
        }
        let marker = TransactionMarker::parse(&header, &buffer[at + HEADER_LEN..at + total]);
        visit(position, &header, marker.as_ref());
        at += total;
        position += total as u32;
        offset = header.next_offset();
        wanted = HEADER_LEN;
    }
}
