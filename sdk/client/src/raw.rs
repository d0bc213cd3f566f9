//! Below the producer: prebuilt batches and frames straight to one broker, pipelined. For benchmarks, tests
//! and tools; nothing here batches, retries or follows a leader that moves.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::Either;
use millrace_base::{Payload, TopicId};
use millrace_protocol::StrBytes;
use millrace_protocol::messages::{ApiKey, ProduceRequest};
use millrace_protocol::produce::{ProduceBody, ProducePartition, ProduceTopic, encode_produce_request};

use crate::client::Client;
use crate::cluster::{Broker, pieces};
use crate::error::{RequestError, SendError, api_name, describe};
use crate::net::Lane;
use crate::producer::{Acks, Stored};

/// Sends prebuilt record batches to the leader of one partition on a lane of its own.
#[derive(Clone)]
pub struct BatchLane {
    broker: Arc<Broker>,
    lane: Lane,
    version: i16,
    acks: Acks,
    timeout_ms: i32,
    topic: StrBytes,
    topic_id: TopicId,
    partition: i32,
}

impl BatchLane {
    /// Opens a lane (a QUIC stream, or a TCP connection) to the leader of `topic`-`partition`.
    pub async fn open(
        client: &Client,
        topic: &str,
        partition: i32,
        acks: Acks,
    ) -> Result<Self, RequestError> {
        let cluster = client.cluster();
        let topic_id = cluster.topic(topic, false).await?.id;
        let broker = cluster.leader(topic, partition).await?;
        let (lane, versions) = broker.open_lane().await?;
        let version = broker.version(&versions, ApiKey::Produce as i16)?;
        let timeout_ms = i32::try_from(cluster.settings.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let topic = StrBytes::from_string(topic.to_owned());
        Ok(Self { broker, lane, version, acks, timeout_ms, topic, topic_id, partition })
    }

    /// Sends one record batch (Kafka's format, magic 2) as a request of its own, at once; requests of one lane are
    /// stored in order. The caller bounds how many are in flight.
    pub fn produce_batch(
        &self,
        batch: Bytes,
    ) -> impl Future<Output = Result<Stored, SendError>> + Send + use<> {
        let correlation = self.lane.next_correlation();
        let encoded = encode_produce_request(
            correlation,
            Some(self.broker.client_id()),
            self.version,
            self.body(batch),
        );
        let frame = match encoded {
            Ok(frame) => pieces(frame),
            Err(error) => {
                let error = SendError::Encode { topic: self.topic.to_string(), reason: error.to_string() };
                return Either::Left(std::future::ready(Err(error)));
            }
        };
        let this = self.clone();
        if self.acks == Acks::None {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            self.lane.send_unanswered(frame, Box::new(move |written| _ = sender.send(written)));
            return Either::Right(Either::Left(async move {
                match receiver.await {
                    Ok(Ok(_)) => Ok(Stored { partition: this.partition, offset: -1 }),
                    Ok(Err(error)) => {
                        Err(this.broker.disconnected(api_name(ApiKey::Produce as i16), &error).into())
                    }
                    Err(_) => Err(SendError::Closed),
                }
            }));
        }
        let reply = self.lane.request(frame, Some(correlation));
        Either::Right(Either::Right(async move {
            let frame = reply
                .await
                .map_err(|error| this.broker.disconnected(api_name(ApiKey::Produce as i16), &error))?;
            this.stored(frame)
        }))
    }

    fn body(&self, batch: Bytes) -> ProduceBody {
        let partition = ProducePartition { index: self.partition, records: Payload::from(batch) };
        let topic =
            ProduceTopic { name: self.topic.clone(), topic_id: self.topic_id, partitions: vec![partition] };
        ProduceBody {
            transactional_id: None,
            acks: self.acks.wire(),
            timeout_ms: self.timeout_ms,
            topics: vec![topic],
        }
    }

    fn stored(&self, frame: Bytes) -> Result<Stored, SendError> {
        let response = self.broker.decode::<ProduceRequest>(frame, self.version)?;
        let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
        let Some(answer) = answer else {
            return Err(SendError::Request(RequestError::Malformed {
                api: api_name(ApiKey::Produce as i16),
                broker: self.broker.name().to_owned(),
                reason: "there is no partition in it".to_owned(),
            }));
        };
        if answer.error_code == 0 {
            return Ok(Stored { partition: self.partition, offset: answer.base_offset });
        }
        let (name, message, retriable) = describe(answer.error_code, answer.error_message.as_deref());
        Err(SendError::Rejected {
            topic: self.topic.to_string(),
            partition: self.partition,
            code: answer.error_code,
            name,
            message,
            retriable,
        })
    }
}

/// One ordered pipeline of Kafka frames to one broker.
#[derive(Clone)]
pub struct FrameLane {
    broker: Arc<Broker>,
    lane: Lane,
}

impl FrameLane {
    /// Opens a lane to the broker `node_id`.
    pub async fn open(client: &Client, node_id: i32) -> Result<Self, RequestError> {
        let broker = client.cluster().broker(node_id).ok_or_else(|| RequestError::Refused {
            api: "connect",
            what: format!("broker {node_id}"),
            code: millrace_protocol::ErrorCode::BrokerNotAvailable.code(),
            name: "BrokerNotAvailable".to_owned(),
            message: "the cluster has no such broker".to_owned(),
            retriable: false,
        })?;
        let (lane, _) = broker.open_lane().await?;
        Ok(Self { broker, lane })
    }

    /// Sends one request, given in pieces that together are the frame with its length prefix; they are not
    /// copied. Resolves to the response frame without its length prefix.
    pub fn send(
        &self,
        frame: Vec<Bytes>,
    ) -> impl Future<Output = Result<Bytes, RequestError>> + Send + use<> {
        let reply = self.lane.request(frame, None);
        let broker = Arc::clone(&self.broker);
        async move { reply.await.map_err(|error| broker.disconnected("request", &error)) }
    }
}
