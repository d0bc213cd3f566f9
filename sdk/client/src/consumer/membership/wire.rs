//! A member's requests on a lane of their own: a join is answered when the group has settled, and nothing else is to
//! wait behind it.

use std::sync::Arc;
use std::time::Duration;

use millrace_protocol::Request;
use millrace_protocol::messages::{ApiKey, ConsumerGroupHeartbeatRequest};

use crate::cluster::{Broker, Cluster, Coordinated, Versions};
use crate::error::RequestError;
use crate::group::member::{Incoming, Outgoing};
use crate::net::Lane;

/// To the group's coordinator.
#[derive(Clone)]
pub(crate) struct Link {
    broker: Arc<Broker>,
    lane: Lane,
    versions: Arc<Versions>,
}

impl Link {
    pub(crate) async fn open(cluster: &Cluster, of: &Coordinated) -> Result<Self, RequestError> {
        let broker = cluster.coordinator(of).await?;
        let (lane, versions) = broker.open_lane().await?;
        Ok(Self { broker, lane, versions })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lane.is_closed()
    }

    pub(crate) fn serves_consumer_groups(&self) -> bool {
        self.versions.serves(ApiKey::ConsumerGroupHeartbeat)
    }

    /// Sends and waits, for a join as long as the group may take to settle on top.
    pub(crate) async fn exchange(
        &self,
        request: Outgoing,
        request_timeout: Duration,
        rebalance_timeout: Duration,
    ) -> Result<Incoming, RequestError> {
        let joining = request_timeout + rebalance_timeout;
        match request {
            Outgoing::ConsumerHeartbeat(request) => {
                let request = self.for_version(request)?;
                self.ask(&request, request_timeout).await.map(Incoming::ConsumerHeartbeat)
            }
            Outgoing::Join(request) => self.ask(&request, joining).await.map(Incoming::Join),
            Outgoing::Sync(request) => self.ask(&request, joining).await.map(Incoming::Sync),
            Outgoing::Heartbeat(request) => {
                self.ask(&request, request_timeout).await.map(Incoming::Heartbeat)
            }
            Outgoing::Leave(request) => self.ask(&request, request_timeout).await.map(|_| Incoming::Left),
        }
    }

    /// In version 0 the coordinator names a member that joins.
    fn for_version(
        &self,
        mut request: ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatRequest, RequestError> {
        let version = self.broker.version(&self.versions, ConsumerGroupHeartbeatRequest::KEY)?;
        if version == 0 && request.member_epoch == 0 {
            request.member_id = Default::default();
        }
        Ok(request)
    }

    async fn ask<T: Request>(&self, request: &T, limit: Duration) -> Result<T::Response, RequestError> {
        let version = self.broker.version(&self.versions, T::KEY)?;
        self.broker.exchange_within(&self.lane, version, request, limit).await
    }
}
