//! Compressing a batch anew, for a topic that has a codec of its own. It stays one batch: its records keep their
//! bytes, and its header all but codec, length and checksum.

use std::io::{self, Write};

use super::header::CRC_FROM;
use super::{Attributes, Batch, BatchError, HEADER_LEN};
use crate::compression::{Codec, CompressError, DecompressError, encode, expand};
use crate::crc;

const CODEC_BITS: i16 = 7;

impl Batch {
    /// The batch with its records, which expand to `expanded` bytes, in `codec`. An error if it becomes larger
    /// than `max` bytes.
    pub fn recode(
        &self,
        codec: Codec,
        level: Option<i32>,
        expanded: usize,
        max: usize,
    ) -> Result<Self, BatchError> {
        let mut out = Bounded { bytes: vec![0; HEADER_LEN], max };
        let stored = &self.bytes[HEADER_LEN..];
        let outcome = expand(self.header.attributes.codec()?, stored, expanded, |pieces| {
            encode(codec, level, expanded, &mut out, |encoder| {
                loop {
                    let piece = pieces.piece()?;
                    if piece.is_empty() {
                        return Ok(());
                    }
                    encoder.write_all(piece)?;
                    let len = piece.len();
                    pieces.consume(len);
                }
            })
        });
        match outcome {
            Ok(()) => Ok(self.with_records(codec, out.bytes)),
            Err(Fault::Expand(error)) => Err(error.into()),
            Err(Fault::Encode(_)) if out.bytes.len() > max => {
                Err(BatchError::TooLarge { len: out.bytes.len(), max })
            }
            Err(Fault::Encode(error)) => Err(CompressError { codec, reason: error.to_string() }.into()),
        }
    }

    /// `bytes` has room for the header, then the records.
    fn with_records(&self, codec: Codec, mut bytes: Vec<u8>) -> Self {
        let mut header = self.header;
        header.attributes = Attributes(header.attributes.0 & !CODEC_BITS | codec as i16);
        header.batch_length = (bytes.len() - 12) as i32;
        header.write(&mut bytes);
        header.crc = crc::crc32c(&bytes[CRC_FROM..]);
        header.write(&mut bytes);
        Self { header, bytes: bytes.into() }
    }
}

/// Takes no more than `max` bytes, but for the piece that shows that there are more.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() > self.max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > self.max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Fault {
    Expand(DecompressError),
    Encode(io::Error),
}

impl From<DecompressError> for Fault {
    fn from(error: DecompressError) -> Self {
        Self::Expand(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Encode(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, ProducerState};

    fn built(codec: Codec) -> Batch {
        let mut builder = BatchBuilder::default();
        for index in 0..5000i64 {
            let value = format!("value {} {}", index % 7, index * index);
            builder.append(1000 + index, Some(&index.to_be_bytes()), Some(value.as_bytes()), &[]);
        }
        let producer =
            ProducerState { producer_id: 7, producer_epoch: 2, base_sequence: 5, transactional: false };
        Batch::parse(builder.finish(codec, producer).unwrap()).unwrap()
    }

    #[test]
    fn records_and_header_stay_what_they_were() {
        let expanded = built(Codec::None).bytes.len() - HEADER_LEN;
        for from in Codec::ALL {
            let mut batch = built(from);
            // As the broker corrects it: the header is the truth, not its bytes.
            batch.header.correct_max_timestamp(7000);
            for (codec, level) in Codec::ALL.into_iter().flat_map(|codec| [(codec, None), (codec, Some(1))]) {
                let recoded = batch.recode(codec, level, expanded, 1 << 20).unwrap();
                recoded.verify().unwrap();
                assert_eq!(Batch::parse(recoded.bytes.clone()).unwrap(), recoded);
                assert_eq!(recoded.header.attributes.codec(), Ok(codec));
                let mut expected = batch.header;
                expected.attributes = recoded.header.attributes;
                expected.batch_length = recoded.header.batch_length;
                expected.crc = recoded.header.crc;
                assert_eq!(recoded.header, expected);
                let (before, after) = (batch.records(expanded).unwrap(), recoded.records(expanded).unwrap());
                assert!(before.iter().map(Result::unwrap).eq(after.iter().map(Result::unwrap)));
            }
        }
    }

    #[test]
    fn a_batch_that_grows_over_the_limit_is_refused() {
        let batch = built(Codec::Zstd);
        let expanded = built(Codec::None).bytes.len() - HEADER_LEN;
        assert!(batch.bytes.len() < expanded / 2);
        for codec in Codec::ALL {
            let refused = batch.recode(codec, None, expanded, 1000);
            assert!(matches!(refused, Err(BatchError::TooLarge { max: 1000, .. })), "{refused:?}");
        }
    }
}
