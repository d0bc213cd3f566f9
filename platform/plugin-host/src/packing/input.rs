//! What a guest is given: a batch without its compression.

use bytes::{Bytes, BytesMut};
use millrace_protocol::batch::{Attributes, Batch, BatchError, HEADER_LEN};
use millrace_protocol::compression::{Codec, DecompressError, decompress};

/// What the batch length field does not count.
const LENGTH_END: usize = 12;
const CODEC_BITS: i16 = 7;

/// A batch that cannot be given to a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    #[error("a batch of {len} bytes is over the limit of {max} for a plugin's input")]
    TooLarge { len: usize, max: usize },
    #[error("a control batch holds no records")]
    Control,
}

/// The bytes of `batch` with its records uncompressed, at most `max` in all: the batch's own bytes where
/// nothing is compressed. The checksum is not brought up to date; guests do not rely on it.
pub fn uncompressed(batch: &Batch, max: usize) -> Result<Bytes, InputError> {
    if batch.header.attributes.is_control() {
        return Err(InputError::Control);
    }
    let codec = batch.header.attributes.codec()?;
    if codec == Codec::None {
        let len = batch.bytes.len();
        return if len <= max { Ok(batch.bytes.clone()) } else { Err(InputError::TooLarge { len, max }) };
    }
    let stored = batch.bytes.slice(HEADER_LEN..);
    let records = decompress(codec, &stored, max.saturating_sub(HEADER_LEN))?;
    let mut header = batch.header;
    header.attributes = Attributes(header.attributes.0 & !CODEC_BITS);
    let total = HEADER_LEN + records.len();
    header.batch_length =
        i32::try_from(total - LENGTH_END).map_err(|_| InputError::TooLarge { len: total, max })?;
    let mut bytes = BytesMut::with_capacity(total);
    bytes.resize(HEADER_LEN, 0);
    header.write(&mut bytes);
    bytes.extend_from_slice(&records);
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use millrace_protocol::batch::{BatchBuilder, ProducerState};

    use super::*;

    fn batch(codec: Codec) -> Batch {
        let mut builder = BatchBuilder::default();
        for index in 0..50 {
            builder.append(index, Some(b"key"), Some(&[b'v'; 100]), &[]);
        }
        Batch::parse(builder.finish(codec, ProducerState::NONE).unwrap()).unwrap()
    }

    #[test]
    fn every_codec_s_batch_becomes_the_uncompressed_one() {
        let plain = batch(Codec::None);
        for codec in Codec::ALL {
            let given = Batch::parse(uncompressed(&batch(codec), 1 << 20).unwrap()).unwrap();
            assert_eq!(given.bytes[HEADER_LEN..], plain.bytes[HEADER_LEN..], "{codec:?}");
            assert_eq!(given.header.attributes, plain.header.attributes);
        }
    }

    #[test]
    fn an_uncompressed_batch_is_not_copied() {
        let plain = batch(Codec::None);
        assert_eq!(uncompressed(&plain, 1 << 20).unwrap().as_ptr(), plain.bytes.as_ptr());
    }

    #[test]
    fn what_expands_beyond_the_limit_is_refused() {
        assert!(matches!(
            uncompressed(&batch(Codec::Zstd), 1000),
            Err(InputError::Decompress(DecompressError::TooLarge { .. }))
        ));
        assert!(matches!(uncompressed(&batch(Codec::None), 1000), Err(InputError::TooLarge { .. })));
    }
}
