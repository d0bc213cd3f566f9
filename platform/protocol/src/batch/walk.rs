//! Going through a batch's records once, without keeping any: compressed ones are expanded piece by piece, so
//! that a batch takes the memory of a piece whatever it expands to.
//!
//! A record that is at hand whole, nearly every one, is gone through in place; one that crosses the end of a
//! piece is taken bit by bit ([`Crossing`]).

use std::ops::ControlFlow;

use super::{Batch, BatchError, BatchHeader, HEADER_LEN, TimestampType};
use crate::compression::{Codec, DecompressError, Expanded, expand};
use crate::varint;

/// What going through a record tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub has_key: bool,
}

impl RecordHead {
    /// The time of the record in a batch with this header.
    pub fn timestamp_ms(&self, header: &BatchHeader) -> i64 {
        match header.attributes.timestamp_type() {
            TimestampType::CreateTime => header.base_timestamp.wrapping_add(self.timestamp_delta),
            TimestampType::LogAppendTime => header.max_timestamp,
        }
    }
}

const CUT_OFF: &str = "it ends early";
const BEYOND: &str = "it is longer than what is left";
const NO_LENGTH: &str = "its length is cut off";
const NEGATIVE: &str = "its length is negative";
const FOLLOWED: &str = "bytes follow its headers";
const BAD_HEADER: &str = "a header is malformed";
const NEGATIVE_HEADERS: &str = "its header count is negative";

impl Batch {
    /// Gives `visit` what each record is, in order, until it breaks. Checks that there are as many as announced,
    /// each well-formed, and, unless broken off, that nothing follows them. Compressed ones may expand to
    /// `max_expanded` bytes; returns how many were gone through.
    pub fn walk(
        &self,
        max_expanded: usize,
        mut visit: impl FnMut(RecordHead) -> ControlFlow<()>,
    ) -> Result<usize, BatchError> {
        let codec = self.header.attributes.codec()?;
        let stored = &self.bytes[HEADER_LEN..];
        let max = if codec == Codec::None { stored.len() } else { max_expanded };
        expand(codec, stored, max, |pieces| {
            walk(self.header.record_count, pieces, &mut visit)?;
            Ok(pieces.consumed())
        })
    }
}

fn walk(
    count: i32,
    pieces: &mut Expanded<'_>,
    visit: &mut impl FnMut(RecordHead) -> ControlFlow<()>,
) -> Result<(), BatchError> {
    let mut index = 0;
    while index < count {
        let piece = pieces.piece()?;
        let mut rest = piece;
        let mut stopped = false;
        while index < count && !stopped {
            let malformed = |reason| BatchError::MalformedRecord { index, reason };
            let Some(body) = whole(&mut rest).map_err(malformed)? else { break };
            stopped = visit(skim(body).map_err(malformed)?).is_break();
            index += 1;
        }
        let used = piece.len() - rest.len();
        pieces.consume(used);
        if !stopped && index < count {
            let mut crossing = Crossing { pieces: &mut *pieces, left: usize::MAX };
            let head = crossing.record().map_err(|fault| match fault {
                Fault::Record(reason) => BatchError::MalformedRecord { index, reason },
                Fault::Codec(error) => error.into(),
            })?;
            stopped = visit(head).is_break();
            index += 1;
        }
        if stopped {
            return Ok(());
        }
    }
    if pieces.piece()?.is_empty() {
        return Ok(());
    }
    Err(BatchError::MalformedRecord { index: count.saturating_sub(1), reason: "bytes follow the last one" })
}

/// Takes a record off the front of `bytes`, if it is there whole.
#[inline]
fn whole<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let mut rest = *bytes;
    let Some(len) = varint::take_i32(&mut rest) else {
        return if bytes.len() < varint::MAX_LEN_32 { Ok(None) } else { Err(NO_LENGTH) };
    };
    let len = usize::try_from(len).map_err(|_| NEGATIVE)?;
    Ok(rest.split_at_checked(len).map(|(body, after)| {
        *bytes = after;
        body
    }))
}

/// Goes through a record that is `body`.
#[inline]
fn skim(body: &[u8]) -> Result<RecordHead, &'static str> {
    let (_attributes, mut body) = body.split_first().ok_or(CUT_OFF)?;
    let body = &mut body;
    let timestamp_delta = varint::take_i64(body).ok_or(CUT_OFF)?;
    let offset_delta = varint::take_i32(body).ok_or(CUT_OFF)?;
    let has_key = skip_nullable(body).ok_or(CUT_OFF)?;
    skip_nullable(body).ok_or(CUT_OFF)?;
    let headers = varint::take_i32(body).ok_or("its header count is cut off")?;
    if headers < 0 {
        return Err(NEGATIVE_HEADERS);
    }
    for _ in 0..headers {
        // A header's key cannot be null.
        if !skip_nullable(body).ok_or(BAD_HEADER)? {
            return Err(BAD_HEADER);
        }
        skip_nullable(body).ok_or(BAD_HEADER)?;
    }
    if body.is_empty() { Ok(RecordHead { offset_delta, timestamp_delta, has_key }) } else { Err(FOLLOWED) }
}

/// Goes past a length and as many bytes; whether they are there, rather than null (a length of -1).
#[inline]
fn skip_nullable(bytes: &mut &[u8]) -> Option<bool> {
    let len = varint::take_i32(bytes)?;
    if len == -1 {
        return Some(false);
    }
    *bytes = bytes.get(usize::try_from(len).ok()?..)?;
    Some(true)
}

enum Fault {
    Record(&'static str),
    Codec(DecompressError),
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Self {
        Self::Record(reason)
    }
}

impl From<DecompressError> for Fault {
    fn from(error: DecompressError) -> Self {
        Self::Codec(error)
    }
}

/// A record that is not at hand whole.
struct Crossing<'a, 'b> {
    pieces: &'a mut Expanded<'b>,
    /// Bytes of the record that are still to come.
    left: usize,
}

impl Crossing<'_, '_> {
    fn record(&mut self) -> Result<RecordHead, Fault> {
        let len = self.varint_i32().map_err(|fault| match fault {
            Fault::Record(_) => Fault::Record(NO_LENGTH),
            codec @ Fault::Codec(_) => codec,
        })?;
        self.left = usize::try_from(len).map_err(|_| NEGATIVE)?;
        self.byte()?;
        let timestamp_delta = varint::unzigzag(self.varint(varint::MAX_LEN)?);
        let offset_delta = self.varint_i32()?;
        let has_key = self.skip_nullable()?;
        self.skip_nullable()?;
        let headers = self.varint_i32()?;
        if headers < 0 {
            return Err(NEGATIVE_HEADERS.into());
        }
        for _ in 0..headers {
            if !self.skip_nullable()? {
                return Err(BAD_HEADER.into());
            }
            self.skip_nullable()?;
        }
        if self.left > 0 {
            return Err(FOLLOWED.into());
        }
        Ok(RecordHead { offset_delta, timestamp_delta, has_key })
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.left = self.left.checked_sub(1).ok_or(CUT_OFF)?;
        let byte = *self.pieces.piece()?.first().ok_or(BEYOND)?;
        self.pieces.consume(1);
        Ok(byte)
    }

    fn varint(&mut self, max_len: usize) -> Result<u64, Fault> {
        let mut value = 0;
        for position in 0..max_len {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CUT_OFF.into())
    }

    fn varint_i32(&mut self) -> Result<i32, Fault> {
        Ok(varint::unzigzag_32(self.varint(varint::MAX_LEN_32)? as u32))
    }

    fn skip_nullable(&mut self) -> Result<bool, Fault> {
        let len = self.varint_i32()?;
        if len == -1 {
            return Ok(false);
        }
        let mut len = usize::try_from(len).map_err(|_| CUT_OFF)?;
        self.left = self.left.checked_sub(len).ok_or(CUT_OFF)?;
        while len > 0 {
            let at_hand = self.pieces.piece()?.len().min(len);
            if at_hand == 0 {
                return Err(BEYOND.into());
            }
            self.pieces.consume(at_hand);
            len -= at_hand;
        }
        Ok(true)
    }
}
