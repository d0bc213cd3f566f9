//! LZ4 frames as Kafka's clients read them. `lz4_flex` takes a frame that ends between two blocks, or within a
//! block's length, for a whole one, and blocks that refer to the ones before; the Java client stops at either for
//! ever. So the frame's structure is looked at first.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic `0x184d2204`, little-endian |
//! | 4 | flags: version 01 (bits 6-7), independent blocks (5), block checksums (4), content size (3), content checksum (2) |
//! | 5 | largest block |
//! | 8, or none | content size |
//! | 1 | checksum of the header |
//! | 4 + n (+ 4) | each block: length, of which the highest bit says that it is not compressed, bytes, checksum |
//! | 4 (+ 4) | the end mark, a length of 0, and the content's checksum |

use std::io::{self, BufRead, Read};

use lz4_flex::frame::FrameDecoder;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const VERSION: u8 = 0b0100_0000;
const VERSION_AND_RESERVED: u8 = 0b1100_0011;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const NOT_COMPRESSED: u32 = 1 << 31;

/// Reads one frame; what follows it is not looked at, as in the Java client.
pub(super) struct Reader<'a> {
    decoder: FrameDecoder<&'a [u8]>,
    fault: Option<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        let (frame, fault) = match frame_len(data) {
            Ok(len) => (&data[..len], None),
            Err(fault) => (data, Some(fault)),
        };
        Self { decoder: FrameDecoder::new(frame), fault }
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(fault) = self.fault {
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
        while self.decoder.fill_buf()?.is_empty() && !self.decoder.get_ref().is_empty() {}
        self.decoder.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.decoder.consume(len);
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

fn frame_len(data: &[u8]) -> Result<usize, &'static str> {
    const CUT_OFF: &str = "the frame ends early";
    let (header, _) = data.split_first_chunk::<6>().ok_or(CUT_OFF)?;
    let flags = header[4];
    if header[..4] != MAGIC || flags & VERSION_AND_RESERVED != VERSION {
        return Err("there is no frame");
    }
    if flags & INDEPENDENT == 0 {
        return Err("its blocks depend on each other, which Kafka's clients do not read");
    }
    let has = |flag, bytes| if flags & flag == 0 { 0 } else { bytes };
    let mut rest = data.get(header.len() + has(CONTENT_SIZE, 8) + 1..).ok_or(CUT_OFF)?;
    loop {
        let (len, after) = rest.split_first_chunk().ok_or(CUT_OFF)?;
        let len = (u32::from_le_bytes(*len) & !NOT_COMPRESSED) as usize;
        if len == 0 {
            let behind = after.get(has(CONTENT_CHECKSUM, 4)..).ok_or(CUT_OFF)?;
            return Ok(data.len() - behind.len());
        }
        rest = after.get(len + has(BLOCK_CHECKSUMS, 4)..).ok_or(CUT_OFF)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn frame(info: FrameInfo, data: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn read(frame: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Reader::new(frame).read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn a_frame_is_read_only_if_it_is_whole() {
        let data: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        let plain = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
        for info in [
            plain.clone(),
            plain.clone().content_checksum(true),
            plain.clone().block_checksums(true).content_size(Some(data.len() as u64)),
        ] {
            let frame = frame(info, &data);
            assert_eq!(read(&frame).unwrap(), data);
            for cut in 1..9 {
                assert!(read(&frame[..frame.len() - cut]).is_err(), "{cut} bytes are missing");
            }
            assert!(read(&frame[..7]).is_err());
        }
        let mut with_empty_block = frame(plain.clone(), &data);
        let behind_header = 7;
        with_empty_block.splice(behind_header..behind_header, [1, 0, 0, 0, 0]);
        assert_eq!(read(&with_empty_block).unwrap(), data, "a block of nothing is not the end");
        let linked = frame(plain.block_mode(BlockMode::Linked), &data);
        assert!(read(&linked).is_err(), "blocks that depend on each other");
    }
}
