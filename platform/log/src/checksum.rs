//! The checksums of the engine's files: CRC-32C, as in record batches.

pub(crate) use millrace_protocol::crc::{crc32c, crc32c_append};

/// Whether a checksum that was read is the one of the bytes. A fuzzer has any taken for right, to get behind it.
pub(crate) fn holds(stored: u32, computed: u32) -> bool {
    stored == computed || cfg!(fuzzing)
}
