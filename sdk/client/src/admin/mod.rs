//! Administration of topics, settings and logs.

mod cluster;
mod configs;
mod groups;
mod offsets;
mod topics;
mod transactions;
mod types;

pub use crate::cluster::BrokerInfo;
pub use groups::{GroupInfo, GroupListing, GroupMember};
pub use transactions::{ProducerInfo, TransactionInfo, TransactionListing};
pub use types::{
    ClusterInfo, ConfigChange, ConfigEntry, ConfigResource, ListedOffset, LogDirInfo, NewTopic, OffsetSpec,
    PartitionInfo, ReplicaSize, TopicInfo, TopicListing,
};

pub(crate) use offsets::list_offsets;

use std::sync::Arc;

use millrace_protocol::messages::TopicName;
use millrace_protocol::{ErrorCode, Request, StrBytes};

use crate::cluster::{Broker, Cluster};
use crate::error::RequestError;

/// Administrative requests; cheap to clone.
#[derive(Clone)]
pub struct Admin {
    cluster: Arc<Cluster>,
}

impl Admin {
    pub(crate) const fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.cluster().settings.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Every broker that there is now.
    async fn every_broker(&self) -> Result<Vec<Arc<Broker>>, RequestError> {
        let cluster = self.cluster();
        cluster.refresh(None, std::time::Instant::now(), false).await?;
        let image = cluster.image();
        Ok(image.brokers.iter().filter_map(|known| cluster.broker(known.id)).collect())
    }

    /// The broker's id in the cluster; the one that was asked first is connected to without knowing it.
    fn id_of(&self, broker: &Broker) -> i32 {
        let image = self.cluster().image();
        image.brokers.iter().find(|known| broker.is_at(known)).map_or(broker.id, |known| known.id)
    }

    /// Asks the controller; once more elsewhere if it has just moved.
    async fn ask_controller<T, R>(
        &self,
        request: T,
        check: impl Fn(&T::Response) -> Result<R, RequestError>,
    ) -> Result<R, RequestError>
    where
        T: Request + Clone,
    {
        let cluster = self.cluster();
        let asked = std::time::Instant::now();
        let first = cluster.controller().request(request.clone()).await.and_then(|response| check(&response));
        match first {
            Err(error) if error.code() == Some(ErrorCode::NotController.code()) => {
                cluster.refresh(None, asked, false).await?;
                let response = cluster.controller().request(request).await?;
                check(&response)
            }
            answer => answer,
        }
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The first of the results that a request for one thing must bring.
fn only<'a, T>(api: &'static str, results: &'a [T]) -> Result<&'a T, RequestError> {
    results.first().ok_or_else(|| RequestError::Malformed {
        api,
        broker: "the broker".to_owned(),
        reason: "there is no result in it".to_owned(),
    })
}
