//! Reads standard input or files in large pieces and keeps the producer fed.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use millrace_client::{BatchDelivery, Producer, Record, SendError};
use tokio::sync::mpsc;

use super::input::{InputForm, Parsed, read_records};
use super::lines::LineFormat;
use crate::output::note;
use crate::progress::Progress;
use crate::topic::count;

/// Pieces sent and not yet acknowledged; the producer's own buffer bounds their memory.
const IN_FLIGHT_MAX: usize = 256;

/// What was stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub records: usize,
    pub bytes: u64,
}

/// Sends every record of standard input and waits until all are stored. The first failure ends it, after what came
/// before has been waited for: the error tells how much that is.
pub async fn send_input(
    producer: &Producer,
    topic: &str,
    (form, format): (InputForm, &LineFormat),
    record_bytes_max: usize,
) -> anyhow::Result<Sent> {
    let typed = io::stdin().is_terminal();
    if typed {
        note("one record a line; Ctrl-D ends");
    }
    let progress = Progress::start(!typed, "records stored");
    let mut pieces = read_input(form, record_bytes_max);
    let mut deliveries = FuturesUnordered::new();
    let mut sent = Sent::default();
    let mut records_before = 0;
    let mut bad = None;
    let mut reading = true;
    while reading || !deliveries.is_empty() {
        tokio::select! {
            Some(stored) = deliveries.next() => {
                let stored: Result<Sent, SendError> = stored;
                let stored = stored.with_context(|| {
                    format!("send to topic '{topic}', after {} were stored", count(sent.records, "record"))
                })?;
                sent.records += stored.records;
                sent.bytes += stored.bytes;
                progress.advance(stored.records as u64, stored.bytes);
            }
            piece = pieces.recv(), if reading && deliveries.len() < IN_FLIGHT_MAX => match piece {
                None => reading = false,
                Some(Err(error)) => {
                    bad = Some(anyhow::Error::from(error).context("read standard input"));
                    reading = false;
                }
                Some(Ok(piece)) => {
                    let piece = send_piece(producer, topic, (form, format), &piece, records_before).await?;
                    records_before += piece.stored.records;
                    if let Some(delivery) = piece.delivery {
                        deliveries.push(async move { delivery.await.map(|_| piece.stored) });
                    }
                    reading = piece.bad.is_none();
                    bad = piece.bad;
                }
            },
        }
    }
    progress.finish();
    match bad {
        Some(bad) => Err(bad.context(format!("stopped after {} were stored", count(sent.records, "record")))),
        None => Ok(sent),
    }
}

/// What became of a piece of the input.
struct SentPiece {
    /// `None`: there was no record in it.
    delivery: Option<BatchDelivery>,
    /// What will be stored when it is delivered.
    stored: Sent,
    /// Why what follows was not sent.
    bad: Option<anyhow::Error>,
}

/// Sends the records of one piece as one batch, up to the first that is none.
async fn send_piece(
    producer: &Producer,
    topic: &str,
    (form, format): (InputForm, &LineFormat),
    piece: &[u8],
    records_before: usize,
) -> anyhow::Result<SentPiece> {
    let mut parsed = Vec::new();
    let mut stored = Sent::default();
    let mut bad = None;
    for record in form.split(piece) {
        match Parsed::read(form, format, record) {
            Ok(record) => parsed.push(record),
            Err(error) => {
                let what = if form == InputForm::Length { "record" } else { "line" };
                let number = records_before + parsed.len() + 1;
                bad = Some(anyhow::Error::from(error).context(format!("{what} {number} is no record")));
                break;
            }
        }
        stored.bytes += record.len() as u64;
    }
    stored.records = parsed.len();
    if parsed.is_empty() {
        return Ok(SentPiece { delivery: None, stored, bad });
    }
    let headers: Vec<_> = parsed.iter().map(|record| record.headers(format)).collect();
    let records =
        parsed.iter().zip(&headers).map(|(record, headers)| record.record(headers, format.partition));
    let delivery =
        producer.send_batch(topic, records).await.with_context(|| format!("send to topic '{topic}'"))?;
    Ok(SentPiece { delivery: Some(delivery), stored, bad })
}

/// Sends each file as one record.
pub async fn send_files(
    producer: &Producer,
    topic: &str,
    format: &LineFormat,
    files: &[PathBuf],
    record_bytes_max: usize,
) -> anyhow::Result<Sent> {
    let mut sent = Sent::default();
    for file in files {
        let so_far = || format!("stopped after {} were stored", count(sent.records, "record"));
        let value = read_file(file, record_bytes_max).with_context(so_far)?;
        let bytes = value.len() as u64;
        let headers = format.fixed_headers();
        let record = Record {
            key: None,
            value: Some(&value),
            headers: &headers,
            timestamp: None,
            partition: format.partition,
        };
        let delivery =
            producer.send_batch(topic, [record]).await.with_context(|| format!("send to topic '{topic}'"))?;
        delivery.await.with_context(|| format!("send '{}' to topic '{topic}'", file.display()))?;
        sent.records += 1;
        sent.bytes += bytes;
    }
    Ok(sent)
}

fn read_file(file: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let read = || format!("read '{}'", file.display());
    let bytes = fs::metadata(file).with_context(read)?.len();
    anyhow::ensure!(
        bytes <= bytes_max as u64,
        "'{}' has {bytes} bytes, a record at most {bytes_max}; --max-bytes raises the limit",
        file.display()
    );
    fs::read(file).with_context(read)
}

/// Reads whole records on a thread of its own: standard input cannot be read without blocking.
fn read_input(form: InputForm, record_bytes_max: usize) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(4);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut unfinished = Vec::new();
        loop {
            match read_records(form, &mut input, &mut unfinished, record_bytes_max) {
                Ok(None) => break,
                Ok(Some(records)) => {
                    if sender.blocking_send(Ok(records)).is_err() {
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
