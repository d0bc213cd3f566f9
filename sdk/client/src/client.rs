//! The handle that producers, consumers and admin share: settings, connections, the cluster's picture.

use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::consumer::ConsumerBuilder;
use crate::error::{ConnectError, RequestError};
use crate::plugins::Plugins;
use crate::producer::ProducerBuilder;
use crate::settings::ClientBuilder;

/// A connection to a cluster. Cheap to clone; all clones share connections and metadata.
#[derive(Clone)]
pub struct Client {
    cluster: Arc<Cluster>,
}

impl Client {
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Settings of a new producer; see [`ProducerBuilder::build`].
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.cluster))
    }

    /// Settings of a new consumer; see [`ConsumerBuilder::build`].
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.cluster))
    }

    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.cluster))
    }

    /// Modules and deployments of plugins.
    pub fn plugins(&self) -> Plugins {
        Plugins::new(Arc::clone(&self.cluster))
    }

    /// Number of partitions of `topic`.
    pub async fn partition_count(&self, topic: &str) -> Result<usize, RequestError> {
        Ok(self.cluster.topic(topic, false).await?.partitions.len())
    }

    /// Closes all connections; what is still in flight fails. Flush or close producers first.
    pub async fn close(&self) {
        self.cluster.close().await;
    }

    pub(crate) const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }
}

impl ClientBuilder {
    /// Connects to the first bootstrap address that answers and reads the cluster's metadata.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let cluster = Cluster::connect(self).await?;
        tokio::spawn(refresh_by_age(Arc::downgrade(&cluster)));
        Ok(Client { cluster })
    }
}

/// Keeps the picture from growing older than the client allows, as long as the client lives.
async fn refresh_by_age(cluster: Weak<Cluster>) {
    loop {
        let Some(age) = cluster.upgrade().map(|cluster| cluster.settings.metadata_max_age) else { return };
        tokio::time::sleep(age).await;
        let Some(cluster) = cluster.upgrade() else { return };
        if let Err(error) = cluster.refresh(None, Instant::now(), false).await {
            tracing::debug!(%error, "refresh metadata by age");
        }
    }
}
