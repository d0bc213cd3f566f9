//! The codecs of a record batch, each with bounded output.

use bytes::Bytes;

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
}

/// Compressed data that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    #[error("the {codec:?} data expands beyond the limit of {max} bytes")]
    TooLarge { codec: Codec, max: usize },
    #[error("malformed {codec:?} data: {reason}")]
    Malformed { codec: Codec, reason: String },
}

/// Expands `data` to at most `max` bytes. Without compression, `data` itself.
pub fn decompress(codec: Codec, data: &Bytes, max: usize) -> Result<Bytes, DecompressError> {
    let _ = (codec, data, max);
    unimplemented!()
}

/// Data that the codec's library refused to compress (out of memory, for the most part).
#[derive(Debug, thiserror::Error)]
#[error("compress with {codec:?}: {reason}")]
pub struct CompressError {
    pub codec: Codec,
    pub reason: String,
}

/// Appends the compressed `data` to `out`.
pub fn compress(codec: Codec, data: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let _ = (codec, data, out);
    unimplemented!()
}
