//! What a transform sends: one buffer per output topic, in the form that the host takes.
//!
//! A record that goes on unchanged is copied with one memcpy in which only its offset is new; records that
//! follow each other in the input and go on at the same offsets are copied together. Buffers are handed over
//! when they are full and when the batch ends, and are used again.

use std::rc::Rc;

use crate::batch::BatchHeader;
use crate::copy;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::varint;

#[cfg(target_arch = "wasm32")]
use crate::bindings::host_output as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::output as host;

/// Bytes before a block's records.
const BLOCK_HEADER_LEN: usize = 20;
/// Blocks are handed over at this size even where the deployment takes larger ones: they are to stay in the
/// processor's caches.
const BLOCK_LEN_USUAL: usize = 512 << 10;
/// The bytes that a record can grow by when it is renumbered: its offset and its length.
const GROWTH_MAX: usize = 2 * varint::MAX_LEN;

/// One of the deployment's output topics; found once, in `start`, with
/// [`Context::output`](crate::Context::output).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Output(pub(crate) u32);

impl Output {
    /// The deployment's first output topic.
    pub const FIRST: Self = Self(0);

    /// The output topic with this index in the deployment's list.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// Its index in the deployment's list.
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// Takes the records that a transform sends.
#[derive(Debug)]
pub struct Outputs {
    names: Rc<[String]>,
    blocks: Vec<Block>,
    input: Rc<Vec<u8>>,
    limits: Limits,
    base_timestamp: i64,
    /// The first thing that went wrong; it fails the batch.
    failure: Option<Error>,
    #[cfg(feature = "json")]
    scratch: Vec<u8>,
}

/// Sizes of blocks, header excluded.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// A block that has records takes no more of them beyond this.
    usual: usize,
    /// No block may be larger, even with one record.
    max: usize,
}

impl Outputs {
    /// For the output topics of a deployment.
    pub(crate) fn new(names: Rc<[String]>, block_bytes_max: u32) -> Self {
        let max = block_bytes_max as usize;
        let blocks = (0..names.len() as u32).map(Block::new).collect();
        Self {
            names,
            blocks,
            input: Rc::default(),
            limits: Limits { usual: max.min(BLOCK_LEN_USUAL), max },
            base_timestamp: 0,
            failure: None,
            #[cfg(feature = "json")]
            scratch: Vec::new(),
        }
    }

    /// Makes ready for what `input` becomes.
    pub(crate) fn begin(&mut self, input: &Rc<Vec<u8>>, header: &BatchHeader) {
        self.input = Rc::clone(input);
        self.base_timestamp = header.output_base();
        self.failure = None;
        self.blocks.iter_mut().for_each(Block::clear);
    }

    /// Sends a record on unchanged, to the first output.
    #[inline]
    pub fn forward(&mut self, record: &Record<'_>) {
        self.forward_to(Output::FIRST, record);
    }

    /// Sends a record on unchanged.
    #[inline]
    pub fn forward_to(&mut self, output: Output, record: &Record<'_>) {
        if !record.own_timestamp || !std::ptr::eq(record.batch.as_ptr(), self.input.as_ptr()) {
            return self.send_to(output, &record.draft());
        }
        let Some(block) = self.blocks.get_mut(output.0 as usize) else { return self.no_such(output) };
        let len = record.end - record.start;
        if block.len + len + GROWTH_MAX > self.limits.usual {
            block.hand_over(&self.input, self.base_timestamp);
            // As the first of a block a record is never longer than it was.
            if len > self.limits.max {
                return self.too_large(len);
            }
        }
        block.forward(&self.input, record);
    }

    /// Sends a new record to the first output.
    #[inline]
    pub fn send(&mut self, draft: &Draft<'_>) {
        self.send_to(Output::FIRST, draft);
    }

    /// Sends a new record.
    #[inline]
    pub fn send_to(&mut self, output: Output, draft: &Draft<'_>) {
        let Some(block) = self.blocks.get_mut(output.0 as usize) else { return self.no_such(output) };
        if block.len + draft.len_max() > self.limits.usual {
            block.hand_over(&self.input, self.base_timestamp);
            let len = draft.encoded_len(self.base_timestamp, 0);
            if len > self.limits.max {
                return self.too_large(len);
            }
        }
        block.send(&self.input, draft, self.base_timestamp);
    }

    /// Sends a new record whose value is `value` as JSON.
    #[cfg(feature = "json")]
    pub fn send_json<T: serde::Serialize + ?Sized>(
        &mut self,
        output: Output,
        draft: &Draft<'_>,
        value: &T,
    ) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let written = serde_json::to_writer(&mut scratch, value);
        if written.is_ok() {
            self.send_to(output, &draft.value(&scratch));
        }
        self.scratch = scratch;
        Ok(written?)
    }

    /// How many outputs the deployment has.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether the deployment has no output.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The topic behind an output.
    pub fn topic(&self, output: Output) -> Option<&str> {
        self.names.get(output.0 as usize).map(String::as_str)
    }

    #[cold]
    fn no_such(&mut self, output: Output) {
        let Output(index) = output;
        let len = self.blocks.len();
        self.failure.get_or_insert_with(|| {
            Error::new(format!("a record was sent to output {index}, but the deployment has {len} outputs"))
        });
    }

    #[cold]
    fn too_large(&mut self, len: usize) {
        let max = self.limits.max;
        self.failure.get_or_insert_with(|| {
            Error::new(format!("a record of {len} bytes was sent; the outputs take at most {max} bytes"))
        });
    }

    /// Ends the batch: hands over what has not been yet.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let input = std::mem::take(&mut self.input);
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        for block in &mut self.blocks {
            block.hand_over(&input, self.base_timestamp);
        }
        Ok(())
    }
}

/// The records for one output that have not been handed over.
#[derive(Debug)]
struct Block {
    output: u32,
    /// Bytes of the records, `run` included.
    len: usize,
    count: u32,
    /// Room for the header, then records.
    bytes: Vec<u8>,
    /// Where in the input the records lie that are still to be copied: they follow each other there, and
    /// their offsets are already right.
    run: std::ops::Range<usize>,
}

impl Block {
    fn new(output: u32) -> Self {
        Self { output, len: 0, count: 0, bytes: vec![0; BLOCK_HEADER_LEN], run: 0..0 }
    }

    fn clear(&mut self) {
        self.bytes.truncate(BLOCK_HEADER_LEN);
        self.len = 0;
        self.count = 0;
        self.run = 0..0;
    }

    #[inline]
    fn forward(&mut self, input: &[u8], record: &Record<'_>) {
        if record.offset_delta == i64::from(self.count) {
            if self.run.end != record.start {
                self.settle(input);
                self.run.start = record.start;
            }
            self.run.end = record.end;
            self.len += record.end - record.start;
        } else {
            self.settle(input);
            self.copy(record);
            self.len = self.bytes.len() - BLOCK_HEADER_LEN;
        }
        self.count += 1;
    }

    /// Copies a record with this block's next offset.
    #[inline]
    fn copy(&mut self, record: &Record<'_>) {
        let delta = i64::from(self.count);
        let (old_len, new_len) = (record.rest - record.delta_at, varint::len(delta));
        if old_len == new_len {
            let at = self.bytes.len() + record.delta_at - record.start;
            copy::append(&mut self.bytes, &record.batch[record.start..record.end]);
            varint::overwrite(&mut self.bytes[at..at + new_len], delta);
        } else {
            // Not the record itself: what is passed by reference has to lie in memory, for every record.
            let head = &record.batch[record.body..record.delta_at];
            self.copy_parts(head, delta, &record.batch[record.rest..record.end]);
        }
    }

    /// Copies a record whose offset takes more or fewer bytes than before.
    #[inline(never)]
    fn copy_parts(&mut self, head: &[u8], delta: i64, tail: &[u8]) {
        varint::put(&mut self.bytes, (head.len() + varint::len(delta) + tail.len()) as i64);
        copy::append(&mut self.bytes, head);
        varint::put(&mut self.bytes, delta);
        copy::append(&mut self.bytes, tail);
    }

    #[inline]
    fn send(&mut self, input: &[u8], draft: &Draft<'_>, base_timestamp: i64) {
        self.settle(input);
        draft.encode(&mut self.bytes, base_timestamp, self.count);
        self.len = self.bytes.len() - BLOCK_HEADER_LEN;
        self.count += 1;
    }

    /// Copies the run, if there is one.
    #[inline(always)]
    fn settle(&mut self, input: &[u8]) {
        if !self.run.is_empty() {
            self.copy_run(input);
        }
    }

    #[cold]
    fn copy_run(&mut self, input: &[u8]) {
        self.bytes.extend_from_slice(&input[self.run.clone()]);
        self.run = 0..0;
    }

    #[cold]
    fn hand_over(&mut self, input: &[u8], base_timestamp: i64) {
        if self.count > 0 {
            self.settle(input);
            // Limits keep it below what a u32 holds.
            let len = (self.bytes.len() - BLOCK_HEADER_LEN) as u32;
            self.bytes[..4].copy_from_slice(&self.output.to_le_bytes());
            self.bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
            self.bytes[8..12].copy_from_slice(&len.to_le_bytes());
            self.bytes[12..BLOCK_HEADER_LEN].copy_from_slice(&base_timestamp.to_le_bytes());
            host::emit(&self.bytes);
            self.clear();
        }
    }
}
