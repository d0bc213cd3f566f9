//! Reads standard input in large pieces and keeps the producer fed.

use std::io::{self, IsTerminal, Read};
use std::thread;

use anyhow::Context;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use millrace_client::{BatchDelivery, Producer, SendError};
use tokio::sync::mpsc;

use super::LineFormat;
use crate::cli::output::note;
use crate::cli::progress::Progress;

/// Read from standard input at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Pieces sent and not yet acknowledged; the producer's own buffer bounds their memory.
const IN_FLIGHT_MAX: usize = 256;

/// What was stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub records: usize,
    pub bytes: u64,
}

/// Sends every line and waits until all are stored. The first failure ends it.
pub async fn send_lines(
    producer: &Producer,
    topic: &str,
    format: &LineFormat,
    line_bytes_max: usize,
) -> anyhow::Result<Sent> {
    let typed = io::stdin().is_terminal();
    if typed {
        note("one record a line; Ctrl-D ends");
    }
    let progress = Progress::start(!typed, "records stored");
    let mut pieces = read_input(line_bytes_max);
    let mut deliveries = FuturesUnordered::new();
    let mut sent = Sent::default();
    let mut lines_before = 0;
    let mut reading = true;
    while reading || !deliveries.is_empty() {
        tokio::select! {
            Some(stored) = deliveries.next() => {
                let stored: Result<Sent, SendError> = stored;
                let stored = stored.with_context(|| {
                    format!("send to topic '{topic}', after {} were stored", super::count(sent.records, "record"))
                })?;
                sent.records += stored.records;
                sent.bytes += stored.bytes;
                progress.advance(stored.records as u64, stored.bytes);
            }
            piece = pieces.recv(), if reading && deliveries.len() < IN_FLIGHT_MAX => match piece {
                None => reading = false,
                Some(piece) => {
                    let piece = piece.context("read standard input")?;
                    let (delivery, records) = send_piece(producer, topic, format, &piece, lines_before).await?;
                    lines_before += records;
                    let stored = Sent { records, bytes: piece.len() as u64 };
                    deliveries.push(async move { delivery.await.map(|_| stored) });
                }
            },
        }
    }
    progress.finish();
    Ok(sent)
}

/// Sends the lines of one piece as one batch; tells how many they were.
async fn send_piece(
    producer: &Producer,
    topic: &str,
    format: &LineFormat,
    piece: &[u8],
    lines_before: usize,
) -> anyhow::Result<(BatchDelivery, usize)> {
    let text = piece.strip_suffix(b"\n").unwrap_or(piece);
    let mut lines = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let parsed = format.parse(line);
        lines.push(parsed.with_context(|| format!("line {} is no record", lines_before + index + 1))?);
    }
    let records = lines.iter().map(|line| line.record(format.partition));
    let delivery =
        producer.send_batch(topic, records).await.with_context(|| format!("send to topic '{topic}'"))?;
    Ok((delivery, lines.len()))
}

/// Reads whole lines on a thread of its own: standard input cannot be read without blocking.
fn read_input(line_bytes_max: usize) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(4);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut unfinished = Vec::new();
        loop {
            match read_lines(&mut input, &mut unfinished, line_bytes_max) {
                Ok(None) => break,
                Ok(Some(lines)) => {
                    if sender.blocking_send(Ok(lines)).is_err() {
                        break;
                    }
                }
                Err(error) => {
                    sender.blocking_send(Err(error)).ok();
                    break;
                }
            }
        }
    });
    receiver
}

/// The next whole lines, as many as one read brings; the last may lack its newline at the end of the input.
/// What follows them waits in `unfinished`.
fn read_lines(
    input: &mut impl Read,
    unfinished: &mut Vec<u8>,
    line_bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    loop {
        let before = unfinished.len();
        unfinished.resize(before + PIECE_BYTES, 0);
        let read = loop {
            match input.read(&mut unfinished[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        unfinished.truncate(before + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            return Ok((!unfinished.is_empty()).then(|| std::mem::take(unfinished)));
        }
        if let Some(newline) = unfinished[before..].iter().rposition(|byte| *byte == b'\n') {
            let rest = unfinished.split_off(before + newline + 1);
            return Ok(Some(std::mem::replace(unfinished, rest)));
        }
        if unfinished.len() > line_bytes_max {
            let message =
                format!("a line is longer than {line_bytes_max} bytes; --max-bytes raises the limit");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in reads of the lengths that are asked for.
    struct Reads(Vec<&'static [u8]>);

    impl Read for Reads {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = (!self.0.is_empty()).then(|| self.0.remove(0)) else { return Ok(0) };
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn pieces(reads: &[&'static [u8]]) -> Vec<Vec<u8>> {
        let mut input = Reads(reads.to_vec());
        let mut unfinished = Vec::new();
        let mut pieces = Vec::new();
        while let Some(piece) = read_lines(&mut input, &mut unfinished, 100).unwrap() {
            pieces.push(piece);
        }
        pieces
    }

    #[test]
    fn a_piece_is_whole_lines() {
        assert_eq!(pieces(&[b"a\nb\nc"]), [b"a\nb\n".to_vec(), b"c".to_vec()]);
        assert_eq!(pieces(&[b"a", b"b\nc", b"d\n"]), [b"ab\n".to_vec(), b"cd\n".to_vec()]);
        assert_eq!(pieces(&[b"\n", b"a"]), [b"\n".to_vec(), b"a".to_vec()]);
        assert!(pieces(&[]).is_empty());
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut input = io::repeat(b'x');
        let error = read_lines(&mut input, &mut Vec::new(), 100).unwrap_err();
        assert_eq!(error.to_string(), "a line is longer than 100 bytes; --max-bytes raises the limit");
    }
}
