//! The form of small files that are replaced as a whole: the vote, the commit hint, snapshots.
//!
//! ```text
//!  0  8  magic, another for each purpose
//!  8  4  format version
//! 12  4  CRC-32C of the body
//! 16  8  n, length of the body
//! 24  n  body
//! ```
//!
//! Integers are little-endian. Version rule: a reader refuses a version that it does not know.

use std::io;
use std::path::Path;

use millrace_disk::Disk;
use millrace_protocol::crc::crc32c;

const HEADER_LEN: usize = 24;

/// Seals a body with its header.
pub(crate) fn seal(magic: [u8; 8], version: u32, body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER_LEN + body.len());
    sealed.extend(magic);
    sealed.extend(version.to_le_bytes());
    sealed.extend(crc32c(body).to_le_bytes());
    sealed.extend((body.len() as u64).to_le_bytes());
    sealed.extend(body);
    sealed
}

/// The body, if magic, version, length and checksum are right; what is wrong otherwise.
pub(crate) fn open_sealed(magic: [u8; 8], version: u32, sealed: &[u8]) -> Result<&[u8], String> {
    let Some((header, body)) = sealed.split_at_checked(HEADER_LEN) else {
        return Err(format!("it has {} bytes, less than its header", sealed.len()));
    };
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("a slice of 4 bytes"));
    if header[..8] != magic {
        return Err("it is not of this kind".into());
    }
    if u32_at(8) != version {
        return Err(format!("it has format version {}, this broker knows {version}", u32_at(8)));
    }
    if header[16..] != (body.len() as u64).to_le_bytes() || u32_at(12) != crc32c(body) {
        return Err("its checksum does not match".into());
    }
    Ok(body)
}

/// The file's contents, `None` if there is no such file.
pub(crate) fn read_if_exists(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match millrace_disk::read(disk, path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_checksum_is_the_crc_32c_that_the_format_names() {
        let sealed = seal(*b"TESTTEST", 3, b"123456789");
        assert_eq!(sealed[12..16], 0xE306_9283_u32.to_le_bytes(), "the algorithm's check value");
    }

    proptest! {
        #[test]
        fn a_body_survives_sealing_and_no_damage_does(
            body in prop::collection::vec(any::<u8>(), 0..100),
            at: prop::sample::Index,
            bit in 0_u8..8,
        ) {
            let mut sealed = seal(*b"TESTTEST", 3, &body);
            prop_assert_eq!(open_sealed(*b"TESTTEST", 3, &sealed), Ok(&body[..]));
            let at = at.index(sealed.len());
            prop_assert!(open_sealed(*b"TESTTEST", 3, &sealed[..at]).is_err());
            sealed[at] ^= 1_u8 << bit;
            prop_assert!(open_sealed(*b"TESTTEST", 3, &sealed).is_err());
        }
    }
}
