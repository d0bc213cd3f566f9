//! One broker: its link, its control lane, and typed requests over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millrace_base::{Payload, Piece};
use millrace_protocol::frame::{
    decode_private_response_header, decode_response_header, encode_private_request, encode_request,
};
use millrace_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use millrace_protocol::private::PrivateApi;
use millrace_protocol::{Decodable, ErrorCode, Request, StrBytes};
use tokio::time::timeout;

use crate::cluster::Versions;
use crate::error::{ConnectError, RequestError, api_name, refused};
use crate::net::{Dialer, Lane, LaneError, Link};
use crate::settings::ClientBuilder;

/// The version of ApiVersions that is tried first; every Kafka since 2.4 knows it.
const API_VERSIONS_VERSION: i16 = 3;

/// A broker as the metadata tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    pub id: i32,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

pub(crate) struct Broker {
    pub(crate) id: i32,
    host: String,
    port: u16,
    name: String,
    client_id: String,
    request_timeout: Duration,
    dialer: Arc<Dialer>,
    session: tokio::sync::Mutex<Option<Session>>,
    connected: AtomicBool,
}

/// A link that has said which versions are spoken over it.
#[derive(Clone)]
pub(crate) struct Session {
    link: Link,
    control: Lane,
    pub(crate) versions: Arc<Versions>,
}

impl Broker {
    pub(crate) fn new(
        id: i32,
        host: String,
        port: u16,
        settings: &ClientBuilder,
        dialer: Arc<Dialer>,
    ) -> Self {
        let name = format!("{host}:{port}");
        Self {
            id,
            host,
            port,
            name,
            client_id: settings.client_id.clone(),
            request_timeout: settings.request_timeout,
            dialer,
            session: tokio::sync::Mutex::default(),
            connected: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn is_at(&self, known: &BrokerInfo) -> bool {
        self.host == known.host && self.port == known.port
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// The session, made if there is none or if it broke.
    pub(crate) async fn control(&self) -> Result<Session, RequestError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = &*slot
            && !session.control.is_closed()
            && !session.link.is_closed()
        {
            return Ok(session.clone());
        }
        self.connected.store(false, Ordering::Relaxed);
        *slot = None;
        let (link, control) = self.dialer.connect(&self.host, self.port).await?;
        let versions = Arc::new(self.negotiate(&control).await?);
        let session = Session { link, control, versions };
        *slot = Some(session.clone());
        self.connected.store(true, Ordering::Relaxed);
        Ok(session)
    }

    /// A further lane, for produce or fetch, with the versions spoken on it.
    pub(crate) async fn open_lane(&self) -> Result<(Lane, Arc<Versions>), RequestError> {
        let session = self.control().await?;
        let lane = self.dialer.open_lane(&session.link, &self.host, &self.name).await?;
        Ok((lane, session.versions))
    }

    /// Sends a request on the control lane in the highest version that both sides know.
    pub(crate) async fn request<T: Request>(&self, request: T) -> Result<T::Response, RequestError> {
        self.request_with(|_| request).await
    }

    /// As [`Broker::request`], for a request whose content depends on the version.
    pub(crate) async fn request_with<T: Request>(
        &self,
        request: impl FnOnce(i16) -> T,
    ) -> Result<T::Response, RequestError> {
        let session = self.control().await?;
        let version = self.version(&session.versions, T::KEY)?;
        self.exchange(&session.control, version, &request(version)).await
    }

    pub(crate) fn version(&self, versions: &Versions, key: i16) -> Result<i16, RequestError> {
        let unsupported = |range: String| RequestError::Unsupported {
            api: api_name(key),
            broker: self.name.clone(),
            range,
        };
        let key = ApiKey::try_from(key).map_err(|()| unsupported("unknown to this client".to_owned()))?;
        versions.pick(key).map_err(unsupported)
    }

    /// One request and its response on `lane`.
    pub(crate) async fn exchange<T: Request>(
        &self,
        lane: &Lane,
        version: i16,
        request: &T,
    ) -> Result<T::Response, RequestError> {
        self.exchange_within(lane, version, request, self.request_timeout).await
    }

    /// As [`Broker::exchange`], for a request whose answer the broker may hold back.
    pub(crate) async fn exchange_within<T: Request>(
        &self,
        lane: &Lane,
        version: i16,
        request: &T,
        limit: Duration,
    ) -> Result<T::Response, RequestError> {
        let api = api_name(T::KEY);
        let correlation = lane.next_correlation();
        let frame = encode_request(correlation, Some(&self.client_id), version, request)
            .map_err(|error| RequestError::Encode { api, reason: error.to_string() })?;
        let reply = lane.request(pieces(frame), Some(correlation));
        let timed_out = || RequestError::Timeout { api, broker: self.name.clone(), after: limit };
        let frame = timeout(limit, reply)
            .await
            .map_err(|_| timed_out())?
            .map_err(|error| self.disconnected(api, &error))?;
        self.decode::<T>(frame, version)
    }

    /// One of Millrace's own requests and the body of its answer. A lane apart from others is right for it: a
    /// broker that does not know it ends the lane, and one that does may take its time.
    pub(crate) async fn exchange_private(
        &self,
        lane: &Lane,
        api: PrivateApi,
        body: Payload,
    ) -> Result<Bytes, RequestError> {
        let name = api.name();
        let correlation = lane.next_correlation();
        let frame = encode_private_request(correlation, Some(&self.client_id), api, body)
            .map_err(|error| RequestError::Encode { api: name, reason: error.to_string() })?;
        let reply = lane.request(pieces(frame), Some(correlation));
        let frame = timeout(self.request_timeout, reply).await.map_err(|_| self.timed_out(name))?.map_err(
            |error| RequestError::Disconnected {
                api: name,
                broker: self.name.clone(),
                reason: format!("{error}; the broker there may not serve plugins").into(),
            },
        )?;
        let body = decode_private_response_header(frame);
        body.map(|(_, body)| body).map_err(|error| self.malformed(name, error.to_string()))
    }

    pub(crate) fn malformed(&self, api: &'static str, reason: String) -> RequestError {
        RequestError::Malformed { api, broker: self.name.clone(), reason }
    }

    /// Decodes a response frame to a request of type `T`.
    pub(crate) fn decode<T: Request>(&self, frame: Bytes, version: i16) -> Result<T::Response, RequestError> {
        let malformed = |reason: String| self.malformed(api_name(T::KEY), reason);
        let key = ApiKey::try_from(T::KEY).map_err(|()| malformed("unknown API".to_owned()))?;
        let (_, mut body) =
            decode_response_header(frame, key, version).map_err(|error| malformed(error.to_string()))?;
        T::Response::decode(&mut body, version).map_err(|error| malformed(error.to_string()))
    }

    pub(crate) fn timed_out(&self, api: &'static str) -> RequestError {
        RequestError::Timeout { api, broker: self.name.clone(), after: self.request_timeout }
    }

    pub(crate) fn disconnected(&self, api: &'static str, error: &LaneError) -> RequestError {
        RequestError::Disconnected { api, broker: self.name.clone(), reason: Arc::clone(&error.reason) }
    }

    /// A lane that ended with its first request: the broker may not take the client's certificate.
    fn turned_away(&self, api: &'static str, error: &LaneError) -> RequestError {
        if !error.of_certificate {
            return self.disconnected(api, error);
        }
        let (address, reason) = (self.name.clone(), error.reason.to_string());
        ConnectError::Certificate { address, reason }.into()
    }

    /// Learns what the broker serves. One that does not know our version answers in version 0.
    async fn negotiate(&self, lane: &Lane) -> Result<Versions, RequestError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("millrace-client"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut response = self.api_versions(lane, API_VERSIONS_VERSION, &request).await?;
        if response.error_code == ErrorCode::UnsupportedVersion.code() {
            response = self.api_versions(lane, 0, &ApiVersionsRequest::default()).await?;
        }
        if response.error_code != 0 {
            return Err(refused("ApiVersions", self.name.clone(), response.error_code, None));
        }
        Ok(Versions::from_response(&response))
    }

    async fn api_versions(
        &self,
        lane: &Lane,
        version: i16,
        request: &ApiVersionsRequest,
    ) -> Result<ApiVersionsResponse, RequestError> {
        let api = "ApiVersions";
        let correlation = lane.next_correlation();
        let frame = encode_request(correlation, Some(&self.client_id), version, request)
            .map_err(|error| RequestError::Encode { api, reason: error.to_string() })?;
        let reply = lane.request(pieces(frame), Some(correlation));
        let frame = timeout(self.request_timeout, reply)
            .await
            .map_err(|_| self.timed_out(api))?
            .map_err(|error| self.turned_away(api, &error))?;
        // An answer in version 0 to a request of version 3 says that version 3 is not known.
        let answer = self.decode::<ApiVersionsRequest>(frame.clone(), version);
        answer.or_else(|error| self.decode::<ApiVersionsRequest>(frame, 0).map_err(|_| error))
    }

    pub(crate) async fn close(&self) {
        if let Some(session) = self.session.lock().await.take() {
            session.control.close("the client is closed");
        }
        self.connected.store(false, Ordering::Relaxed);
    }
}

/// The frame as a lane takes it. A client's requests never hold ranges of files.
pub(crate) fn pieces(frame: Payload) -> Vec<Bytes> {
    let bytes = |piece| match piece {
        Piece::Bytes(bytes) => Some(bytes),
        Piece::File { .. } => None,
    };
    frame.into_pieces().into_iter().filter_map(bytes).collect()
}
