//! Memory that direct I/O accepts.

use millrace_base::limits::IO_ALIGNMENT;

/// A buffer whose first byte lies at a multiple of [`IO_ALIGNMENT`].
#[derive(Debug)]
pub struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let memory = vec![0; len + IO_ALIGNMENT];
        // Every alignment can be reached in a byte slice; the vector never grows, so it stays put.
        let start = memory.as_ptr().align_offset(IO_ALIGNMENT);
        Self { memory, start, len }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_where_direct_io_wants_it() {
        for len in [1, IO_ALIGNMENT, 3 * IO_ALIGNMENT + 1] {
            let mut buffer = AlignedBuffer::zeroed(len);
            assert!((buffer.as_slice().as_ptr() as usize).is_multiple_of(IO_ALIGNMENT));
            assert_eq!(buffer.as_mut_slice().len(), len);
        }
    }
}
