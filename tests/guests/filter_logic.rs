//! Keeps the records whose value begins with an even byte. Compiled into a guest and into the benchmark that
//! compares it with itself run natively.

/// Length of a batch's header and of a block's.
const BATCH_HEADER: usize = 61;
const BLOCK_HEADER: usize = 20;

/// Writes the block of what `batch` keeps to `block`, which is emptied before; nothing if nothing is kept.
pub fn filter(batch: &[u8], block: &mut Vec<u8>) {
    block.clear();
    block.reserve(batch.len());
    block.resize(BLOCK_HEADER, 0);
    let mut rest = &batch[BATCH_HEADER..];
    let mut kept = 0u32;
    while !rest.is_empty() {
        let len = take(&mut rest) as usize;
        let (record, after) = rest.split_at(len);
        rest = after;
        // Behind the attributes: timestamp and offset deltas, then what is copied as it is.
        let mut body = &record[1..];
        let timestamp = take_raw(&mut body);
        let _offset = take_raw(&mut body);
        let tail = body;
        let key = take(&mut body);
        if key > 0 {
            body = &body[key as usize..];
        }
        let value = take(&mut body);
        if value > 0 && body[0] % 2 == 0 {
            put(block, timestamp, kept, tail);
            kept += 1;
        }
    }
    if kept == 0 {
        block.clear();
        return;
    }
    let records = (block.len() - BLOCK_HEADER) as u32;
    block[4..8].copy_from_slice(&kept.to_le_bytes());
    block[8..12].copy_from_slice(&records.to_le_bytes());
    let mut base_timestamp = [0; 8];
    base_timestamp.copy_from_slice(&batch[27..35]);
    base_timestamp.reverse();
    block[12..20].copy_from_slice(&base_timestamp);
}

/// Appends a record: `timestamp` is still encoded, `tail` is everything from the key's length on.
///
/// Written so that a guest does as little as a native program: WebAssembly's instructions to copy and fill
/// are calls out of the guest, and compilers use them for whatever is longer than a register.
#[inline(always)]
fn put(block: &mut Vec<u8>, timestamp: u64, offset: u32, tail: &[u8]) {
    let offset = u64::from(offset) << 1;
    let len = 1 + raw_len(timestamp) + raw_len(offset) + tail.len();
    block.reserve(len + 10);
    let end = block.len();
    // SAFETY: `reserve` has made room for the record and its length, which is all that is written.
    #[allow(unsafe_code)]
    unsafe {
        let start = block.as_mut_ptr().add(end);
        let mut at = put_raw(start, len as u64 * 2);
        at.write(0);
        at = put_raw(at.add(1), timestamp);
        at = put_raw(at, offset);
        at = put_bytes(at, tail);
        block.set_len(end + at.offset_from(start) as usize);
    }
}

/// # Safety
/// There is room for `bytes` at `to`, apart from them.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn put_bytes(to: *mut u8, bytes: &[u8]) -> *mut u8 {
    type Piece = [u8; 16];
    let (from, len) = (bytes.as_ptr(), bytes.len());
    // SAFETY: every piece lies within `bytes`, and as far behind `to` as within them.
    unsafe {
        let piece = |at: usize| to.add(at).cast::<Piece>().write(from.add(at).cast::<Piece>().read());
        if len >= 16 {
            let mut at = 0;
            while at + 64 <= len {
                piece(at);
                piece(at + 16);
                piece(at + 32);
                piece(at + 48);
                at += 64;
            }
            while at + 16 <= len {
                piece(at);
                at += 16;
            }
            piece(len - 16);
        } else {
            for at in 0..len {
                to.add(at).write(from.add(at).read());
            }
        }
        to.add(len)
    }
}

/// # Safety
/// There is room for ten bytes at `to`.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn put_raw(to: *mut u8, value: u64) -> *mut u8 {
    // SAFETY: a varint has ten bytes at most.
    unsafe {
        if value < 0x80 {
            to.write(value as u8);
            return to.add(1);
        }
        to.write(value as u8 | 0x80);
        if value < 0x4000 {
            to.add(1).write((value >> 7) as u8);
            return to.add(2);
        }
        let (mut to, mut rest) = (to.add(1), value >> 7);
        while rest >= 0x80 {
            to.write(rest as u8 | 0x80);
            (to, rest) = (to.add(1), rest >> 7);
        }
        to.write(rest as u8);
        to.add(1)
    }
}

const fn raw_len(value: u64) -> usize {
    (63 - (value | 1).leading_zeros() as usize) / 7 + 1
}

#[inline(always)]
fn take(bytes: &mut &[u8]) -> i64 {
    let raw = take_raw(bytes);
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

#[inline(always)]
fn take_raw(bytes: &mut &[u8]) -> u64 {
    // Nearly all take one byte or two, and a loop's every turn is one at which a guest can be stopped.
    let first = bytes[0];
    if first < 0x80 {
        *bytes = &bytes[1..];
        return u64::from(first);
    }
    let second = bytes[1];
    if second < 0x80 {
        *bytes = &bytes[2..];
        return u64::from(first & 0x7f) | u64::from(second) << 7;
    }
    take_long(bytes)
}

#[inline(never)]
fn take_long(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}
