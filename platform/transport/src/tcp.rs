//! Plain TCP: large reads, vectored writes, files by `sendfile`.
//!
//! Small frames are read many at a time into a buffer that belongs to the thread, so an idle connection owns
//! none; the rest of a begun frame is read straight into its place, its end together with what follows, in one
//! `readv`. After a read or write that moved less than asked the socket is known to be empty or full, so the
//! call that would only say so is left out.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};

use millrace_base::Piece;
use millrace_base::limits::MIB;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::file;
use crate::framing::Assembler;
use crate::limits::SCRATCH_BYTES;
use crate::outgoing::Outgoing;
use crate::pipeline::{ByteSink, ByteSource};
use crate::service::CloseReason;

/// Memory pieces per write.
const SLICES: usize = 64;
/// Bytes per `sendfile`, so that one connection does not hold its thread for long.
const SENDFILE_BYTES: usize = MIB;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// Lends the thread's receive buffer, which nothing keeps beyond the call.
pub(crate) fn with_scratch<T>(with: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| with(scratch))
}

pub(crate) struct TcpSource<'a>(pub(crate) &'a TcpStream);

impl ByteSource for TcpSource<'_> {
    async fn fill(&mut self, frames: &mut Assembler) -> Result<usize, CloseReason> {
        let failed = |source| CloseReason::Io { action: "receive", source };
        loop {
            if let Some(read) = with_scratch(|scratch| self.try_fill(frames, scratch))? {
                return Ok(read);
            }
            poll_fn(|cx| self.0.poll_read_ready(cx)).await.map_err(failed)?;
        }
    }
}

impl TcpSource<'_> {
    /// One read, if the socket has anything.
    fn try_fill(&self, frames: &mut Assembler, scratch: &mut [u8]) -> Result<Option<usize>, CloseReason> {
        let scratch = &mut scratch[..frames.feed_max()];
        let (read, direct) = match frames.direct() {
            // What comes behind the room in the middle of a frame would have to be copied.
            Some((rest, false)) => {
                let direct = rest.len();
                (self.read(direct, |stream| rustix::io::read(stream, rest)), direct)
            }
            Some((rest, true)) => {
                let direct = rest.len();
                let asked = direct + scratch.len();
                let slices = &mut [IoSliceMut::new(rest), IoSliceMut::new(scratch)];
                (self.read(asked, |stream| rustix::io::readv(stream, slices)), direct)
            }
            None => (self.read(scratch.len(), |stream| rustix::io::read(stream, &mut *scratch)), 0),
        };
        match read {
            Ok(read) if read <= direct => {
                frames.advance(read);
                Ok(Some(read))
            }
            Ok(read) => {
                if direct > 0 {
                    frames.advance(direct);
                }
                frames.feed(&scratch[..read - direct]);
                Ok(Some(read))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(CloseReason::Io { action: "receive", source }),
        }
    }

    fn read(
        &self,
        asked: usize,
        read: impl FnOnce(&TcpStream) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        once(self.0, Interest::READABLE, asked, read)
    }
}

/// Runs one system call on a socket that is ready as far as known. Where it moves less than `asked`, the
/// socket is noted as not ready; 0 bytes are a stream's end, which stays ready.
fn once(
    stream: &TcpStream,
    interest: Interest,
    asked: usize,
    call: impl FnOnce(&TcpStream) -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut moved = 0;
    let result = stream.try_io(interest, || {
        moved = call(stream)?;
        if 0 < moved && moved < asked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(moved) }
    });
    match result {
        Err(_) if moved > 0 => Ok(moved),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(io::ErrorKind::WouldBlock.into()),
        result => result,
    }
}

pub(crate) struct TcpSink<'a>(pub(crate) &'a TcpStream);

impl ByteSink for TcpSink<'_> {
    async fn write_some(&mut self, out: &mut Outgoing) -> io::Result<usize> {
        if let Some(piece) = out.front().filter(|piece| !can_send_file(piece))
            && let Some(read) = file::read_front(piece).await?
        {
            out.replace_front(read);
        }
        loop {
            let written = match out.front() {
                Some(Piece::File { .. }) => self.send_file(out),
                _ => self.send_memory(out),
            };
            match written {
                Ok(written) => {
                    out.advance(written);
                    return Ok(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.0.poll_write_ready(cx)).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        rustix::net::shutdown(self.0, rustix::net::Shutdown::Write)?;
        Ok(())
    }
}

/// Whether the piece can go through `sendfile` without waiting for the disk.
fn can_send_file(piece: &Piece) -> bool {
    let Piece::File { file, position, len } = piece else { return false };
    let end = position + (*len).min(SENDFILE_BYTES) as u64;
    file::borrow(file.as_ref()).is_some() && file::is_cached(file.as_ref(), end)
}

impl TcpSink<'_> {
    fn send_memory(&self, out: &Outgoing) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (count, file_follows) = out.slices(&mut slices);
        let slices = &slices[..count];
        // A header on its own would wake the peer for nothing.
        let more = if file_follows { SendFlags::MORE } else { SendFlags::empty() };
        let asked = slices.iter().map(|slice| slice.len()).sum();
        once(self.0, Interest::WRITABLE, asked, |stream| {
            let flags = SendFlags::NOSIGNAL | more;
            rustix::net::sendmsg(stream, slices, &mut SendAncillaryBuffer::default(), flags)
        })
    }

    fn send_file(&self, out: &Outgoing) -> io::Result<usize> {
        let Some(Piece::File { file, position, len }) = out.front() else { return Ok(0) };
        let Some(fd) = file::borrow(file.as_ref()) else { return Ok(0) };
        let mut position = *position;
        let len = (*len).min(SENDFILE_BYTES);
        // A short count may also come from the file's side, so the socket's readiness is left alone.
        let sent = self
            .0
            .try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(self.0, fd, Some(&mut position), len)?))?;
        if sent == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file ends before the range that a reply names; it was truncated while being sent",
            ));
        }
        Ok(sent)
    }
}
