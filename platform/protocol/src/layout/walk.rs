//! The walk over a message's bytes along its layout.

use kafka_protocol::protocol::StrBytes;

use super::{Field, Kind, Layout, memory_budget};
use crate::frame::DecodeError;

/// What a tagged field that the layout does not know costs the decoder at most: a map's first node.
const UNKNOWN_TAG_MEMORY: usize = 448;

/// The longest string, whatever its length is written as.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Walks the message at the front of `bytes` and returns its length, or why it must not be decoded.
pub(crate) fn check(layout: &Layout, bytes: &[u8], version: i16) -> Result<usize, DecodeError> {
    let budget = memory_budget(bytes.len());
    let mut walk = Walk { rest: bytes, version, frame: bytes.len(), left: budget };
    walk.layout(layout)?;
    Ok(bytes.len() - walk.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    frame: usize,
    /// What the decoder may still allocate.
    left: usize,
}

impl Walk<'_> {
    fn layout(&mut self, layout: &Layout) -> Result<(), DecodeError> {
        let flexible = self.version >= layout.flexible_since;
        for field in layout.fields {
            if field.since <= self.version && self.version <= field.until {
                self.field(field, flexible)?;
            }
        }
        if flexible { self.tagged_fields(layout) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field, flexible: bool) -> Result<(), DecodeError> {
        match field.kind {
            Kind::Fixed(width) => self.skip(width),
            Kind::String => self.string(field.name, flexible),
            Kind::Bytes => {
                let len = if flexible { self.compact_len()? } else { self.len_i32(field.name)? };
                self.skip(len)
            }
            Kind::Numbers(width) => {
                let count = self.count(field.name, flexible, width)?;
                self.skip(count * width)
            }
            Kind::Strings => {
                for _ in 0..self.count(field.name, flexible, size_of::<StrBytes>())? {
                    self.string(field.name, flexible)?;
                }
                Ok(())
            }
            Kind::Array(layout) => {
                for _ in 0..self.count(field.name, flexible, layout.memory)? {
                    self.layout(layout)?;
                }
                Ok(())
            }
            Kind::Struct(layout) => self.layout(layout),
            Kind::Optional(layout) => {
                if self.take::<1>()? == [1] {
                    self.layout(layout)?;
                }
                Ok(())
            }
        }
    }

    /// The decoder reads a field of a known tag by its type, whatever size the wire gives; so does this.
    fn tagged_fields(&mut self, layout: &Layout) -> Result<(), DecodeError> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            match layout.tagged.iter().find(|(known, _)| *known == tag) {
                Some((_, field)) if field.since <= self.version => self.field(field, true)?,
                Some((_, field)) => {
                    return Err(DecodeError::Malformed(format!(
                        "tagged field {} does not exist in version {}",
                        field.name, self.version
                    )));
                }
                None => {
                    self.charge(1, UNKNOWN_TAG_MEMORY)?;
                    self.skip(size)?;
                }
            }
        }
        Ok(())
    }

    fn string(&mut self, name: &'static str, flexible: bool) -> Result<(), DecodeError> {
        let len = if flexible {
            self.compact_len()?
        } else {
            let len = i16::from_be_bytes(self.take()?);
            length(name, i32::from(len))?
        };
        // In every version, as in Kafka: what is taken here can be written in any form.
        if len > STRING_BYTES_MAX {
            return Err(DecodeError::Malformed(format!(
                "{name} has {len} bytes: a string has at most {STRING_BYTES_MAX}"
            )));
        }
        self.skip(len)
    }

    /// Elements of an array, paid for with `memory` bytes each.
    fn count(&mut self, name: &'static str, flexible: bool, memory: usize) -> Result<usize, DecodeError> {
        let count = if flexible { self.compact_len()? } else { self.len_i32(name)? };
        // Every element takes a byte at least.
        if count > self.rest.len() {
            return Err(DecodeError::Truncated { missing: count - self.rest.len() });
        }
        self.charge(count, memory)?;
        Ok(count)
    }

    fn charge(&mut self, count: usize, memory: usize) -> Result<(), DecodeError> {
        let over = DecodeError::OverBudget { frame: self.frame, budget: memory_budget(self.frame) };
        let cost = count.checked_mul(memory);
        self.left = cost.and_then(|cost| self.left.checked_sub(cost)).ok_or(over)?;
        Ok(())
    }

    /// A length that stands one higher on the wire; 0 stands for null.
    fn compact_len(&mut self) -> Result<usize, DecodeError> {
        Ok((self.varint()? as usize).saturating_sub(1))
    }

    fn len_i32(&mut self, name: &'static str) -> Result<usize, DecodeError> {
        length(name, i32::from_be_bytes(self.take()?))
    }

    /// As the decoder reads it: five bytes at most, bits beyond the 32nd dropped.
    fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| DecodeError::Truncated { missing: N - self.rest.len() })?;
        self.rest = rest;
        Ok(*taken)
    }

    fn skip(&mut self, len: usize) -> Result<(), DecodeError> {
        self.rest =
            self.rest.get(len..).ok_or_else(|| DecodeError::Truncated { missing: len - self.rest.len() })?;
        Ok(())
    }
}

/// A length of which -1 stands for null, which takes no bytes.
fn length(field: &'static str, len: i32) -> Result<usize, DecodeError> {
    match len {
        -1 => Ok(0),
        _ => usize::try_from(len).map_err(|_| DecodeError::NegativeLength { field, len }),
    }
}
