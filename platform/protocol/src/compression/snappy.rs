//! Snappy in the framing of xerial's snappy-java, which Kafka's Java client writes, or raw, as librdkafka's.
//!
//! A stream is a header of 16 bytes, then chunks: a 32-bit length and a raw snappy block. A further header
//! may stand where a chunk would (streams that were joined).
//!
//! | bytes | header field |
//! |---|---|
//! | 0..8 | `0x82 "SNAPPY" 0x00` |
//! | 8..12 | version, big-endian: 1 |
//! | 12..16 | lowest version that can read it, big-endian: 1 |
//!
//! A raw block may be as long as a batch. [`Reader`] expands long ones within a window of 64 KiB: every
//! encoder there is cuts its input into parts of so much, and copies from within them.

mod reader;

use std::io::{self, Write};

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Codec, DecompressError};

pub(super) use reader::Reader;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_LEN: usize = 16;
const VERSION: u32 = 1;

/// What the Java client puts into one chunk.
const CHUNK_BYTES: usize = 32 * 1024;

/// A block's best: three bytes copy 64. A block that announces more lies, and is not allocated for.
const RATIO_MAX: usize = 22;

pub(super) fn compress(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut writer = Writer::new(out)?;
    writer.write_all(data)?;
    writer.finish()
}

/// Writes a stream in pieces of any length.
pub(super) struct Writer<W> {
    out: W,
    encoder: Encoder,
    /// Less than a chunk that is still to be compressed.
    pending: Vec<u8>,
    /// A chunk with its length.
    compressed: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        let mut header = [0; HEADER_LEN];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_be_bytes());
        header[12..].copy_from_slice(&VERSION.to_be_bytes());
        out.write_all(&header)?;
        Ok(Self { out, encoder: Encoder::new(), pending: Vec::new(), compressed: Vec::new() })
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() { Ok(()) } else { self.put_chunk(&pending) }
    }

    fn put_chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.compressed.resize(4 + max_compress_len(chunk.len()), 0);
        let len = self.encoder.compress(chunk, &mut self.compressed[4..])?;
        self.compressed[..4].copy_from_slice(&(len as u32).to_be_bytes());
        self.out.write_all(&self.compressed[..4 + len])
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.pending.is_empty() && data.len() >= CHUNK_BYTES {
            self.put_chunk(&data[..CHUNK_BYTES])?;
            return Ok(CHUNK_BYTES);
        }
        let taken = data.len().min(CHUNK_BYTES - self.pending.len());
        self.pending.extend_from_slice(&data[..taken]);
        if self.pending.len() == CHUNK_BYTES {
            let mut chunk = std::mem::take(&mut self.pending);
            self.put_chunk(&chunk)?;
            chunk.clear();
            self.pending = chunk;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(super) fn decompress(data: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut expanded = Vec::new();
    if !data.starts_with(&MAGIC) {
        append_block(data, max, &mut expanded)?;
        return Ok(expanded);
    }
    let mut rest = data;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER_LEN..).ok_or_else(|| malformed("the stream's header ends early"))?;
            continue;
        }
        let (len, after) =
            rest.split_first_chunk().ok_or_else(|| malformed("a chunk's length ends early"))?;
        let len = u32::from_be_bytes(*len) as usize;
        let block = after.get(..len).ok_or_else(|| malformed("a chunk ends early"))?;
        append_block(block, max, &mut expanded)?;
        rest = &after[len..];
    }
    Ok(expanded)
}

fn append_block(block: &[u8], max: usize, expanded: &mut Vec<u8>) -> Result<(), DecompressError> {
    let len = decompress_len(block).map_err(|error| malformed(&error.to_string()))?;
    if len > block.len().saturating_mul(RATIO_MAX) {
        return Err(malformed("a block announces more than it can hold"));
    }
    let start = expanded.len();
    if len > max - start {
        return Err(DecompressError::TooLarge { codec: Codec::Snappy, max });
    }
    expanded.resize(start + len, 0);
    let written = Decoder::new().decompress(block, &mut expanded[start..]);
    written.map_err(|error| malformed(&error.to_string()))?;
    Ok(())
}

fn malformed(reason: &str) -> DecompressError {
    DecompressError::Malformed { codec: Codec::Snappy, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_blocks_are_read_too() {
        let data = b"a record, a record, a record".repeat(50);
        let raw = Encoder::new().compress_vec(&data).unwrap();
        assert_eq!(decompress(&raw, data.len()).unwrap(), data);
    }

    #[test]
    fn joined_streams_are_read_as_one() {
        let mut joined = Vec::new();
        compress(b"one", &mut joined).unwrap();
        compress(b" and two", &mut joined).unwrap();
        assert_eq!(decompress(&joined, 100).unwrap(), b"one and two");
    }

    #[test]
    fn a_block_cannot_announce_what_it_cannot_hold() {
        // A raw block of 3 bytes that announces 64 MiB.
        let error = decompress(&[0x80, 0x80, 0x80, 0x20, 0, 0, 0], 1 << 30).unwrap_err();
        assert!(matches!(error, DecompressError::Malformed { .. }), "{error}");
    }

    #[test]
    fn the_stream_begins_as_the_java_client_s() {
        let mut stream = Vec::new();
        compress(&[1; 40_000], &mut stream).unwrap();
        assert_eq!(&stream[..16], b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    }
}
