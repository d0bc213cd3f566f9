//! Writing Kafka's primitive types, for the encoders that are written by hand.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use millrace_base::Payload;

use crate::frame::EncodeError;

/// A frame in the making: what is written, and the pieces that go in between without being copied.
pub(crate) struct FrameWriter {
    key: ApiKey,
    version: i16,
    /// Whether lengths are compact and structs end in tagged fields (KIP-482).
    flexible: bool,
    written: Vec<u8>,
    /// Pieces by the position in `written` before which each goes.
    pieces: Vec<(usize, Payload)>,
}

impl FrameWriter {
    /// A frame that begins with room for its length prefix.
    pub(crate) fn new(key: ApiKey, version: i16, flexible: bool, capacity: usize) -> Self {
        let mut written = Vec::with_capacity(capacity);
        written.extend_from_slice(&[0; 4]);
        Self { key, version, flexible, written, pieces: Vec::new() }
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.written.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.written.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.written.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn uuid(&mut self, value: &[u8; 16]) {
        self.written.extend_from_slice(value);
    }

    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.written.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.written.push(value as u8);
    }

    pub(crate) fn string(&mut self, text: Option<&str>) -> Result<(), EncodeError> {
        if !self.flexible {
            return self.header_string(text);
        }
        self.compact_len(text.map(str::len))?;
        self.written.extend_from_slice(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// A string as request headers have it: never compact.
    pub(crate) fn header_string(&mut self, text: Option<&str>) -> Result<(), EncodeError> {
        let len = text.map_or(Ok(-1), |text| i16::try_from(text.len())).map_err(|_| self.too_long())?;
        self.i16(len);
        self.written.extend_from_slice(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// The length of an array; `None` is null.
    pub(crate) fn array_len(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        if self.flexible {
            return self.compact_len(len);
        }
        let len = len.map_or(Ok(-1), i32::try_from).map_err(|_| self.too_long())?;
        self.i32(len);
        Ok(())
    }

    /// Bytes that are not copied.
    pub(crate) fn payload(&mut self, payload: Payload) -> Result<(), EncodeError> {
        self.array_len(Some(payload.len()))?;
        if !payload.is_empty() {
            self.pieces.push((self.written.len(), payload));
        }
        Ok(())
    }

    /// The end of a struct without tagged fields.
    pub(crate) fn no_tagged_fields(&mut self) {
        if self.flexible {
            self.written.push(0);
        }
    }

    /// One tagged field; `write` writes its value. Values are short: their length fits into one byte or
    /// moves what was written.
    pub(crate) fn tagged_field(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.varint(tag);
        let start = self.written.len();
        write(self)?;
        let value = self.written.split_off(start);
        self.varint(u32::try_from(value.len()).map_err(|_| self.too_long())?);
        self.written.extend_from_slice(&value);
        Ok(())
    }

    /// The frame with its length prefix.
    pub(crate) fn finish(mut self) -> Result<Payload, EncodeError> {
        let total = self.written.len() + self.pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>();
        let prefix = i32::try_from(total - 4).map_err(|_| self.too_long())?;
        self.written[..4].copy_from_slice(&prefix.to_be_bytes());
        let written = Bytes::from(self.written);
        let mut frame = Payload::new();
        let mut from = 0;
        for (at, piece) in self.pieces {
            frame.push_bytes(written.slice(from..at));
            frame.append(piece);
            from = at;
        }
        frame.push_bytes(written.slice(from..));
        Ok(frame)
    }

    fn compact_len(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        let len = len.map_or(Ok(0), |len| u32::try_from(len + 1)).map_err(|_| self.too_long())?;
        self.varint(len);
        Ok(())
    }

    fn too_long(&self) -> EncodeError {
        EncodeError::new(self.key as i16, self.version, "a length does not fit its field".into())
    }
}
