//! `wasi:http`: requests to the hosts that were granted, over connections that are kept and shared.
//!
//! The check is here, where a request leaves, and nowhere else: whatever the guest's library does, it ends
//! up in [`WasiHttpHooks::send_request`]. Redirects are the guest's affair and are checked like any request.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::resolve::{Prohibited, Resolver};
use crate::grants::HttpTarget;

/// A peer that does not accept a connection by then is taken for dead.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most servers close idle connections after a minute; ours goes first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
const IDLE_PER_HOST_MAX: usize = 32;

/// The connections of all deployments.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient(Client<HttpsConnector<HttpConnector<Resolver>>, WasiBody>);

impl HttpClient {
    /// A client that trusts the system's certificate authorities: none, where the system has none.
    pub fn new() -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new().with_native_roots().unwrap_or_else(|error| {
            tracing::error!(%error, "read the system's certificates; plugins reach no host over https");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let tls = tls.expect("the provider knows the default versions");
            let tls = tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(tls)
        });
        let connector = connector.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .build(connector);
        Self(client)
    }
}

/// One instance's way out.
pub(crate) struct Egress {
    /// `None` where nothing is granted; such an instance cannot send either, as nothing is linked.
    pub client: Option<HttpClient>,
    pub allowed: Arc<[HttpTarget]>,
}

impl Egress {
    fn allows(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return false };
        self.allowed.iter().any(|target| target.allows(scheme, host, uri.port_u16()))
    }
}

type Worker = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Worker), Error>;

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _errors: Worker,
    ) -> Box<dyn Future<Output = wasmtime_wasi_http::Result<(Response<WasiBody>, Worker)>> + Send> {
        let client = self.client.clone().filter(|_| self.allows(request.uri()));
        Box::new(async move {
            let client = client.ok_or(Error::HttpRequestDenied)?;
            send(client, request, options.unwrap_or_default()).await
        })
    }
}

async fn send(client: HttpClient, request: Request<WasiBody>, options: RequestOptions) -> Sent {
    let response = client.0.request(request);
    let answered = match options.first_byte_timeout {
        Some(limit) => tokio::time::timeout(limit, response).await.map_err(|_| Error::HttpResponseTimeout)?,
        None => response.await,
    };
    let response = answered.map_err(|error| {
        tracing::debug!(%error, "a plugin's HTTP request fails");
        if is_prohibited(&error) {
            return Error::DestinationIpProhibited;
        }
        if error.is_connect() { Error::ConnectionRefused } else { Error::ConnectionTerminated }
    })?;
    let nothing_left: Worker = Box::new(async { Ok(()) });
    Ok((response.map(|body| body.map_err(Error::Hyper).boxed_unsync()), nothing_left))
}

/// Whether the host's name leads where none may, which is somewhere below the client's own words.
fn is_prohibited(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Prohibited>() {
            return true;
        }
        cause = match error.downcast_ref::<io::Error>() {
            // What such an error was made of, and not that one's own cause.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Empty;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every request with 204 and counts connections by answering.
    async fn server() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut request = [0; 4096];
                while connection.read(&mut request).await.is_ok_and(|read| read > 0) {
                    connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                }
            }
        });
        port
    }

    async fn ask(allowed: &str, uri: String) -> Result<u16, Error> {
        let allowed = [allowed.parse::<HttpTarget>().unwrap()];
        let mut egress = Egress { client: Some(HttpClient::new()), allowed: allowed.into() };
        let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::get(uri).body(body).unwrap();
        let sent = Box::into_pin(egress.send_request(request, None, Box::new(async { Ok(()) }))).await?;
        Ok(sent.0.status().as_u16())
    }

    #[tokio::test]
    async fn requests_go_to_granted_hosts_and_nowhere_else() {
        let port = server().await;
        let uri = || format!("http://127.0.0.1:{port}/path");
        assert_eq!(ask(&format!("127.0.0.1:{port}"), uri()).await.unwrap(), 204);
        for elsewhere in ["127.0.0.1", "localhost", "127.0.0.1:1", "https://127.0.0.1"] {
            let denied = ask(elsewhere, uri()).await;
            assert!(matches!(denied, Err(Error::HttpRequestDenied)), "{elsewhere}: {denied:?}");
        }
    }

    #[tokio::test]
    async fn a_name_for_this_machine_does_not_reach_it_but_localhost_does() {
        let port = server().await;
        assert_eq!(
            ask(&format!("localhost:{port}"), format!("http://localhost:{port}/")).await.unwrap(),
            204
        );
        // A number to the system's resolver, and a name to us.
        let denied = ask(&format!("2130706433:{port}"), format!("http://2130706433:{port}/")).await;
        assert!(matches!(denied, Err(Error::DestinationIpProhibited)), "{denied:?}");
    }

    #[tokio::test]
    async fn a_host_that_is_not_there_is_told_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = ask(&address.to_string(), format!("http://{address}/")).await;
        assert!(matches!(refused, Err(Error::ConnectionRefused)), "{refused:?}");
    }
}
