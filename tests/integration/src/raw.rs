//! Frames by hand over TCP: what no client library would send.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use millrace_base::{Payload, TopicId};
use millrace_protocol::batch::{BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use millrace_protocol::frame::{decode_response_header, encode_request};
use millrace_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::{
    CreateTopicsRequest, ListOffsetsRequest, ListOffsetsResponse, ProduceResponse, TopicName,
};
use millrace_protocol::produce::{ProduceBody, ProducePartition, ProduceTopic, encode_produce_request};
use millrace_protocol::{ApiKey, Decodable, Request, StrBytes};

/// How long an answer, or the end of a connection, may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// One plain TCP connection.
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream })
    }

    /// Sends bytes as they are. That the other side has hung up is no error here.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends `body` behind its length.
    pub fn send_frame(&mut self, body: &[u8]) {
        let len = u32::try_from(body.len()).expect("frames in tests are small");
        self.send(&[&len.to_be_bytes(), body].concat());
    }

    /// The next response without its length prefix; None when the broker has closed the connection.
    pub fn receive(&mut self) -> io::Result<Option<Bytes>> {
        let mut prefix = [0; 4];
        match self.stream.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(error) if is_closed(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(Some(frame.into()))
    }

    /// Whether the broker closes the connection, after whatever it still has to say.
    pub fn is_closed_by_broker(&mut self) -> bool {
        let mut sink = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return is_closed(&error),
            }
        }
    }

    /// Sends a request and decodes its response.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response
    where
        R::Response: Decodable,
    {
        let frame = encode_request(7, Some("test"), version, request).expect("encode a request");
        self.send(&flat(frame));
        let response = self.receive().expect("receive a response").expect("the broker closed the connection");
        let key = ApiKey::try_from(R::KEY).expect("a known request");
        let (_, mut body) =
            decode_response_header(response, key, version).expect("decode the response's header");
        R::Response::decode(&mut body, version).expect("decode the response")
    }

    /// Creates `topic` with one partition and the given settings.
    pub fn create_topic(&mut self, topic: &str, settings: &[(&str, &str)]) {
        self.create_partitioned(topic, 1, settings);
    }

    pub fn create_partitioned(&mut self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let configs = settings
            .iter()
            .map(|(name, value)| {
                CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
            })
            .collect();
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let response = self.ask(5, &request);
        let created = &response.topics[0];
        assert_eq!(created.error_code, 0, "create a topic: {:?}", created.error_message);
    }

    /// Sends `records` to partition 0 of `topic` with acks=all, and returns the error code and base offset.
    pub fn produce(&mut self, topic: &str, records: &[u8]) -> (i16, i64) {
        self.send(&produce_frame(topic, records));
        self.produced()
    }

    /// The error code and base offset of the next answer to a produce request for one partition.
    pub fn produced(&mut self) -> (i16, i64) {
        let response = self.receive().expect("receive a response").expect("the broker closed the connection");
        let (_, mut body) =
            decode_response_header(response, ApiKey::Produce, PRODUCE_VERSION).expect("a header");
        let response = ProduceResponse::decode(&mut body, PRODUCE_VERSION).expect("decode the response");
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    /// Where partition 0 of `topic` ends.
    pub fn end_offset(&mut self, topic: &str) -> i64 {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let response: ListOffsetsResponse = self.ask(5, &request);
        response.topics[0].partitions[0].offset
    }
}

const PRODUCE_VERSION: i16 = 9;

/// A produce request for partition 0 of `topic` with acks=all, as it goes over the wire.
pub fn produce_frame(topic: &str, records: &[u8]) -> Bytes {
    frame_for(topic, 0, -1, records)
}

/// The same with acks=1.
pub fn leader_frame(topic: &str, records: &[u8]) -> Bytes {
    frame_for(topic, 0, 1, records)
}

fn frame_for(topic: &str, index: i32, acks: i16, records: &[u8]) -> Bytes {
    let partition = ProducePartition { index, records: Payload::from(Bytes::copy_from_slice(records)) };
    let topic = ProduceTopic {
        name: StrBytes::from_string(topic.to_owned()),
        topic_id: TopicId::ZERO,
        partitions: vec![partition],
    };
    let body = ProduceBody { transactional_id: None, acks, timeout_ms: 10_000, topics: vec![topic] };
    flat(encode_produce_request(7, Some("test"), PRODUCE_VERSION, body).expect("encode a produce request"))
}

/// A record batch of one record.
pub fn batch(value: &[u8], codec: Codec) -> Vec<u8> {
    batch_of(value, codec, ProducerState::NONE)
}

fn batch_of(value: &[u8], codec: Codec, producer: ProducerState) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.append(1_000, None, Some(value), &[]);
    builder.finish(codec, producer).expect("build a batch").to_vec()
}

/// One record of an idempotent producer in its first epoch, at its number.
#[derive(Clone, Copy, Debug)]
pub struct Sequenced<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub producer_id: i64,
    pub sequence: i32,
}

impl Sequenced<'_> {
    /// A produce request with acks=all whose record tells producer and number.
    pub fn frame(&self) -> Bytes {
        self.frame_of(format!("{}-{}", self.producer_id, self.sequence).as_bytes())
    }

    pub fn frame_of(&self, value: &[u8]) -> Bytes {
        let producer = ProducerState {
            producer_id: self.producer_id,
            producer_epoch: 0,
            base_sequence: self.sequence,
            transactional: false,
        };
        frame_for(self.topic, self.partition, -1, &batch_of(value, Codec::None, producer))
    }
}

pub fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// The bytes of a frame that is all memory.
pub fn flat(frame: Payload) -> Bytes {
    frame.read_to_bytes().expect("a frame of memory is read without error")
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
