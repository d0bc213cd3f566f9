//! The codecs of a record batch, each with bounded output.
//!
//! Reading accepts what Kafka's clients write; writing produces what the Java client writes, so that every
//! client can read it. A batch is small and arrives whole; what it expands to need not be: [`expand()`] gives it
//! in pieces.

mod encode;
mod expand;
mod lz4_frame;
mod snappy;

use std::cell::RefCell;
use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

pub(crate) use encode::encode;
pub use expand::{Expanded, expand};

/// How a batch's records are compressed: the lowest three bits of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with Kafka's number `id`.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name in Kafka's settings (`compression.type`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec with the given name in Kafka's settings.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// Compressed data that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    #[error("the {} data expands beyond the limit of {max} bytes", codec.name())]
    TooLarge { codec: Codec, max: usize },
    #[error("malformed {} data: {reason}", codec.name())]
    Malformed { codec: Codec, reason: String },
}

/// Data that the codec's library refused to compress (out of memory, for the most part).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compress with {}: {reason}", codec.name())]
pub struct CompressError {
    pub codec: Codec,
    pub reason: String,
}

/// Kafka's default levels (KIP-390).
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Windows that a zstd frame may always ask for: 8 MiB, which every decoder should support (RFC 8878).
const ZSTD_WINDOW_LOG_MIN: u32 = 23;
/// And at most: 128 MiB, libzstd's own limit.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Expands `data` to at most `max` bytes. Without compression, it is `data` itself, whatever its length.
pub fn decompress(codec: Codec, data: &Bytes, max: usize) -> Result<Bytes, DecompressError> {
    let malformed = |error: io::Error| DecompressError::Malformed { codec, reason: error.to_string() };
    let expanded = match codec {
        Codec::None => return Ok(data.clone()),
        Codec::Snappy => snappy::decompress(data, max)?,
        Codec::Gzip => read_bounded(codec, MultiGzDecoder::new(&data[..]), data.len(), max)?,
        Codec::Lz4 => read_bounded(codec, lz4_frame::Reader::new(data), data.len(), max)?,
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&data[..]).map_err(malformed)?;
            decoder.window_log_max(zstd_window_log(max)).map_err(malformed)?;
            read_bounded(codec, decoder, data.len(), max)?
        }
    };
    Ok(expanded.into())
}

/// A window larger than the output that is allowed is not needed.
fn zstd_window_log(max: usize) -> u32 {
    let log = usize::BITS - max.leading_zeros();
    log.clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX)
}

fn read_bounded(
    codec: Codec,
    reader: impl Read,
    compressed: usize,
    max: usize,
) -> Result<Vec<u8>, DecompressError> {
    // Records shrink to a quarter or so; a better ratio costs a few reallocations.
    let mut expanded = Vec::with_capacity(compressed.saturating_mul(4).min(max));
    let read = reader.take(max as u64 + 1).read_to_end(&mut expanded);
    read.map_err(|error| DecompressError::Malformed { codec, reason: error.to_string() })?;
    if expanded.len() > max {
        return Err(DecompressError::TooLarge { codec, max });
    }
    Ok(expanded)
}

/// Appends the compressed `data` to `out`.
pub fn compress(codec: Codec, data: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let compressed = match codec {
        Codec::None => {
            out.extend_from_slice(data);
            Ok(())
        }
        Codec::Gzip => compress_gzip(data, out),
        Codec::Snappy => snappy::compress(data, out),
        Codec::Lz4 => compress_lz4(data, out),
        Codec::Zstd => compress_zstd(data, out),
    };
    compressed.map_err(|error| CompressError { codec, reason: error.to_string() })
}

fn compress_gzip(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
    encoder.write_all(data)?;
    encoder.finish()?;
    Ok(())
}

/// Frames as Kafka's own: independent blocks of 64 KiB, without checksums (the batch has one).
fn compress_lz4(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(data)?;
    encoder.finish()?;
    Ok(())
}

thread_local! {
    /// Setting up a zstd context costs more than compressing a small batch.
    static ZSTD: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

fn compress_zstd(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    ZSTD.with_borrow_mut(|cached| {
        let compressor = match cached {
            Some(compressor) => compressor,
            None => cached.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        let start = out.len();
        out.resize(start + zstd::zstd_safe::compress_bound(data.len()), 0);
        let written = compressor.compress_to_buffer(data, &mut out[start..])?;
        out.truncate(start + written);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compressed(codec: Codec, data: &[u8]) -> Bytes {
        let mut out = Vec::new();
        compress(codec, data, &mut out).unwrap();
        out.into()
    }

    fn repetitive() -> impl Strategy<Value = Vec<u8>> {
        (proptest::collection::vec(any::<u8>(), 0..300), 1usize..600)
            .prop_map(|(part, times)| part.repeat(times))
    }

    proptest! {
        #[test]
        fn every_codec_gives_back_what_it_was_given(data in repetitive()) {
            for codec in Codec::ALL {
                prop_assert_eq!(&decompress(codec, &compressed(codec, &data), data.len()).unwrap()[..], &data[..]);
            }
        }

        #[test]
        fn garbage_is_refused_or_bounded(data: Vec<u8>, flips: Vec<(usize, u8)>, valid in repetitive()) {
            for codec in Codec::ALL {
                let _ = decompress(codec, &data.clone().into(), 4096);
                let mut damaged = compressed(codec, &valid).to_vec();
                for (at, bits) in &flips {
                    let len = damaged.len();
                    if len > 0 {
                        damaged[at % len] ^= bits;
                    }
                }
                if let Ok(expanded) = decompress(codec, &damaged.into(), 4096)
                    && codec != Codec::None {
                    prop_assert!(expanded.len() <= 4096);
                }
            }
        }
    }

    #[test]
    fn output_stops_at_the_limit() {
        let data = vec![7; 1_000_000];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let small = compressed(codec, &data);
            assert_eq!(
                decompress(codec, &small, data.len() - 1),
                Err(DecompressError::TooLarge { codec, max: data.len() - 1 })
            );
            assert_eq!(decompress(codec, &small, data.len()).unwrap().len(), data.len());
        }
    }

    #[test]
    fn names_are_those_of_the_settings() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_name(codec.name()), Some(codec));
            assert_eq!(Codec::from_id(codec as u8), Some(codec));
        }
        assert_eq!(Codec::from_name("brotli"), None);
        assert_eq!(Codec::from_id(5), None);
    }
}
