//! Who coordinates a group or a transactional id: found once, remembered, and found anew when that broker says no.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use millrace_protocol::{ErrorCode, Request, StrBytes};

use super::{Broker, Cluster};
use crate::error::{RequestError, check};

/// Pause between attempts while there is no coordinator, or while it loads what it coordinates.
const COORDINATOR_PAUSE: Duration = Duration::from_millis(100);
/// From this version on a request asks for several keys.
const SEVERAL_KEYS_FROM: i16 = 4;

/// What has a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coordinated {
    Group(Arc<str>),
    Transaction(Arc<str>),
}

impl Coordinated {
    fn key(&self) -> &str {
        match self {
            Self::Group(id) | Self::Transaction(id) => id,
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Group(id) => format!("group '{id}'"),
            Self::Transaction(id) => format!("transactional id '{id}'"),
        }
    }
}

impl Cluster {
    /// The coordinator as last found, or else as any broker knows it now.
    pub(crate) async fn coordinator(&self, of: &Coordinated) -> Result<Arc<Broker>, RequestError> {
        let known = self.coordinators.lock().get(of).copied();
        if let Some(broker) = known.and_then(|id| self.broker(id)) {
            return Ok(broker);
        }
        let response = self
            .ask_any(|broker| async move { broker.request_with(|version| find_request(of, version)).await });
        let id = found(of, &response.await?)?;
        if self.broker(id.0).is_none() {
            self.refresh(None, Instant::now(), false).await?;
        }
        let broker = self.broker(id.0).ok_or_else(|| RequestError::Malformed {
            api: "FindCoordinator",
            broker: "a broker".to_owned(),
            reason: format!("broker {} coordinates {} and is not in the metadata", id.0, of.what()),
        })?;
        self.coordinators.lock().insert(of.clone(), id.0);
        Ok(broker)
    }

    /// The coordinator is another one by now, or gone.
    pub(crate) fn forget_coordinator(&self, of: &Coordinated) {
        self.coordinators.lock().remove(of);
    }

    /// Asks the coordinator, again and elsewhere for as long as a request may take while it says that this can help.
    pub(crate) async fn ask_coordinator<T: Request, R>(
        &self,
        of: &Coordinated,
        request: impl Fn(i16) -> T,
        read: impl Fn(T::Response) -> Result<R, RequestError>,
    ) -> Result<R, RequestError> {
        let started = Instant::now();
        loop {
            let answer = match self.coordinator(of).await {
                Ok(broker) => broker.request_with(&request).await.and_then(&read),
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if error.is_retriable() && started.elapsed() < self.settings.request_timeout => {
                    if is_elsewhere(&error) {
                        self.forget_coordinator(of);
                    }
                    tokio::time::sleep(COORDINATOR_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

/// Whether another broker may answer what this one did not.
pub(crate) fn is_elsewhere(error: &RequestError) -> bool {
    match error.code() {
        Some(code) => [ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable]
            .iter()
            .any(|elsewhere| elsewhere.code() == code),
        None => error.is_retriable(),
    }
}

fn find_request(of: &Coordinated, version: i16) -> FindCoordinatorRequest {
    let key = StrBytes::from_string(of.key().to_owned());
    let request = FindCoordinatorRequest::default();
    let request = if version >= SEVERAL_KEYS_FROM {
        request.with_coordinator_keys(vec![key])
    } else {
        request.with_key(key)
    };
    match of {
        Coordinated::Group(_) => request,
        Coordinated::Transaction(_) => request.with_key_type(1),
    }
}

fn found(of: &Coordinated, response: &FindCoordinatorResponse) -> Result<BrokerId, RequestError> {
    let what = || of.what();
    if let Some(one) = response.coordinators.first() {
        check("FindCoordinator", what, one.error_code, one.error_message.as_deref())?;
        return Ok(one.node_id);
    }
    check("FindCoordinator", what, response.error_code, response.error_message.as_deref())?;
    Ok(response.node_id)
}
