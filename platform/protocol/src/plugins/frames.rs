//! The bodies of the private requests that carry bytes rather than JSON.
//!
//! # Upload a module
//!
//! | bytes | field |
//! |---|---|
//! | 0..32 | SHA-256 of the whole module |
//! | 32..40 | its length, big-endian |
//! | 40..48 | where these bytes begin in it, big-endian |
//! | 48.. | the bytes |
//!
//! # Partition records
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | partitions that the producer knows the topic to have, big-endian |
//! | 4..6 | length of the topic's name, big-endian |
//! | 6.. | the name in UTF-8, then one record batch |
//!
//! Its answer is a byte 0 and a 32-bit big-endian number for each record, or a byte 1 and an error as JSON.
//! All other bodies and answers are JSON; an answer is an object `{"Ok": …}` or `{"Err": …}`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ErrorKind, ModuleDigest, PluginError};

const CHUNK_HEADER_LEN: usize = 48;
const ANSWERED: u8 = 0;
const REFUSED: u8 = 1;

/// A body that is not laid out as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginFrameError {
    #[error("the body ends {missing} bytes early")]
    Truncated { missing: usize },
    #[error("the topic's name is not UTF-8")]
    TopicName,
    #[error("the body is not the JSON that this request takes: {0}")]
    Json(String),
    #[error("the answer is malformed: {0}")]
    Answer(&'static str),
}

/// A piece of a module on its way to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleChunk {
    pub module: ModuleDigest,
    pub total: u64,
    pub offset: u64,
    pub bytes: Bytes,
}

impl ModuleChunk {
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(CHUNK_HEADER_LEN + self.bytes.len());
        body.put_slice(&self.module.0);
        body.put_u64(self.total);
        body.put_u64(self.offset);
        body.put_slice(&self.bytes);
        body.freeze()
    }

    pub fn decode(mut body: Bytes) -> Result<Self, PluginFrameError> {
        need(&body, CHUNK_HEADER_LEN)?;
        let mut digest = [0; 32];
        body.copy_to_slice(&mut digest);
        Ok(Self { module: ModuleDigest(digest), total: body.get_u64(), offset: body.get_u64(), bytes: body })
    }
}

/// Asks the topic's partitioner where records belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecords {
    pub topic: String,
    pub partitions: u32,
    /// One record batch, compressed or not.
    pub batch: Bytes,
}

impl PartitionRecords {
    /// The body without the batch, which is to follow it.
    pub fn encode_prefix(topic: &str, partitions: u32) -> Bytes {
        let mut body = BytesMut::with_capacity(6 + topic.len());
        body.put_u32(partitions);
        body.put_u16(u16::try_from(topic.len()).expect("a topic's name has at most 249 bytes"));
        body.put_slice(topic.as_bytes());
        body.freeze()
    }

    pub fn decode(mut body: Bytes) -> Result<Self, PluginFrameError> {
        need(&body, 6)?;
        let partitions = body.get_u32();
        let len = usize::from(body.get_u16());
        need(&body, len)?;
        let topic = body.split_to(len);
        let topic = str::from_utf8(&topic).map_err(|_| PluginFrameError::TopicName)?.to_owned();
        Ok(Self { topic, partitions, batch: body })
    }

    pub fn encode_answer(answer: &Result<Vec<u32>, PluginError>) -> Bytes {
        let mut body = BytesMut::new();
        match answer {
            Ok(partitions) => {
                body.reserve(1 + 4 * partitions.len());
                body.put_u8(ANSWERED);
                partitions.iter().for_each(|partition| body.put_u32(*partition));
            }
            Err(error) => {
                body.put_u8(REFUSED);
                body.put_slice(&json(error));
            }
        }
        body.freeze()
    }

    pub fn decode_answer(mut body: Bytes) -> Result<Result<Vec<u32>, PluginError>, PluginFrameError> {
        need(&body, 1)?;
        match body.get_u8() {
            ANSWERED if body.len().is_multiple_of(4) => {
                Ok(Ok(body.chunks_exact(4).map(|mut number| number.get_u32()).collect()))
            }
            ANSWERED => Err(PluginFrameError::Answer("a partition number is cut off")),
            REFUSED => Ok(Err(from_json(&body)?)),
            _ => Err(PluginFrameError::Answer("it is neither an answer nor an error")),
        }
    }
}

/// A body or an answer as JSON.
pub fn json<T: Serialize>(value: &T) -> Bytes {
    let encoded = serde_json::to_vec(value);
    encoded
        .unwrap_or_else(|error| {
            // Only a map with keys that are no strings fails, and there is none.
            let error = PluginError::new(ErrorKind::Unavailable, error.to_string());
            format!("{{\"Err\":{{\"kind\":\"unavailable\",\"message\":{:?}}}}}", error.message).into_bytes()
        })
        .into()
}

pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, PluginFrameError> {
    serde_json::from_slice(body).map_err(|error| PluginFrameError::Json(error.to_string()))
}

fn need(body: &Bytes, len: usize) -> Result<(), PluginFrameError> {
    match len.checked_sub(body.len()) {
        None | Some(0) => Ok(()),
        Some(missing) => Err(PluginFrameError::Truncated { missing }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chunk_survives_its_form(total: u64, offset: u64, bytes: Vec<u8>) {
            let chunk = ModuleChunk { module: ModuleDigest::of(&bytes), total, offset, bytes: bytes.into() };
            prop_assert_eq!(ModuleChunk::decode(chunk.encode()).unwrap(), chunk);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = ModuleChunk::decode(bytes.clone());
            let _ = PartitionRecords::decode(bytes.clone());
            let _ = PartitionRecords::decode_answer(bytes);
        }

        #[test]
        fn an_answer_survives_its_form(partitions: Vec<u32>) {
            let body = PartitionRecords::encode_answer(&Ok(partitions.clone()));
            prop_assert_eq!(PartitionRecords::decode_answer(body).unwrap(), Ok(partitions));
        }
    }

    #[test]
    fn a_request_for_partitions_survives_its_form() {
        let mut body = BytesMut::from(&PartitionRecords::encode_prefix("orders", 12)[..]);
        body.put_slice(b"batch");
        let request = PartitionRecords::decode(body.freeze()).unwrap();
        assert_eq!(
            (request.topic.as_str(), request.partitions, &request.batch[..]),
            ("orders", 12, &b"batch"[..])
        );
        let refused = PluginError::invalid("no");
        let body = PartitionRecords::encode_answer(&Err(refused.clone()));
        assert_eq!(PartitionRecords::decode_answer(body).unwrap(), Err(refused));
    }
}
