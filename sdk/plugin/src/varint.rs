//! Zigzag varints, as record batches use them for lengths, deltas and counts.

/// Bytes of the longest varint.
pub(crate) const MAX_LEN: usize = 10;

/// Reads the varint at `at` and moves `at` behind it. `None` if the bytes end first or it is too long.
#[inline(always)]
pub(crate) fn take(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    // Deltas, lengths and counts of small records fit one byte, most others two.
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag(u64::from(first)));
    }
    let second = *bytes.get(*at + 1)?;
    if second < 0x80 {
        *at += 2;
        return Some(unzigzag(u64::from(first & 0x7f) | u64::from(second) << 7));
    }
    take_long(bytes, at)
}

#[cold]
fn take_long(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..MAX_LEN as u32 * 7).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(unzigzag(value));
        }
    }
    None
}

/// Bytes that `value` takes.
#[inline(always)]
pub(crate) const fn len(value: i64) -> usize {
    let zigzag = zigzag(value);
    // Nearly all take one byte or two.
    if zigzag < 0x80 {
        return 1;
    }
    if zigzag < 0x4000 {
        return 2;
    }
    (64 - zigzag.leading_zeros() as usize).div_ceil(7)
}

/// Appends `value`.
#[inline(always)]
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Writes `value`, which takes all of `out`.
#[inline(always)]
pub(crate) fn overwrite(out: &mut [u8], value: i64) {
    let mut rest = zigzag(value);
    match out {
        [only] => *only = rest as u8,
        [first, second] => (*first, *second) = (rest as u8 | 0x80, (rest >> 7) as u8),
        _ => {
            let last = out.len() - 1;
            for byte in &mut out[..last] {
                *byte = rest as u8 | 0x80;
                rest >>= 7;
            }
            out[last] = rest as u8;
        }
    }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Length and bytes; the outer `None` is malformed, the inner one null.
#[inline(always)]
pub(crate) fn take_bytes<'a>(bytes: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let len = take(bytes, at)?;
    let rest = &bytes[*at..];
    // A negative length is too large as well.
    if len as u64 > rest.len() as u64 {
        return (len == -1).then_some(None);
    }
    *at += len as usize;
    Some(Some(&rest[..len as usize]))
}

#[cfg(test)]
mod tests {
    use super::{len, overwrite, put, take};

    #[test]
    fn what_is_put_is_taken() {
        for magnitude in 0..63 {
            for value in
                [1_i64 << magnitude, (1_i64 << magnitude) - 1, -(1_i64 << magnitude), i64::MIN, i64::MAX]
            {
                let mut bytes = Vec::new();
                put(&mut bytes, value);
                assert_eq!(bytes.len(), len(value), "length of {value}");
                let mut again = vec![0xff; bytes.len()];
                overwrite(&mut again, value);
                assert_eq!(again, bytes);
                let mut at = 0;
                assert_eq!(take(&bytes, &mut at), Some(value));
                assert_eq!(at, bytes.len());
                assert_eq!(take(&bytes[..bytes.len() - 1], &mut 0), None, "cut short");
            }
        }
        assert_eq!(take(&[0x80; 11], &mut 0), None, "endless");
    }
}
