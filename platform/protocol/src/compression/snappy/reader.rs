//! Snappy in pieces.
//!
//! A raw block is the length of what it expands to (base 128, least significant group first), then elements. The
//! lowest two bits of an element's first byte say what it is:
//!
//! | bits | element |
//! |---|---|
//! | 00 | a literal: length less one in the upper six bits, or, from 60 on, in the next one to four bytes |
//! | 01 | a copy: length less four in three bits, offset in three bits and a byte |
//! | 10, 11 | a copy: length less one in six bits, offset in two or four bytes, little-endian |

use std::io::{self, BufRead, Read};

use snap::raw::{Decoder, decompress_len};

use super::{HEADER_LEN, MAGIC, RATIO_MAX};

/// How far back a copy may reach, and the longest block that is expanded at once.
const WINDOW_BYTES: usize = 64 * 1024;
/// What a long block yields at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Reads a stream of either framing. It holds two windows at most.
pub(in crate::compression) struct Reader<'a> {
    /// Behind the current block.
    rest: &'a [u8],
    framed: bool,
    block: Block<'a>,
    /// What was expanded last; behind `read`, not yet given.
    window: Vec<u8>,
    read: usize,
}

/// What is left of a block.
#[derive(Default)]
struct Block<'a> {
    elements: &'a [u8],
    /// Of a literal whose beginning was given.
    literal: usize,
    /// Bytes that are still to come of it.
    left: usize,
}

impl<'a> Reader<'a> {
    pub(in crate::compression) fn new(data: &'a [u8]) -> Self {
        let framed = data.starts_with(&MAGIC);
        Self { rest: data, framed, block: Block::default(), window: Vec::new(), read: 0 }
    }

    /// The next block, or `None` behind the last one.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.framed {
            // Raw data is one block; even nothing has a length.
            self.framed = true;
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        while self.rest.starts_with(&MAGIC) {
            self.rest =
                self.rest.get(HEADER_LEN..).ok_or_else(|| malformed("the stream's header ends early"))?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (len, after) =
            self.rest.split_first_chunk().ok_or_else(|| malformed("a chunk's length ends early"))?;
        let (block, rest) = after
            .split_at_checked(u32::from_be_bytes(*len) as usize)
            .ok_or_else(|| malformed("a chunk ends early"))?;
        self.rest = rest;
        Ok(Some(block))
    }

    /// Expands a short block at once, and begins a long one.
    fn begin(&mut self, block: &'a [u8]) -> io::Result<()> {
        let len = decompress_len(block)?;
        if len > block.len().saturating_mul(RATIO_MAX) {
            return Err(malformed("a block announces more than it can hold"));
        }
        self.window.clear();
        self.read = 0;
        if len <= WINDOW_BYTES {
            self.window.resize(len, 0);
            Decoder::new().decompress(block, &mut self.window)?;
        } else {
            // The length ends with the first byte that is below 128; `decompress_len` has read it.
            let len_bytes = block.iter().take_while(|byte| **byte >= 0x80).count() + 1;
            self.block = Block { elements: &block[len_bytes..], literal: 0, left: len };
        }
        Ok(())
    }

    /// Expands the next piece of a long block, keeping as much before it as copies may reach back.
    fn go_on(&mut self) -> io::Result<()> {
        let old = self.window.len().saturating_sub(WINDOW_BYTES);
        self.window.drain(..old);
        self.read = self.window.len();
        let enough = self.window.len() + PIECE_BYTES.min(self.block.left);
        while self.window.len() < enough {
            self.block
                .expand_element(&mut self.window, enough)
                .ok_or_else(|| malformed("a block is damaged"))?;
        }
        if self.block.left == 0 && !self.block.elements.is_empty() {
            return Err(malformed("bytes follow a block's end"));
        }
        Ok(())
    }
}

impl<'a> Block<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.elements.split_first_chunk()?;
        self.elements = rest;
        Some(*taken)
    }

    /// Appends one element, of a literal no more than up to `enough`. `None` if it cannot be.
    fn expand_element(&mut self, window: &mut Vec<u8>, enough: usize) -> Option<()> {
        if self.literal == 0 {
            let [tag] = self.take()?;
            let upper = usize::from(tag >> 2);
            let (len, offset) = match tag & 3 {
                0 => {
                    self.literal = 1 + match upper {
                        60 => usize::from(self.take::<1>()?[0]),
                        61 => usize::from(u16::from_le_bytes(self.take()?)),
                        62 => {
                            let [a, b, c] = self.take()?;
                            u32::from_le_bytes([a, b, c, 0]) as usize
                        }
                        63 => u32::from_le_bytes(self.take()?) as usize,
                        len => len,
                    };
                    (0, 1)
                }
                1 => (4 + (upper & 7), (upper >> 3) << 8 | usize::from(self.take::<1>()?[0])),
                2 => (upper + 1, usize::from(u16::from_le_bytes(self.take()?))),
                _ => (upper + 1, u32::from_le_bytes(self.take()?) as usize),
            };
            if len > self.left {
                return None;
            }
            copy_back(window, len, offset)?;
            self.left -= len;
        }
        let len = self.literal.min(enough.saturating_sub(window.len()));
        let (literal, rest) = self.elements.split_at_checked(len)?;
        window.extend_from_slice(literal);
        self.elements = rest;
        self.literal -= len;
        self.left = self.left.checked_sub(len)?;
        // A literal that runs over the block's end is not begun.
        (self.literal <= self.left).then_some(())
    }
}

/// Appends `len` bytes from `offset` before the end on, which may be bytes that are only being appended.
fn copy_back(window: &mut Vec<u8>, len: usize, offset: usize) -> Option<()> {
    if len == 0 {
        return Some(());
    }
    let from = window.len().checked_sub(offset).filter(|_| offset > 0)?;
    if offset >= len {
        window.extend_from_within(from..from + len);
    } else {
        for at in from..from + len {
            window.push(window[at]);
        }
    }
    Some(())
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.read == self.window.len() {
            if self.block.left > 0 {
                self.go_on()?;
            } else {
                match self.next_block()? {
                    Some(block) => self.begin(block)?,
                    None => break,
                }
            }
        }
        Ok(&self.window[self.read..])
    }

    fn consume(&mut self, len: usize) {
        self.read += len;
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

fn malformed(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(data: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(data).unwrap()
    }

    fn read(block: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Reader::new(block).read_to_end(&mut all)?;
        Ok(all)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Long raw blocks, as librdkafka writes them.
        #[test]
        fn long_blocks_are_read_within_the_window(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..400), 1..40),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 600..1200),
        ) {
            let data: Vec<u8> = order.iter().flat_map(|index| index.get(&parts).clone()).collect();
            let block = raw(&data);
            prop_assert_eq!(&read(&block).unwrap(), &data);
            let mut reader = Reader::new(&block);
            while !reader.fill_buf().unwrap().is_empty() {
                prop_assert!(reader.window.len() <= WINDOW_BYTES + PIECE_BYTES + 64);
                let len = reader.fill_buf().unwrap().len();
                reader.consume(len);
            }
        }

        #[test]
        fn damage_never_panics_and_is_noticed_where_it_changes_the_length(at: proptest::sample::Index, byte: u8) {
            let data: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
            let mut block = raw(&data);
            let at = at.index(block.len());
            block[at] = byte;
            if let Ok(read) = read(&block) {
                prop_assert!(at < 4 || read.len() == data.len());
            }
        }
    }

    #[test]
    fn literals_longer_than_a_piece_are_read_in_parts() {
        // A block of one literal of 200,000 bytes.
        let data: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let mut block = vec![0xc0, 0x9a, 0x0c, 62 << 2];
        block.extend_from_slice(&199_999u32.to_le_bytes()[..3]);
        block.extend_from_slice(&data);
        assert_eq!(read(&block).unwrap(), data);
        block.pop();
        assert!(read(&block).is_err(), "cut off");
        block.extend_from_slice(&[0, 0, 0]);
        assert!(read(&block).is_err(), "bytes behind the end");
    }
}
