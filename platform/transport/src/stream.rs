//! Any stream of bytes, such as TLS on TCP, which must have what it sends in memory.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use millrace_base::Piece;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

use crate::file;
use crate::framing::Assembler;
use crate::outgoing::Outgoing;
use crate::pipeline::{ByteSink, ByteSource};
use crate::service::CloseReason;
use crate::tcp::with_scratch;

/// Memory pieces per write; rustls makes records of 16 KiB of them.
const SLICES: usize = 16;
/// For the peer's side of a TLS close, which many do not answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct StreamSource<S>(pub(crate) ReadHalf<S>);

impl<S: AsyncRead + Send> ByteSource for StreamSource<S> {
    async fn fill(&mut self, frames: &mut Assembler) -> Result<usize, CloseReason> {
        poll_fn(|cx| {
            let mut stream = Pin::new(&mut self.0);
            let failed = |source| CloseReason::Io { action: "receive", source };
            if let Some((rest, _)) = frames.direct() {
                let mut buffer = ReadBuf::new(rest);
                ready!(stream.as_mut().poll_read(cx, &mut buffer)).map_err(failed)?;
                let read = buffer.filled().len();
                frames.advance(read);
                return Poll::Ready(Ok(read));
            }
            with_scratch(|scratch| {
                let mut buffer = ReadBuf::new(&mut scratch[..frames.feed_max()]);
                ready!(stream.as_mut().poll_read(cx, &mut buffer)).map_err(failed)?;
                frames.feed(buffer.filled());
                Poll::Ready(Ok(buffer.filled().len()))
            })
        })
        .await
    }
}

pub(crate) struct StreamSink<S>(pub(crate) WriteHalf<S>);

impl<S: AsyncWrite + Send> ByteSink for StreamSink<S> {
    async fn write_some(&mut self, out: &mut Outgoing) -> io::Result<usize> {
        if let Some(front @ Piece::File { .. }) = out.front()
            && let Some(read) = file::read_front(front).await?
        {
            out.replace_front(read);
        }
        let written = poll_fn(|cx| {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let (count, _) = out.slices(&mut slices);
            Pin::new(&mut self.0).poll_write_vectored(cx, &slices[..count])
        })
        .await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        out.advance(written);
        if out.is_empty() {
            self.0.flush().await?;
        }
        Ok(written)
    }

    async fn finish(&mut self) -> io::Result<()> {
        tokio::time::timeout(CLOSE_TIMEOUT, self.0.shutdown()).await.unwrap_or(Ok(()))
    }
}
