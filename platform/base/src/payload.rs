//! A response body as the transports send it: pieces of memory and ranges of files, never joined.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use bytes::Bytes;

/// A file that a transport reads from, or hands to the kernel whole (`sendfile`).
pub trait FileSource: Send + Sync {
    /// Reads at `position` until `buffer` is full; a shorter file is an error.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;

    /// The descriptor, where there is one; it stays open as long as `self` lives.
    fn as_raw_fd(&self) -> Option<RawFd>;
}

/// One stretch of a [`Payload`].
#[derive(Clone)]
pub enum Piece {
    Bytes(Bytes),
    /// `len` bytes of `file` from `position` on. They do not change while the piece lives.
    File {
        file: Arc<dyn FileSource>,
        position: u64,
        len: usize,
    },
}

impl Piece {
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File { position, len, .. } => write!(f, "File({position}+{len})"),
        }
    }
}

/// Pieces to be sent one after the other.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    pieces: Vec<Piece>,
    len: usize,
}

impl Payload {
    pub const fn new() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }

    /// Total length in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a piece; an empty one is left out.
    pub fn push(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }

    pub fn push_bytes(&mut self, bytes: Bytes) {
        self.push(Piece::Bytes(bytes));
    }

    /// Appends all pieces of `other`.
    pub fn append(&mut self, other: Self) {
        self.len += other.len;
        self.pieces.extend(other.pieces);
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// Everything in one buffer. For small payloads and tests; the transports never need it.
    pub fn read_to_bytes(self) -> io::Result<Bytes> {
        if let [Piece::Bytes(bytes)] = self.pieces.as_slice() {
            return Ok(bytes.clone());
        }
        let mut joined = Vec::with_capacity(self.len);
        for piece in self.pieces {
            match piece {
                Piece::Bytes(bytes) => joined.extend_from_slice(&bytes),
                Piece::File { file, position, len } => {
                    let start = joined.len();
                    joined.resize(start + len, 0);
                    file.read_exact_at(&mut joined[start..], position)?;
                }
            }
        }
        Ok(joined.into())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let mut payload = Self::new();
        payload.push_bytes(bytes);
        payload
    }
}
