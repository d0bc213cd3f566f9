//! The records of `__consumer_offsets` in Kafka's form, one file a kind of them.

pub(super) mod classic;
pub(super) mod consumer;
pub(super) mod offsets;

use bytes::{Buf, BufMut};

pub(super) fn short(len: usize) -> i16 {
    i16::try_from(len).expect("names of groups and topics, and metadata, are short")
}

pub(super) fn put_text(buffer: &mut Vec<u8>, text: &str) {
    buffer.put_i16(short(text.len()));
    buffer.put_slice(text.as_bytes());
}

pub(super) fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let len = u32::try_from(bytes.try_get_i16().ok()?).ok()?;
    String::from_utf8(take(bytes, len)?.to_vec()).ok()
}

pub(super) fn take<'b>(bytes: &mut &'b [u8], len: u32) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(len as usize)?;
    *bytes = rest;
    Some(taken)
}

/// Seven bits a byte, the lowest first; the highest bit says that there are more.
pub(super) fn put_varint(buffer: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        buffer.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    buffer.put_u8(number as u8);
}

pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = bytes.try_get_u8().ok()?;
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
