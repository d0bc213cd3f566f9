//! Expanding piece by piece: what is read once and not kept needs the memory of a piece and of the codec's
//! window, whatever the data expands to.
//!
//! A thread keeps its zstd context, whose making costs more than a small batch; the other codecs' are cheap.

use std::cell::Cell;
use std::io::{BufRead, BufReader};

use flate2::bufread::MultiGzDecoder;
use zstd::zstd_safe::{DCtx, DParameter, ResetDirective};

use super::{Codec, DecompressError, lz4_frame, snappy, zstd_window_log};

/// What zstd and gzip yield at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A context that has grown beyond this, for a window that a frame asked for, is not kept.
const CONTEXT_BYTES_MAX: usize = 4 << 20;

/// Expanded data in pieces, at most so many bytes of it.
pub struct Expanded<'a> {
    codec: Codec,
    reader: &'a mut dyn BufRead,
    max: usize,
    left: usize,
}

impl Expanded<'_> {
    /// The bytes at hand; none at the end.
    pub fn piece(&mut self) -> Result<&[u8], DecompressError> {
        let codec = self.codec;
        let piece = self
            .reader
            .fill_buf()
            .map_err(|error| DecompressError::Malformed { codec, reason: error.to_string() })?;
        if piece.len() > self.left {
            return Err(DecompressError::TooLarge { codec, max: self.max });
        }
        Ok(piece)
    }

    /// Goes on by `len` bytes, which are at hand.
    pub fn consume(&mut self, len: usize) {
        self.left -= len;
        self.reader.consume(len);
    }

    /// Bytes gone past.
    pub const fn consumed(&self) -> usize {
        self.max - self.left
    }
}

thread_local! {
    static ZSTD: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

/// Gives `read` what `data` expands to, which is an error once it is more than `max` bytes.
pub fn expand<T>(codec: Codec, data: &[u8], max: usize, read: impl FnOnce(&mut Expanded<'_>) -> T) -> T {
    let run = |reader: &mut dyn BufRead| read(&mut Expanded { codec, reader, max, left: max });
    match codec {
        Codec::None => run(&mut &data[..]),
        Codec::Gzip => run(&mut BufReader::with_capacity(PIECE_BYTES, MultiGzDecoder::new(data))),
        Codec::Snappy => run(&mut snappy::Reader::new(data)),
        Codec::Lz4 => run(&mut lz4_frame::Reader::new(data)),
        Codec::Zstd => {
            let mut context = ZSTD.take().unwrap_or_default();
            // The session may have ended in an error, and the window that is allowed differs. Neither call
            // can fail: the parameter is within libzstd's bounds, and is set between sessions.
            let _ = context.reset(ResetDirective::SessionOnly);
            let _ = context.set_parameter(DParameter::WindowLogMax(zstd_window_log(max)));
            let decoder = zstd::stream::read::Decoder::with_context(data, &mut context);
            let outcome = run(&mut BufReader::with_capacity(PIECE_BYTES, decoder));
            if context.sizeof() <= CONTEXT_BYTES_MAX {
                ZSTD.set(Some(context));
            }
            outcome
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::compression::{compress, decompress};

    fn expanded(codec: Codec, data: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
        expand(codec, data, max, |pieces| {
            let mut all = Vec::new();
            loop {
                let piece = pieces.piece()?;
                if piece.is_empty() {
                    assert_eq!(pieces.consumed(), all.len());
                    return Ok(all);
                }
                // Not all at once, as a reader of records takes them.
                let taken = piece.len().div_ceil(2);
                all.extend_from_slice(&piece[..taken]);
                pieces.consume(taken);
            }
        })
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_whole(part in proptest::collection::vec(any::<u8>(), 1..300), times in 1usize..2000) {
            let data = part.repeat(times);
            for codec in Codec::ALL {
                let mut small = Vec::new();
                compress(codec, &data, &mut small).unwrap();
                prop_assert_eq!(&expanded(codec, &small, data.len()).unwrap(), &data);
                if codec != Codec::None {
                    let error = expanded(codec, &small, data.len() - 1).unwrap_err();
                    prop_assert_eq!(error, DecompressError::TooLarge { codec, max: data.len() - 1 });
                }
            }
        }

        /// Pieces and the whole are read by different code: what one takes for damaged the other does, too.
        #[test]
        fn garbage_is_refused_as_it_is_in_one_piece(
            data: Vec<u8>,
            valid in proptest::collection::vec(any::<u8>(), 1..300),
            flips: Vec<(usize, u8)>,
        ) {
            for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
                let mut damaged = Vec::new();
                compress(codec, &valid.repeat(9), &mut damaged).unwrap();
                for (at, bits) in &flips {
                    let len = damaged.len();
                    damaged[at % len] ^= bits;
                }
                for data in [&data, &damaged] {
                    let whole = decompress(codec, &Bytes::copy_from_slice(data), 1 << 16).ok().map(Vec::from);
                    prop_assert_eq!(expanded(codec, data, 1 << 16).ok(), whole, "{:?}", codec);
                }
            }
        }
    }

    /// The window that a frame asks for is not kept for the thread's life.
    #[test]
    fn a_context_that_has_grown_is_dropped() {
        let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        wide.window_log(25).unwrap();
        std::io::Write::write_all(&mut wide, &[7; 100_000]).unwrap();
        let wide = wide.finish().unwrap();
        assert_eq!(expanded(Codec::Zstd, &wide, 64 << 20).unwrap(), [7; 100_000]);
        assert!(ZSTD.take().is_none(), "a window of 32 MiB");
        let mut small = Vec::new();
        compress(Codec::Zstd, b"small", &mut small).unwrap();
        assert_eq!(expanded(Codec::Zstd, &small, 100).unwrap(), b"small");
        assert!(ZSTD.take().is_some());
    }
}
