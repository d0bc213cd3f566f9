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

use std::io;

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Codec, DecompressError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_LEN: usize = 16;
const VERSION: u32 = 1;

/// What the Java client puts into one chunk.
const CHUNK_BYTES: usize = 32 * 1024;

/// A block's best: three bytes copy 64. A block that announces more lies, and is not allocated for.
const RATIO_MAX: usize = 22;

pub(super) fn compress(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = Encoder::new();
    for chunk in data.chunks(CHUNK_BYTES) {
        let start = out.len();
        out.resize(start + 4 + max_compress_len(chunk.len()), 0);
        let written = encoder.compress(chunk, &mut out[start + 4..])?;
        out[start..start + 4].copy_from_slice(&(written as u32).to_be_bytes());
        out.truncate(start + 4 + written);
    }
    Ok(())
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
