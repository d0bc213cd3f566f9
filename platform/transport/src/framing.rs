//! Frames out of a stream of bytes: a big-endian length of 32 bits, then that many bytes.
//!
//! The [`Assembler`] does no I/O. Bytes reach it in one of two ways: [`feed`](Assembler::feed) copies them
//! into the frames' own buffers (many small frames out of one read), and [`direct`](Assembler::direct) is
//! room in a begun frame, for the transport to read into (a large frame, without a copy). A peer between two
//! frames therefore costs no buffer at all, nor does one that has only announced a frame.

use std::collections::VecDeque;

use bytes::Bytes;
use millrace_base::limits::KIB;

use crate::limits::SCRATCH_BYTES;
use crate::memory::{Grant, ReceiveBuffer, ReceiveMemory, Want};
use crate::service::CloseReason;

const PREFIX_LEN: usize = 4;
/// What is fed at a time while memory is short.
const SHORT_FEED_BYTES: usize = 4 * KIB;

/// Turns bytes into frames.
pub(crate) struct Assembler {
    memory: ReceiveMemory,
    frame_bytes_max: usize,
    ready: VecDeque<Bytes>,
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    partial: Option<Partial>,
    /// Bytes for which the budget had no room; nothing behind them is taken in until it has.
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
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(data);
        } else if self.broken.is_none() {
            self.broken = self.consume(data).err();
        }
    }

    /// Room in the frame in progress, and whether its end is within it. After writing to it, call
    /// [`advance`](Self::advance).
    pub(crate) fn direct(&mut self) -> Option<(&mut [u8], bool)> {
        let Partial { buffer, filled } = self.partial.as_mut()?;
        if buffer.room() == *filled {
            return None;
        }
        let has_end = buffer.room() == buffer.frame_len();
        Some((buffer.rest(*filled), has_end))
    }

    /// Says that the first `bytes` of [`direct`](Self::direct) are filled.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let Some(mut partial) = self.partial.take() else { return };
        partial.filled += bytes;
        if partial.filled == partial.buffer.frame_len() {
            self.ready.push_back(Bytes::from_owner(partial.buffer));
        } else {
            self.partial = Some(partial);
        }
    }

    /// Makes room for more of the frame in progress. What must be [granted](Self::grant) before more can come, if
    /// the budget has none.
    pub(crate) fn wanted(&mut self) -> Option<Want> {
        let Partial { buffer, filled } = self.partial.as_mut()?;
        // Of a frame that has only been announced the first bytes come by `feed`.
        if *filled == 0 && self.carry.is_empty() {
            return None;
        }
        let needed = *filled + self.carry.len().max(1);
        buffer.make_room(needed.min(buffer.frame_len())).err()
    }

    /// Goes on with the frame that waited for memory.
    pub(crate) fn grant(&mut self, grant: Grant) {
        if let Some(partial) = &mut self.partial {
            partial.buffer.add(grant);
        }
        let carry = std::mem::take(&mut self.carry);
        self.feed(&carry);
    }

    /// Bytes to read at a time where they are fed: few while memory is short, since they may have to be carried.
    pub(crate) fn feed_max(&self) -> usize {
        if self.memory.is_short() { SHORT_FEED_BYTES } else { SCRATCH_BYTES }
    }

    /// Whether a frame has begun that is not complete.
    pub(crate) const fn is_mid_frame(&self) -> bool {
        self.prefix_len > 0 || self.partial.is_some()
    }

    /// Tells frames apart: grows with each one whose first byte arrives.
    pub(crate) const fn frames_begun(&self) -> u64 {
        self.frames_begun
    }

    fn consume(&mut self, mut data: &[u8]) -> Result<(), CloseReason> {
        while !data.is_empty() {
            if let Some(Partial { buffer, filled }) = &mut self.partial {
                let taken = (buffer.frame_len() - *filled).min(data.len());
                if buffer.make_room(*filled + taken).is_err() {
                    self.carry = data.to_vec();
                    return Ok(());
                }
                buffer.place(*filled, &data[..taken]);
                self.advance(taken);
                data = &data[taken..];
                continue;
            }
            let Some(len) = self.take_prefix(&mut data)? else { return Ok(()) };
            if let Some(whole) = data.get(..len)
                && let Some(buffer) = self.memory.try_copy(whole)
            {
                self.ready.push_back(Bytes::from_owner(buffer));
                data = &data[len..];
            } else {
                self.partial = Some(Partial { buffer: self.memory.buffer(len), filled: 0 });
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
    use crate::limits::TransportLimits;
    use futures::FutureExt;
    use prometheus::IntGauge;

    fn assembler(budget: usize, frame_bytes_max: usize) -> Assembler {
        let limits = TransportLimits {
            frame_bytes_max,
            receive_bytes_max: budget,
            receive_pool_bytes: budget,
            ..TransportLimits::default()
        };
        let memory = ReceiveMemory::new(&limits, IntGauge::new("in_use", "bytes").unwrap());
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
            let mut fed = assembler(4 << 20, 1 << 20);
            let mut read = assembler(4 << 20, 1 << 20);
            for mut piece in stream.chunks(chunk) {
                fed.feed(piece);
                // The same bytes, as a transport would read them: straight into the frame where one is begun.
                assert_eq!(read.wanted(), None);
                if let Some((rest, _)) = read.direct() {
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
            assert_eq!(assembler.memory.in_use(), 0);
        }
    }

    #[test]
    fn a_frame_that_is_only_announced_takes_no_memory() {
        let mut assembler = assembler(4 << 20, 1 << 20);
        assembler.feed(&(1_u32 << 20).to_be_bytes());
        assert!(assembler.is_mid_frame());
        assert_eq!((assembler.wanted(), assembler.direct().is_some()), (None, false));
        assert_eq!(assembler.memory.in_use(), 0);
        assembler.feed(&[1]);
        assert!((1..=8192).contains(&assembler.memory.in_use()));
    }

    #[test]
    fn a_frame_without_memory_waits_and_nothing_behind_it_is_lost() {
        let len = 100 * KIB;
        let mut assembler = assembler(3 * len, len);
        let stream = [frame(len, 1), frame(len, 2), frame(10, 3)].concat();
        let cut = len + 50_000;
        assembler.feed(&stream[..cut]);
        assert_eq!(frames(&mut assembler), [(len, 1)]);
        let held: Vec<_> = std::iter::from_fn(|| assembler.memory.try_copy(&[0; 80 * KIB])).collect();
        assert!(!held.is_empty());
        assembler.feed(&stream[cut..]);
        assert!(assembler.is_mid_frame());
        let want = assembler.wanted().expect("what is there is taken");
        assert!(frames(&mut assembler).is_empty());
        drop(held);
        let grant = assembler.memory.wait_for(want).now_or_never().expect("there is room again");
        assembler.grant(grant);
        assert_eq!(assembler.wanted(), None);
        assert_eq!(frames(&mut assembler), [(len, 2), (10, 3)]);
        assert_eq!(assembler.memory.in_use(), 0);
    }
}
