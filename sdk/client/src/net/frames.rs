//! Cutting a pipeline's bytes into frames.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use millrace_base::limits::FRAME_BYTES_MAX;
use millrace_protocol::frame::frame_len;

use crate::net::pool::BufferPool;
use crate::net::wire::Inbound;

/// Room for many small frames in one read; a large frame leaves at most this much to be copied.
const BUFFER_BYTES: usize = 32 << 10;
/// From here on a frame is received straight into a buffer of its own.
const LARGE_FRAME_BYTES: usize = 16 << 10;
const PREFIX_LEN: usize = 4;

pub(crate) struct FrameReader {
    inbound: Inbound,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    pool: Arc<BufferPool>,
}

impl FrameReader {
    pub(crate) fn new(inbound: Inbound, pool: Arc<BufferPool>) -> Self {
        Self { inbound, buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0, pool }
    }

    /// The next frame without its length prefix; `None` when the peer ended between two frames.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.fill(PREFIX_LEN).await? {
            return if self.start == self.end { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let mut prefix = [0; PREFIX_LEN];
        prefix.copy_from_slice(&self.buffer[self.start..self.start + PREFIX_LEN]);
        let len = frame_len(prefix, FRAME_BYTES_MAX)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.start += PREFIX_LEN;
        if len >= LARGE_FRAME_BYTES {
            return self.large(len).await.map(Some);
        }
        if !self.fill(len).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let frame = Bytes::copy_from_slice(&self.buffer[self.start..self.start + len]);
        self.start += len;
        Ok(Some(frame))
    }

    async fn large(&mut self, len: usize) -> io::Result<Bytes> {
        let mut frame = self.pool.take(len);
        let into = frame.as_mut_slice();
        let mut filled = len.min(self.end - self.start);
        into[..filled].copy_from_slice(&self.buffer[self.start..self.start + filled]);
        self.start += filled;
        while filled < len {
            match self.inbound.read(&mut into[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(frame.freeze())
    }

    /// Reads until `len` bytes are buffered; false when the peer ended before.
    async fn fill(&mut self, len: usize) -> io::Result<bool> {
        while self.end - self.start < len {
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
            } else if self.start + len > self.buffer.len() {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            match self.inbound.read(&mut self.buffer[self.end..]).await? {
                0 => return Ok(false),
                read => self.end += read,
            }
        }
        Ok(true)
    }
}
