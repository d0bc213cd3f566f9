//! The two directions of one pipeline, whatever carries it.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::client::TlsStream;

/// Pieces that one vectored write takes; Linux allows 1024, few are ever queued.
const SLICES_MAX: usize = 64;

pub(crate) enum Outbound {
    Tcp(OwnedWriteHalf),
    Tls(WriteHalf<TlsStream<TcpStream>>),
    Quic(quinn::SendStream),
}

pub(crate) enum Inbound {
    Tcp(OwnedReadHalf),
    Tls(ReadHalf<TlsStream<TcpStream>>),
    Quic(quinn::RecvStream),
}

impl Outbound {
    /// Writes from the front of `queue` until it is empty (Ready) or the peer takes no more for now.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        while !queue.is_empty() {
            match self {
                Self::Tcp(half) => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let count = queue.len().min(SLICES_MAX);
                    for (slice, piece) in slices.iter_mut().zip(queue.iter()) {
                        *slice = IoSlice::new(piece);
                    }
                    let written = ready!(Pin::new(half).poll_write_vectored(cx, &slices[..count]))?;
                    advance(queue, written)?;
                }
                Self::Tls(half) => {
                    let written = ready!(Pin::new(half).poll_write(cx, &queue[0]))?;
                    advance(queue, written)?;
                }
                Self::Quic(stream) => {
                    let (front, _) = queue.as_mut_slices();
                    let written =
                        ready!(pin!(stream.write_chunks(front)).poll(cx)).map_err(io::Error::from)?;
                    queue.drain(..written.chunks);
                }
            }
        }
        // TLS holds back records that the socket did not take.
        if let Self::Tls(half) = self {
            ready!(Pin::new(half).poll_flush(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

fn advance(queue: &mut VecDeque<Bytes>, mut written: usize) -> io::Result<()> {
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    while let Some(front) = queue.front_mut() {
        if written < front.len() {
            front.advance(written);
            break;
        }
        written -= front.len();
        queue.pop_front();
    }
    Ok(())
}

impl Inbound {
    /// Reads some bytes; 0 is the end.
    pub(crate) async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.read(into).await,
            Self::Tls(half) => half.read(into).await,
            Self::Quic(stream) => Ok(stream.read(into).await.map_err(io::Error::from)?.unwrap_or(0)),
        }
    }
}

/// Both halves must be usable from spawned tasks.
const _: () = {
    const fn sendable<T: Send>() {}
    sendable::<Outbound>();
    sendable::<Inbound>();
};
