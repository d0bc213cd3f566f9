//! CRC-32C (Castagnoli), the checksum of a record batch.

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The CRC-32C of a text whose beginning has the checksum `crc` and which goes on with `bytes`.
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// What a change of a checksum becomes when `len` more bytes follow: checksums are linear, so that
/// `crc(a ‖ x) ^ crc(b ‖ x)` is `shift(crc(a) ^ crc(b), x.len())` whatever `x` is.
pub(crate) fn shift(change: u32, len: usize) -> u32 {
    crc32c::crc32c_combine(change, 0, len)
}
