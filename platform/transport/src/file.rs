//! File ranges for the transports that must have the bytes in memory (TLS, QUIC), and on plain TCP for
//! ranges that are not in the page cache, where `sendfile` would stop the thread until the disk answers.

use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;
use millrace_base::limits::KIB;
use millrace_base::{FileSource, Piece};
use rustix::io::ReadWriteFlags;

/// Bytes read at a time: enough to make the hop to a blocking thread cheap, little enough to stay in cache.
pub(crate) const READ_BYTES: usize = 128 * KIB;

/// Reads the first [`READ_BYTES`] of a file piece: at once when the page cache has them, else on a thread
/// that may wait. `None` for a piece of memory.
pub(crate) async fn read_front(piece: &Piece) -> io::Result<Option<Bytes>> {
    let Piece::File { file, position, len } = piece else { return Ok(None) };
    let (file, position, len) = (Arc::clone(file), *position, (*len).min(READ_BYTES));
    let mut buffer = vec![0; len];
    let cached = read_cached(file.as_ref(), &mut buffer, position);
    if cached == len {
        return Ok(Some(buffer.into()));
    }
    let read = tokio::task::spawn_blocking(move || {
        file.read_exact_at(&mut buffer[cached..], position + cached as u64).map(|()| Bytes::from(buffer))
    });
    read.await.map_err(io::Error::other)?.map(Some)
}

/// Whether the range's end is in the page cache. Read-ahead fills from the front, so the rest most likely is.
pub(crate) fn is_cached(file: &dyn FileSource, end: u64) -> bool {
    read_cached(file, &mut [0], end.saturating_sub(1)) == 1
}

/// Reads what can be had without waiting for the disk; 0 where that cannot be asked.
fn read_cached(file: &dyn FileSource, buffer: &mut [u8], position: u64) -> usize {
    let Some(fd) = borrow(file) else { return 0 };
    rustix::io::preadv2(fd, &mut [IoSliceMut::new(buffer)], position, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

/// The file's descriptor.
#[expect(unsafe_code, reason = "a FileSource promises that its descriptor is open as long as it lives")]
pub(crate) fn borrow(file: &dyn FileSource) -> Option<BorrowedFd<'_>> {
    let fd = file.as_raw_fd()?;
    // SAFETY: the descriptor stays open as long as `file`, whose lifetime the result has.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}
