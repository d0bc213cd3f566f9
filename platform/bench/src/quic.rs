//! What QUIC gives on its own: raw quinn over loopback, client and server in this process, with the settings
//! of the broker's listener.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use millrace_base::SystemClock;
use millrace_transport::{CertificateSource, ClientAuth, QuicTuning, TlsContext, TlsOptions};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TokioRuntime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use super::latency::{Latencies, Percentiles};

/// Size of one write of the goodput test.
const CHUNK: usize = 1 << 20;

/// Raw figures of one connection over loopback.
#[derive(Debug, Serialize)]
pub struct QuicLimit {
    pub mtu_upper_bound: u16,
    /// One stream, client to server, in writes of 1 MiB.
    pub goodput_mb_per_second: f64,
    /// 64 bytes there and back on an open stream.
    pub round_trip: Percentiles,
}

/// Measures goodput and round trips for `time` each.
pub async fn measure(mtu_upper_bound: u16, time: Duration) -> Result<QuicLimit> {
    let directory = tempfile::tempdir().context("make a directory for certificates")?;
    let tuning = QuicTuning { mtu_upper_bound, ..QuicTuning::default() };
    let server = server(&tuning, directory.path())?;
    let client = client(&tuning, &directory.path().join("ca.pem"))?;
    let accepting = tokio::spawn(serve(server.clone()));
    let connection = client.connect(server.local_addr()?, "localhost")?.await.context("connect")?;
    let limit = QuicLimit {
        mtu_upper_bound,
        goodput_mb_per_second: goodput(&connection, time).await?,
        round_trip: round_trips(&connection, time).await?,
    };
    connection.close(0_u32.into(), b"done");
    accepting.abort();
    Ok(limit)
}

fn socket(tuning: &QuicTuning) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("bind")?;
    tuning.size_buffers(&socket).context("size the socket's buffers")?;
    Ok(socket)
}

fn server(tuning: &QuicTuning, directory: &Path) -> Result<Endpoint> {
    let certificate =
        CertificateSource::Generated { dir: directory.to_owned(), hosts: vec!["localhost".to_owned()] };
    let options = TlsOptions { certificate, client_auth: ClientAuth::None, client_ca: None };
    let tls = TlsContext::load(options, Arc::new(SystemClock))?;
    let mut config = ServerConfig::with_crypto(tls.quic());
    config.transport_config(Arc::new(tuning.transport_config(16)));
    let socket = socket(tuning)?;
    Ok(Endpoint::new(tuning.endpoint_config(), Some(config), socket, Arc::new(TokioRuntime))?)
}

fn client(tuning: &QuicTuning, ca: &Path) -> Result<Endpoint> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).context("read the authority's certificate")?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![millrace_transport::quic::ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(tuning.transport_config(16)));
    let mut endpoint =
        Endpoint::new(tuning.endpoint_config(), None, socket(tuning)?, Arc::new(TokioRuntime))?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Answers each stream: the first byte says whether it is to be echoed or swallowed until its end.
async fn serve(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let mut kind = [0];
                    receive.read_exact(&mut kind).await?;
                    if kind == *b"e" {
                        let mut message = [0; 64];
                        while receive.read_exact(&mut message).await.is_ok() {
                            send.write_all(&message).await?;
                        }
                    } else {
                        let mut chunks = [const { Bytes::new() }; 32];
                        let mut total = 0_u64;
                        while let Some(count) = receive.read_chunks(&mut chunks).await? {
                            total += chunks[..count].iter().map(|chunk| chunk.len() as u64).sum::<u64>();
                        }
                        send.write_all(&total.to_be_bytes()).await?;
                    }
                    send.finish()?;
                    anyhow::Ok(())
                });
            }
            anyhow::Ok(())
        });
    }
}

/// MB (10^6) a second, until the server has confirmed the last byte.
async fn goodput(connection: &Connection, time: Duration) -> Result<f64> {
    let block = Bytes::from(vec![7; CHUNK]);
    // Once for path-MTU discovery and a warm congestion window, once for the figure.
    let mut rate = 0.0;
    for time in [time.min(Duration::from_secs(1)), time] {
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(b"s").await?;
        let (started, mut sent) = (Instant::now(), 0_u64);
        while started.elapsed() < time {
            send.write_chunk(block.clone()).await?;
            sent += CHUNK as u64;
        }
        send.finish()?;
        let mut confirmed = [0; 8];
        receive.read_exact(&mut confirmed).await?;
        anyhow::ensure!(u64::from_be_bytes(confirmed) == sent, "the server missed bytes");
        rate = sent as f64 / 1e6 / started.elapsed().as_secs_f64();
    }
    Ok(rate)
}

async fn round_trips(connection: &Connection, time: Duration) -> Result<Percentiles> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(b"e").await?;
    let mut latencies = Latencies::new();
    let mut message = [1; 64];
    let started = Instant::now();
    while started.elapsed() < time {
        let begun = Instant::now();
        send.write_all(&message).await?;
        receive.read_exact(&mut message).await?;
        latencies.record(begun.elapsed());
    }
    Ok(latencies.percentiles())
}
