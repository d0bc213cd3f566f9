//! One member of a group.

use std::time::Duration;

use super::super::format::classic::MemberRecord;
use super::timers::Timer;
use super::{JoinRequest, MemberProtocol, Waiter};

#[derive(Debug)]
pub(in crate::groups) struct Member {
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout: Duration,
    pub session_timeout: Duration,
    pub protocols: Vec<MemberProtocol>,
    pub assignment: Vec<u8>,
    /// It has not been told of a generation yet.
    pub(super) is_new: bool,
    /// Who waits for the join phase to end.
    pub(super) joining: Option<Waiter>,
    /// Who waits for the assignment.
    pub(super) syncing: Option<Waiter>,
    /// It has not asked for its assignment in this generation.
    pub(super) owes_sync: bool,
    pub(super) timer: Timer,
}

impl Member {
    pub(super) fn new(request: &JoinRequest) -> Self {
        Self {
            instance: request.instance.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout: millis(request.rebalance_timeout_ms),
            session_timeout: millis(request.session_timeout_ms),
            protocols: request.protocols.clone(),
            assignment: Vec::new(),
            is_new: true,
            joining: None,
            syncing: None,
            owes_sync: false,
            timer: Timer::default(),
        }
    }

    pub(super) fn restored(record: &MemberRecord, protocol: &str) -> Self {
        Self {
            instance: record.instance.clone(),
            client_id: record.client_id.clone(),
            client_host: record.client_host.clone(),
            rebalance_timeout: millis(record.rebalance_timeout_ms),
            session_timeout: millis(record.session_timeout_ms),
            protocols: vec![MemberProtocol {
                name: protocol.to_owned(),
                metadata: record.subscription.clone(),
            }],
            assignment: record.assignment.clone(),
            is_new: false,
            joining: None,
            syncing: None,
            owes_sync: false,
            timer: Timer::default(),
        }
    }

    pub(super) fn record(&self, id: &str, protocol: &str) -> MemberRecord {
        MemberRecord {
            id: id.to_owned(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: as_millis(self.rebalance_timeout),
            session_timeout_ms: as_millis(self.session_timeout),
            subscription: self.metadata(protocol).to_vec(),
            assignment: self.assignment.clone(),
        }
    }

    /// What it says about itself under a protocol.
    pub(in crate::groups) fn metadata(&self, protocol: &str) -> &[u8] {
        let found = self.protocols.iter().find(|known| known.name == protocol);
        found.map_or(&[], |known| &known.metadata)
    }

    /// Whether its time does not run, since it waits for others.
    pub(super) const fn is_waiting(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        /// Maps, timers, and the id three times.
        const OVERHEAD: usize = 512;
        let protocols: usize =
            self.protocols.iter().map(|known| known.name.len() + known.metadata.len() + 48).sum();
        OVERHEAD + self.client_id.len() + self.client_host.len() + protocols + self.assignment.len()
    }
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs().into())
}

fn as_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
