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
#[inline(always)]
fn put(block: &mut Vec<u8>, timestamp: u64, offset: u32, tail: &[u8]) {
    let mut head = [0u8; 32];
    // The length comes before what it counts: leave it room and move back.
    const ROOM: usize = 5;
    let mut at = ROOM + 1;
    at = put_raw(&mut head, at, timestamp);
    at = put_raw(&mut head, at, u64::from(offset) << 1);
    let len = (at - ROOM + tail.len()) as u64 * 2;
    let mut prefix = [0u8; 16];
    let prefix_len = put_raw(&mut prefix, 0, len);
    let start = ROOM - prefix_len;
    head[start..ROOM].copy_from_slice(&prefix[..prefix_len]);
    block.extend_from_slice(&head[start..at]);
    block.extend_from_slice(tail);
}

#[inline(always)]
fn take(bytes: &mut &[u8]) -> i64 {
    let raw = take_raw(bytes);
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

#[inline(always)]
fn take_raw(bytes: &mut &[u8]) -> u64 {
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

#[inline(always)]
fn put_raw(bytes: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        bytes[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    bytes[at] = value as u8;
    at + 1
}
