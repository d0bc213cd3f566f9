//! Frames out of a stream of bytes: a big-endian length of 32 bits, then that many bytes.
//!
//! The [`Assembler`] does no I/O. Bytes reach it in one of two ways: [`feed`](Assembler::feed) copies them
//! into the frames' own buffers (many small frames out of one read), and [`direct`](Assembler::direct) is
//! the part of a begun frame that is still missing, for the transport to read into (a large frame, without
//! a copy). A peer between two frames therefore costs no buffer at all.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::memory::{ReceiveBuffer, ReceiveMemory};
use crate::service::CloseReason;

const PREFIX_LEN: usize = 4;

/// Turns bytes into frames.
pub(crate) struct Assembler {
    memory: ReceiveMemory,
    frame_bytes_max: usize,
    ready: VecDeque<Bytes>,
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    partial: Option<Partial>,
    /// The length of a frame for which the budget had no room; nothing is parsed until it has.
    wanted: Option<usize>,
    /// What came behind that frame's prefix.
    carry: Vec<u8>,
    frames_begun: u64,
    /// Why nothing can follow the frames that are ready: a length that cannot be.
    broken: Option<CloseReason>,
}

struct Partial {
    buffer: ReceiveBuffer,
    filled: usize,
}

impl Assembler {
    pub(crate) fn new(memory: ReceiveMemory, frame_bytes_max: usize) -> Self {
        Self {
            memory,
            frame_bytes_max,
            ready: VecDeque::new(),
            prefix: [0; PREFIX_LEN],
            prefix_len: 0,
            partial: None,
            wanted: None,
            carry: Vec::new(),
            frames_begun: 0,
            broken: None,
        }
    }

    /// The next complete frame.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    /// What ends the stream after the frames that are ready.
    pub(crate) const fn take_broken(&mut self) -> Option<CloseReason> {
        self.broken.take()
    }

    /// Takes bytes in, whatever their boundaries.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        if self.wanted.is_some() {
            self.carry.extend_from_slice(data);
        } else if self.broken.is_none() {
            self.broken = self.consume(data).err();
        }
    }

    /// Where the rest of the frame in progress belongs. After writing to it, call [`advance`](Self::advance).
    pub(crate) fn direct(&mut self) -> Option<&mut [u8]> {
        let partial = self.partial.as_mut()?;
        Some(&mut partial.buffer.as_mut_slice()[partial.filled..])
    }

    /// Says that the first `bytes` of [`direct`](Self::direct) are filled.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let Some(mut partial) = self.partial.take() else { return };
        partial.filled += bytes;
        if partial.filled == partial.buffer.as_ref().len() {
            self.ready.push_back(Bytes::from_owner(partial.buffer));
        } else {
            self.partial = Some(partial);
        }
    }

    /// The memory that must be [granted](Self::grant) before more frames can come.
    pub(crate) const fn wanted(&self) -> Option<usize> {
        self.wanted
    }

    /// Goes on with the frame that waited for memory.
    pub(crate) fn grant(&mut self, buffer: ReceiveBuffer) {
        self.wanted = None;
        self.partial = Some(Partial { buffer, filled: 0 });
        let carry = std::mem::take(&mut self.carry);
        self.feed(&carry);
    }

    /// Whether a frame has begun that is not complete.
    pub(crate) const fn is_mid_frame(&self) -> bool {
        self.prefix_len > 0 || self.partial.is_some() || self.wanted.is_some()
    }

    /// Tells frames apart: grows with each one whose first byte arrives.
    pub(crate) const fn frames_begun(&self) -> u64 {
        self.frames_begun
    }

    /// The length of the frame in progress, as far as it is known.
    pub(crate) fn announced(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.buffer.as_ref().len())
    }

    fn consume(&mut self, mut data: &[u8]) -> Result<(), CloseReason> {
        while !data.is_empty() {
            if let Some(rest) = self.direct() {
                let taken = rest.len().min(data.len());
                rest[..taken].copy_from_slice(&data[..taken]);
                self.advance(taken);
                data = &data[taken..];
                continue;
            }
            let Some(len) = self.take_prefix(&mut data)? else { return Ok(()) };
            let whole = data.get(..len);
            let buffer = match whole {
                Some(whole) => self.memory.try_copy(whole),
                None => self.memory.try_buffer(len),
            };
            let Some(buffer) = buffer else {
                self.wanted = Some(len);
                self.carry = data.to_vec();
                return Ok(());
            };
            if whole.is_some() {
                self.ready.push_back(Bytes::from_owner(buffer));
                data = &data[len..];
            } else {
                self.partial = Some(Partial { buffer, filled: 0 });
            }
        }
        Ok(())
    }

    /// Reads a frame's length off the front of `data`; `None` when it is not complete.
    fn take_prefix(&mut self, data: &mut &[u8]) -> Result<Option<usize>, CloseReason> {
        if self.prefix_len == 0 {
            self.frames_begun += 1;
        }
        let taken = (PREFIX_LEN - self.prefix_len).min(data.len());
        self.prefix[self.prefix_len..self.prefix_len + taken].copy_from_slice(&data[..taken]);
        self.prefix_len += taken;
        *data = &data[taken..];
        if self.prefix_len < PREFIX_LEN {
            return Ok(None);
        }
        self.prefix_len = 0;
        let announced = i32::from_be_bytes(self.prefix);
        match usize::try_from(announced) {
            Ok(len) if len <= self.frame_bytes_max => Ok(Some(len)),
            _ => Err(CloseReason::FrameTooLarge { announced: announced.into(), limit: self.frame_bytes_max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::IntGauge;

    fn assembler(budget: usize, frame_bytes_max: usize) -> Assembler {
        let memory = ReceiveMemory::new(budget, budget, IntGauge::new("in_use", "bytes").unwrap());
        Assembler::new(memory, frame_bytes_max)
    }

    fn frame(len: usize, fill: u8) -> Vec<u8> {
        let mut frame = (len as u32).to_be_bytes().to_vec();
        frame.resize(4 + len, fill);
        frame
    }

    fn frames(assembler: &mut Assembler) -> Vec<(usize, u8)> {
        std::iter::from_fn(|| assembler.pop())
            .map(|frame| {
                assert!(frame.iter().all(|byte| *byte == frame[0]));
                (frame.len(), frame.first().copied().unwrap_or(0))
            })
            .collect()
    }

    #[test]
    fn frames_come_out_whatever_the_boundaries_of_the_reads() {
        let lengths = [0, 1, 3, 100, 4095, 4096, 9000, 70_000, 5];
        let stream: Vec<u8> = lengths.iter().enumerate().flat_map(|(i, len)| frame(*len, i as u8)).collect();
        let expect: Vec<_> =
            lengths.iter().enumerate().map(|(i, len)| (*len, if *len == 0 { 0 } else { i as u8 })).collect();
        for chunk in [1, 2, 3, 5, 7, 64, 1000, 4096, 65_536, stream.len()] {
            let mut fed = assembler(1 << 20, 1 << 20);
            let mut read = assembler(1 << 20, 1 << 20);
            for mut piece in stream.chunks(chunk) {
                fed.feed(piece);
                // The same bytes, as a transport would read them: straight into the frame where one is begun.
                if let Some(rest) = read.direct() {
                    let taken = rest.len().min(piece.len());
                    rest[..taken].copy_from_slice(&piece[..taken]);
                    read.advance(taken);
                    piece = &piece[taken..];
                }
                read.feed(piece);
            }
            assert_eq!(frames(&mut fed), expect, "fed by {chunk}");
            assert_eq!(frames(&mut read), expect, "read by {chunk}");
            assert!(!fed.is_mid_frame());
            assert_eq!(fed.frames_begun(), lengths.len() as u64);
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_any_memory_is_taken() {
        for prefix in [[0xff, 0xff, 0xff, 0xff], [0x80, 0, 0, 0], [0, 0, 4, 1], *b"GET "] {
            let mut assembler = assembler(1 << 20, 1024);
            assembler.feed(&frame(7, 7));
            assembler.feed(&prefix);
            assert_eq!(frames(&mut assembler), [(7, 7)], "what came before counts");
            let error = assembler.take_broken().unwrap();
            assert!(matches!(error, CloseReason::FrameTooLarge { limit: 1024, .. }), "{error}");
            assert_eq!(assembler.memory.available(), 1 << 20);
        }
    }

    #[test]
    fn a_frame_without_memory_waits_and_nothing_behind_it_is_lost() {
        let mut assembler = assembler(1000, 1000);
        let stream = [frame(600, 1), frame(700, 2), frame(10, 3)].concat();
        assembler.feed(&stream[..1200]);
        assert_eq!(assembler.wanted(), Some(700));
        assembler.feed(&stream[1200..]);
        assert!(assembler.is_mid_frame());
        assert_eq!(frames(&mut assembler), [(600, 1)]);
        let buffer = assembler.memory.try_buffer(700).expect("the first frame is dropped");
        assembler.grant(buffer);
        assert_eq!(assembler.wanted(), None);
        assert_eq!(frames(&mut assembler), [(700, 2), (10, 3)]);
        assert_eq!(assembler.memory.available(), 1000);
    }
}
