//! Checking the records of a block in place, in one pass and without keeping anything of them.

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {index}: {reason}")]
pub struct RecordFault {
    /// Position of the record in its block, from 0.
    pub index: u32,
    pub reason: &'static str,
}

const CUT_OFF: &str = "it ends early";

/// Checks that `records` are exactly `count` records with offsets 0, 1, 2, … and returns the largest
/// timestamp delta among them.
pub(super) fn check(records: &[u8], count: u32) -> Result<i64, RecordFault> {
    let mut rest = records;
    let mut latest = i64::MIN;
    for index in 0..count {
        let delta = check_one(&mut rest, index).map_err(|reason| RecordFault { index, reason })?;
        latest = latest.max(delta);
    }
    if rest.is_empty() {
        Ok(latest)
    } else {
        Err(RecordFault { index: count, reason: "bytes follow the last record" })
    }
}

/// Takes one record off the front of `rest` and returns its timestamp delta.
#[inline(always)]
fn check_one(rest: &mut &[u8], index: u32) -> Result<i64, &'static str> {
    let len = take_len(rest).ok_or("its length is cut off or negative")?;
    let (mut body, after) = rest.split_at_checked(len).ok_or("it is longer than what is left")?;
    *rest = after;
    let (&attributes, after) = body.split_first().ok_or(CUT_OFF)?;
    if attributes != 0 {
        return Err("its attributes are not 0");
    }
    body = after;
    let timestamp_delta = unzigzag(take_varint::<10>(&mut body).ok_or(CUT_OFF)?);
    if take_varint::<5>(&mut body).ok_or(CUT_OFF)? != u64::from(index) << 1 {
        return Err("its offset is not its position in the block");
    }
    skip_nullable(&mut body).ok_or("its key is longer than it")?;
    skip_nullable(&mut body).ok_or("its value is longer than it")?;
    let headers = take_len(&mut body).ok_or("its header count is cut off or negative")?;
    for _ in 0..headers {
        let key = take_len(&mut body).ok_or("a header has no key")?;
        body = body.get(key..).ok_or("a header's key is longer than the record")?;
        skip_nullable(&mut body).ok_or("a header's value is longer than the record")?;
    }
    if body.is_empty() { Ok(timestamp_delta) } else { Err("bytes follow its headers") }
}

const fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// A length that is not negative.
#[inline(always)]
fn take_len(bytes: &mut &[u8]) -> Option<usize> {
    let raw = take_varint::<5>(bytes)?;
    if raw & 1 == 0 { Some((raw >> 1) as usize) } else { None }
}

/// Skips a length and as many bytes, or the length -1.
#[inline(always)]
fn skip_nullable(bytes: &mut &[u8]) -> Option<()> {
    let raw = take_varint::<5>(bytes)?;
    if raw & 1 == 0 {
        *bytes = bytes.get((raw >> 1) as usize..)?;
        return Some(());
    }
    // Zigzag has -1 as 1.
    if raw == 1 { Some(()) } else { None }
}

/// A varint of at most `MAX` bytes, still zigzag-encoded.
#[inline(always)]
fn take_varint<const MAX: usize>(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(u64::from(first));
    }
    let (&second, rest) = rest.split_first()?;
    let low = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7;
    if second < 0x80 {
        *bytes = rest;
        return Some(low);
    }
    take_long::<MAX>(bytes, rest, low)
}

/// The varints of three bytes and more.
fn take_long<const MAX: usize>(bytes: &mut &[u8], rest: &[u8], low: u64) -> Option<u64> {
    let mut value = low;
    for (index, &byte) in rest.iter().enumerate().take(MAX - 2) {
        value |= u64::from(byte & 0x7f) << (7 * (index + 2));
        if byte < 0x80 {
            let taken = 2 + index + 1;
            *bytes = bytes.get(taken..)?;
            return Some(value);
        }
    }
    None
}
