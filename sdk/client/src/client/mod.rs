//! The handle that producers, consumers and admin share: settings, connections, the cluster's picture.

mod builder;

use std::sync::Arc;

pub use builder::{ClientBuilder, QuicTuning, Transport};

use crate::admin::Admin;
use crate::consumer::ConsumerBuilder;
use crate::error::RequestError;
use crate::producer::ProducerBuilder;

/// A connection to a cluster. Cheap to clone; all clones share connections and metadata.
#[derive(Clone)]
pub struct Client {
    _inner: Arc<()>,
}

impl Client {
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Settings of a new producer; see [`ProducerBuilder::build`].
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Settings of a new consumer; see [`ConsumerBuilder::build`].
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone())
    }

    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// Number of partitions of `topic`.
    pub async fn partition_count(&self, topic: &str) -> Result<usize, RequestError> {
        let _ = topic;
        unimplemented!()
    }

    /// Closes all connections; what is still in flight fails. Flush or close producers first.
    pub async fn close(&self) {
        unimplemented!()
    }
}
