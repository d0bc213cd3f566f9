//! Compressing piece by piece, into a bounded buffer: what a topic with a codec of its own stores.

use std::cell::Cell;
use std::io::{self, Write};

use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use zstd::zstd_safe::{CCtx, CParameter, ResetDirective};

use super::{Codec, GZIP_LEVEL, ZSTD_LEVEL, snappy};

/// A context that has grown beyond this, for a high level, is not kept.
const CONTEXT_BYTES_MAX: usize = 8 << 20;

thread_local! {
    static ZSTD: Cell<Option<CCtx<'static>>> = const { Cell::new(None) };
}

/// Appends to `out` what `feed` writes, `len` bytes in all, compressed. `level` is one of gzip or zstd; the other
/// codecs have none.
pub(crate) fn encode<E: From<io::Error>>(
    codec: Codec,
    level: Option<i32>,
    len: usize,
    out: &mut impl Write,
    feed: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    match codec {
        Codec::None => feed(out),
        Codec::Gzip => {
            let level = level.and_then(|level| u32::try_from(level).ok()).unwrap_or(GZIP_LEVEL);
            let mut encoder = GzEncoder::new(out, flate2::Compression::new(level.min(9)));
            feed(&mut encoder)?;
            encoder.finish()?;
            Ok(())
        }
        Codec::Snappy => {
            let mut encoder = snappy::Writer::new(out)?;
            feed(&mut encoder)?;
            Ok(encoder.finish()?)
        }
        Codec::Lz4 => {
            let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
            let mut encoder = FrameEncoder::with_frame_info(info, out);
            feed(&mut encoder)?;
            encoder.finish().map_err(io::Error::from)?;
            Ok(())
        }
        Codec::Zstd => encode_zstd(level.unwrap_or(ZSTD_LEVEL), len, out, feed),
    }
}

fn encode_zstd<E: From<io::Error>>(
    level: i32,
    len: usize,
    out: &mut impl Write,
    feed: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let mut context = ZSTD.take().unwrap_or_default();
    let refused = |code| io::Error::other(zstd::zstd_safe::get_error_name(code));
    context.reset(ResetDirective::SessionOnly).map_err(refused)?;
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(refused)?;
    // The window, and what readers reserve for it, need not be larger than the batch.
    context.set_pledged_src_size(Some(len as u64)).map_err(refused)?;
    let mut encoder = zstd::stream::write::Encoder::with_context(out, &mut context);
    feed(&mut encoder)?;
    encoder.finish()?;
    if context.sizeof() <= CONTEXT_BYTES_MAX {
        ZSTD.set(Some(context));
    }
    Ok(())
}
