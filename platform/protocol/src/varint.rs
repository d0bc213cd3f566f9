//! Variable-length integers: base 128, least significant group first; signed ones zigzag-encoded.

/// Most bytes that a 64-bit value takes.
pub(crate) const MAX_LEN: usize = 10;

/// Most bytes that a 32-bit value takes.
pub(crate) const MAX_LEN_32: usize = 5;

/// Maps a signed value to an unsigned one that is small when the value is near zero.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The signed value that [`zigzag`] maps to `raw`.
#[inline]
pub(crate) const fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// The same of 32 bits.
#[inline]
pub(crate) const fn unzigzag_32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

/// Bytes that `value` takes, zigzag-encoded.
#[inline]
pub(crate) const fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value`, zigzag-encoded, at `at` and returns the position after it.
#[inline]
pub(crate) fn put(buffer: &mut [u8], at: usize, value: i64) -> usize {
    let mut rest = zigzag(value);
    let mut at = at;
    while rest >= 0x80 {
        buffer[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    buffer[at] = rest as u8;
    at + 1
}

/// Takes a zigzag-encoded 32-bit value off the front of `bytes`; `None` if it ends early or has more than
/// five bytes.
#[inline]
pub(crate) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    Some(unzigzag_32(take::<MAX_LEN_32>(bytes)? as u32))
}

/// Takes a zigzag-encoded 64-bit value off the front of `bytes`; `None` if it ends early or has more than
/// ten bytes.
#[inline]
pub(crate) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    take::<MAX_LEN>(bytes).map(unzigzag)
}

#[inline]
fn take<const MAX: usize>(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7f);
    for (index, &byte) in rest.iter().enumerate().take(MAX - 1) {
        value |= u64::from(byte & 0x7f) << (7 * (index + 1));
        if byte < 0x80 {
            *bytes = &rest[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64, narrow: i32, tail: Vec<u8>) {
            let mut buffer = vec![0; MAX_LEN];
            let end = put(&mut buffer, 0, value);
            prop_assert_eq!(end, len(value));
            buffer.truncate(end);
            buffer.extend_from_slice(&tail);
            let mut rest = &buffer[..];
            prop_assert_eq!(take_i64(&mut rest), Some(value));
            prop_assert_eq!(rest, &tail[..]);

            let mut buffer = [0; MAX_LEN];
            let end = put(&mut buffer, 0, i64::from(narrow));
            prop_assert_eq!(take_i32(&mut &buffer[..end]), Some(narrow));
            prop_assert_eq!(take_i32(&mut &buffer[..end - 1]), None);
        }
    }

    #[test]
    fn the_extremes_take_as_many_bytes_as_they_may() {
        assert_eq!(len(0), 1);
        assert_eq!(len(-64), 1);
        assert_eq!(len(64), 2);
        assert_eq!(len(i64::from(i32::MIN)), 5);
        assert_eq!(len(i64::MIN), MAX_LEN);
        assert_eq!(take_i32(&mut &[0xff; 6][..]), None);
        assert_eq!(take_i64(&mut &[0xff; 11][..]), None);
    }
}
