//! Replies on their way out: pieces in order, shortened from the front as the peer takes them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use millrace_base::{Payload, Piece};

/// What is being written.
#[derive(Default)]
pub(crate) struct Outgoing {
    pieces: VecDeque<Piece>,
    len: usize,
}

impl Outgoing {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn push(&mut self, payload: Payload) {
        self.len += payload.len();
        self.pieces.extend(payload.into_pieces());
    }

    pub(crate) fn front(&self) -> Option<&Piece> {
        self.pieces.front()
    }

    /// Replaces `len` bytes of the file range at the front by the bytes read from it.
    pub(crate) fn replace_front(&mut self, read: Bytes) {
        let len = read.len();
        self.advance(len);
        self.len += len;
        self.pieces.push_front(Piece::Bytes(read));
    }

    /// Fills `slices` with the memory pieces up to the first file, and says how many, and whether a file
    /// follows at once.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> (usize, bool) {
        let mut count = 0;
        for piece in &self.pieces {
            let Piece::Bytes(bytes) = piece else { return (count, true) };
            let Some(slot) = slices.get_mut(count) else { break };
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        (count, false)
    }

    /// The memory pieces up to the first file, shared, `max` at most.
    pub(crate) fn chunks(&self, max: usize, chunks: &mut Vec<Bytes>) {
        chunks.clear();
        let memory = self.pieces.iter().map_while(|piece| match piece {
            Piece::Bytes(bytes) => Some(bytes.clone()),
            Piece::File { .. } => None,
        });
        chunks.extend(memory.take(max));
    }

    /// Drops the first `written` bytes.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.len -= written;
        while written > 0 {
            let Some(front) = self.pieces.front_mut() else { return };
            let len = front.len();
            if len <= written {
                written -= len;
                self.pieces.pop_front();
                continue;
            }
            match front {
                Piece::Bytes(bytes) => bytes.advance(written),
                Piece::File { position, len, .. } => {
                    *position += written as u64;
                    *len -= written;
                }
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_after_a_partial_write_is_the_rest() {
        let mut outgoing = Outgoing::default();
        let mut payload = Payload::new();
        for piece in ["abc", "defg", "h"] {
            payload.push_bytes(Bytes::from_static(piece.as_bytes()));
        }
        outgoing.push(payload);
        let mut seen = Vec::new();
        for step in [2, 3, 1, 2] {
            let mut chunks = Vec::new();
            outgoing.chunks(8, &mut chunks);
            let all = chunks.concat();
            assert_eq!(all.len(), outgoing.len());
            seen.extend_from_slice(&all[..step]);
            outgoing.advance(step);
        }
        assert_eq!(seen, b"abcdefgh");
        assert!(outgoing.is_empty() && outgoing.pieces() == 0);
    }
}
