//! The broker: Kafka's APIs over the log and the metadata.
//!
//! A frame comes in through [`millrace_transport::Pipeline::start`], its header picks a handler from one
//! table ([`dispatch`]), and the handler, one file per API in `handlers/`, decodes, decides and replies.
//! Protocol message types go no deeper than the handlers. [`partition`] holds what this broker knows about
//! the partitions it leads: log, high watermark, waiting requests; [`partition_manager`] keeps them in step
//! with the metadata image. What runs on the broker itself reaches them through [`LocalPartitions`], and
//! requests about plugins go to the [`PluginService`](millrace_protocol::plugins::PluginService) that the broker
//! was given.
//!
//! Invariants: a consumer never reads past the high watermark; a producer that asked for all replicas is
//! never acknowledged before the high watermark has passed its records; nothing a client sends makes the
//! broker panic or hold memory out of proportion; a request never blocks the runtime on the disk.

mod broker;
mod call;
mod change;
mod checked_append;
mod connection;
mod dispatch;
mod error_map;
mod fetch_session;
mod former_topics;
mod handlers;
mod local_markers;
mod local_partitions;
mod metrics;
mod partition;
mod partition_manager;
mod producer_ids;
mod refused_topics;
mod state;
mod topic_creation;
mod topic_defaults;

pub use broker::{Broker, BrokerOptions, StartError};
pub use local_partitions::LocalPartitions;
