//! The bytes that batches cross the boundary in; `sdk/wit/PACKING.md` holds the layout.
//!
//! Pure: bytes in, values out. A guest is given one uncompressed record batch ([`uncompressed`]) and gives
//! blocks back, which are checked where they lie and copied once, into batches that are ready to be appended
//! ([`Collector`]).

mod blocks;
mod input;
mod walk;

pub use blocks::{BLOCK_HEADER_LEN, BlockError, Collector, OutputBatch, OutputLimits};
pub use input::{InputError, uncompressed};
pub use walk::RecordFault;
