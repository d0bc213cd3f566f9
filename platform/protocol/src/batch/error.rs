//! Why a batch is refused, and what the producer is told.

use crate::ErrorCode;
use crate::compression::{CompressError, DecompressError};

/// A batch that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    #[error("the batch ends early: {available} bytes of {needed}")]
    Truncated { needed: usize, available: usize },
    #[error("the batch announces {length} bytes; a header alone has 49 after the length")]
    BadLength { length: i32 },
    #[error("a batch of {len} bytes is over the limit of {max}")]
    TooLarge { len: usize, max: usize },
    #[error("record format magic {0} is not supported; producers since Kafka 0.11 write magic 2")]
    OldMagic(i8),
    #[error("record format magic {0} is unknown")]
    UnknownMagic(i8),
    #[error("the batch's checksum is {computed:#010x}, and it announces {stored:#010x}")]
    BadCrc { stored: u32, computed: u32 },
    #[error("compression type {0} is unknown")]
    UnknownCodec(u8),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("record {index} of the batch is malformed: {reason}")]
    MalformedRecord { index: i32, reason: &'static str },
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    #[error(transparent)]
    Compress(#[from] CompressError),
}

impl BatchError {
    /// What the producer is told. Damage in transit is worth a retry; a batch that was built wrongly is
    /// not, nor is an old format, for which Kafka's Produce answers `INVALID_RECORD` as well.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::BadLength { .. } | Self::UnknownMagic(_) | Self::BadCrc { .. } => ErrorCode::CorruptMessage,
            // Producers halve such a batch and try again.
            Self::TooLarge { .. } | Self::Decompress(DecompressError::TooLarge { .. }) => {
                ErrorCode::MessageTooLarge
            }
            Self::Compress(_) => ErrorCode::UnknownServerError,
            Self::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
            Self::Truncated { .. }
            | Self::OldMagic(_)
            | Self::Invalid(_)
            | Self::MalformedRecord { .. }
            | Self::Decompress(_) => ErrorCode::InvalidRecord,
        }
    }
}
