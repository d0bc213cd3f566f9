//! Millrace's client: producer, consumer, admin and plugins over Kafka's protocol, on QUIC by default or on TCP/TLS.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use millrace_client::{Client, Record, StartAt};
//!
//! let client = Client::builder().bootstrap("127.0.0.1:9092").ca_file("millrace-data/tls/ca.pem").connect().await?;
//! let producer = client.producer().build().await?;
//! let delivery = producer.send("orders", Record::value(b"hello").with_key(b"customer-7")).await?;
//! let stored = delivery.await?;
//! println!("partition {} offset {}", stored.partition, stored.offset);
//!
//! let mut consumer = client.consumer().build();
//! consumer.assign_topic("orders", StartAt::Beginning).await?;
//! while let Some(record) = consumer.next_record().await? {
//!     println!("{}: {:?}", record.offset(), record.value());
//! }
//! # Ok(()) }
//! ```
//!
//! One connection per broker carries everything on QUIC: one stream for requests, one for produce, one for
//! fetch, so that a long poll never delays a write. On TCP the same roles are separate connections.
//! The crate never retries what could reorder or duplicate a record without saying so: producers are
//! idempotent unless told otherwise.

pub mod admin;
mod client;
mod cluster;
pub mod consumer;
pub mod error;
pub mod group;
mod net;
pub mod plugins;
pub mod producer;
pub mod raw;
mod settings;

pub use admin::Admin;
pub use client::Client;
pub use consumer::{
    Consumer, ConsumerBuilder, ConsumerRecord, Isolation, RebalanceListener, RecordBatch, StartAt,
};
pub use error::{ConnectError, FetchError, GroupError, RequestError, SendError, TransactionError};
pub use group::{Assignor, CommitOffset, Committed, GroupMetadata, GroupProtocol, TopicPartition};
pub use plugins::Plugins;
pub use producer::{
    Acks, BatchDelivery, Compression, Delivery, Header, Producer, ProducerBuilder, Record, Stored,
    Transaction,
};
pub use settings::{ClientBuilder, QuicTuning, Transport};
