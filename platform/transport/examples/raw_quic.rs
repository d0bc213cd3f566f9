//! How much of the loopback's speed is left above this crate: raw quinn against pipelines over QUIC, TCP and
//! TLS, client and server in one process on two workers.
//!
//! `cargo run --release -p millrace-transport --example raw_quic [-- seconds [filter]]`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_base::{Payload, SystemClock};
use millrace_transport::{
    CertificateSource, ClientAuth, CloseReason, Connection, ListenOptions, Listener, Peer, Pipeline,
    QuicTuning, Reply, Service, TcpTls, TlsContext, TlsOptions, TransportLimits, TransportMetrics, listen,
    quic,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

const FRAME: usize = 1 << 20;
const IN_FLIGHT: usize = 5;

/// A frame of one byte is answered by 1 MiB, one of 64 bytes by itself, any other by 4 bytes.
#[derive(Clone)]
struct Bench(Bytes);

impl Service for Bench {
    fn connect(&self, _: &Peer) -> Arc<dyn Connection> {
        Arc::new(self.clone())
    }
}

impl Connection for Bench {
    fn open_pipeline(&self) -> Box<dyn Pipeline> {
        Box::new(self.clone())
    }
}

impl Pipeline for Bench {
    fn start(&mut self, frame: Bytes) -> BoxFuture<'_, std::result::Result<Reply, CloseReason>> {
        let body = match frame.len() {
            1 => self.0.clone(),
            64 => frame,
            _ => Bytes::from_static(b"done"),
        };
        async { Ok(Reply::Ready(framed(body))) }.boxed()
    }
}

fn framed(body: Bytes) -> Payload {
    let mut payload = Payload::from(Bytes::copy_from_slice(&(body.len() as u32).to_be_bytes()));
    payload.push_bytes(body);
    payload
}

struct Rig {
    listener: Listener,
    client: rustls::ClientConfig,
    tuning: QuicTuning,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn start(tuning: QuicTuning) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let tls = TlsOptions {
            certificate: CertificateSource::Generated { dir: dir.path().to_owned(), hosts: Vec::new() },
            client_auth: ClientAuth::None,
            client_ca: None,
        };
        let options = ListenOptions {
            address: "127.0.0.1:0".parse()?,
            tls: TlsContext::load(tls, Arc::new(SystemClock))?,
            tcp_tls: TcpTls::Allowed,
            limits: TransportLimits::default(),
            quic: tuning.clone(),
        };
        let metrics = Arc::new(TransportMetrics::register(&prometheus::Registry::new())?);
        let listener = listen(options, Arc::new(Bench(vec![7; FRAME].into())), metrics)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.path().join("ca.pem"))?)?;
        let client = trusting(roots)?;
        Ok(Self { listener, client, tuning, _dir: dir })
    }

    async fn quic(&self) -> Result<(quinn::Endpoint, quinn::Connection)> {
        connect(&self.client, &self.tuning, &[quic::ALPN], self.listener.local_addr()).await
    }
}

fn endpoint(tuning: &QuicTuning, server: Option<quinn::ServerConfig>) -> Result<quinn::Endpoint> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    tuning.size_buffers(&socket)?;
    Ok(quinn::Endpoint::new(tuning.endpoint_config(), server, socket, Arc::new(quinn::TokioRuntime))?)
}

/// One stream, one direction, nothing above it.
async fn raw(tuning: QuicTuning, time: Duration) -> Result<Run> {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    let crypto = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls_pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()).into(),
        )?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(
        quinn::crypto::rustls::QuicServerConfig::try_from(crypto)?,
    ));
    server.transport_config(Arc::new(tuning.transport_config(16)));
    let server = endpoint(&tuning, Some(server))?;
    let address = server.local_addr()?;
    let reading = tokio::spawn(async move {
        let connection = server.accept().await.ok_or("no connection")?.await?;
        let (_send, mut stream) = connection.accept_bi().await?;
        let mut chunks: [Bytes; 32] = Default::default();
        let mut total = 0;
        while let Some(count) = stream.read_chunks(&mut chunks).await? {
            total += chunks[..count].iter().map(Bytes::len).sum::<usize>();
        }
        Ok::<_, Error>(total)
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone())?;
    let client = trusting(roots)?;
    let (_endpoint, connection) = connect(&client, &tuning, &[], address).await?;
    let (mut stream, _receive) = connection.open_bi().await?;
    let block = Bytes::from(vec![7; FRAME]);
    let watch = Stopwatch::start();
    while watch.0.elapsed() < time {
        stream.write_chunk(block.clone()).await?;
    }
    stream.finish()?;
    let total = reading.await??;
    report_path(&connection);
    Ok(watch.stop(total))
}

fn trusting(roots: rustls::RootCertStore) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

async fn connect(
    client: &rustls::ClientConfig,
    tuning: &QuicTuning,
    alpn: &[&[u8]],
    address: SocketAddr,
) -> Result<(quinn::Endpoint, quinn::Connection)> {
    let mut client = client.clone();
    client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(client)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(tuning.transport_config(16)));
    let endpoint = endpoint(tuning, None)?;
    let connection = endpoint.connect_with(config, address, "localhost")?.await?;
    Ok((endpoint, connection))
}

fn report_path(connection: &quinn::Connection) {
    let path = connection.stats().path;
    println!(
        "    mtu {}, {} packets lost of {}, window {} KiB, rtt {:?}",
        path.current_mtu,
        path.lost_packets,
        path.sent_packets,
        path.cwnd / 1024,
        path.rtt
    );
}

/// Keeps requests in flight for a while; the bytes moved per second.
async fn pump(
    mut write: impl AsyncWrite + Unpin,
    mut read: impl AsyncRead + Unpin,
    request: &[u8],
    time: Duration,
) -> Result<Run> {
    let frame = [&(request.len() as u32).to_be_bytes(), request].concat();
    let permits = tokio::sync::Semaphore::new(IN_FLIGHT);
    let done = std::sync::atomic::AtomicBool::new(false);
    let watch = Stopwatch::start();
    let writing = async {
        let mut sent = 0;
        while watch.0.elapsed() < time {
            permits.acquire().await?.forget();
            write.write_all(&frame).await?;
            write.flush().await?;
            sent += 1;
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        // Lets the reading side see the end after its last reply.
        write.shutdown().await?;
        Ok::<_, Error>(sent * frame.len())
    };
    let reading = async {
        let mut buffer = vec![0; 256 * 1024];
        let mut received = 0;
        let mut rest = 0usize;
        let mut prefix = Vec::new();
        loop {
            let count = read.read(&mut buffer).await?;
            if count == 0 {
                return Ok::<usize, Error>(received);
            }
            received += count;
            let mut data = &buffer[..count];
            while !data.is_empty() {
                if rest > 0 {
                    let taken = rest.min(data.len());
                    rest -= taken;
                    data = &data[taken..];
                } else {
                    prefix.push(data[0]);
                    data = &data[1..];
                    if prefix.len() < 4 {
                        continue;
                    }
                    rest = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
                    prefix.clear();
                }
                if rest == 0 && prefix.is_empty() {
                    permits.add_permits(1);
                }
            }
        }
    };
    let (sent, received) = tokio::try_join!(writing, reading)?;
    Ok(watch.stop(sent.max(received)))
}

/// The same over QUIC, without copies on the client's side.
async fn pump_quic(rig: &Rig, request: Bytes, time: Duration) -> Result<Run> {
    let (_endpoint, connection) = rig.quic().await?;
    let (mut write, mut read) = connection.open_bi().await?;
    let reply = if request.len() == 1 { FRAME + 4 } else { 8 };
    let permits = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
    let watch = Stopwatch::start();
    let reader_permits = Arc::clone(&permits);
    let reading = tokio::spawn(async move {
        let mut received = 0;
        let mut chunks: [Bytes; 32] = Default::default();
        while let Some(count) = read.read_chunks(&mut chunks).await? {
            let replies = received / reply;
            received += chunks[..count].iter().map(Bytes::len).sum::<usize>();
            reader_permits.add_permits(received / reply - replies);
        }
        Ok::<_, Error>(received)
    });
    let mut sent = 0;
    while watch.0.elapsed() < time {
        permits.acquire().await?.forget();
        let prefix = Bytes::copy_from_slice(&(request.len() as u32).to_be_bytes());
        write.write_all_chunks(&mut [prefix, request.clone()]).await?;
        sent += request.len() + 4;
    }
    write.finish()?;
    let received = reading.await??;
    report_path(&connection);
    Ok(watch.stop(sent.max(received)))
}

/// The median and the 99th percentile of 64-byte round trips.
async fn round_trips(
    mut write: impl AsyncWrite + Unpin,
    mut read: impl AsyncRead + Unpin,
    time: Duration,
) -> Result<(Duration, Duration)> {
    let frame = [&64u32.to_be_bytes()[..], &[7; 64]].concat();
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let before = Instant::now();
        write.write_all(&frame).await?;
        write.flush().await?;
        let mut reply = [0; 68];
        read.read_exact(&mut reply).await?;
        times.push(before.elapsed());
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

async fn tcp(rig: &Rig) -> Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(rig.listener.local_addr()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn tls(rig: &Rig) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(rig.client.clone()));
    Ok(connector.connect(ServerName::try_from("localhost")?, tcp(rig).await?).await?)
}

/// What a run moved and what it cost. The processor's time tells more than the clock on a busy machine.
struct Run {
    bytes: usize,
    seconds: f64,
    cpu_seconds: f64,
}

struct Stopwatch(Instant, f64);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), cpu_seconds())
    }

    fn stop(self, bytes: usize) -> Run {
        Run { bytes, seconds: self.0.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - self.1 }
    }
}

/// User and system time of this process, in hundredths (Linux's clock tick).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn show(name: &str, run: &Run) {
    let gigabytes = run.bytes as f64 / 1e9;
    let (rate, cost) = (gigabytes / run.seconds, run.cpu_seconds * 1000.0 / gigabytes);
    println!("{name:<24} {rate:>6.2} GB/s {cost:>6.0} ms of processor time per GB");
}

/// Throughput of every transport, at both packet sizes on QUIC.
async fn throughput(time: Duration, filter: &str) -> Result<()> {
    let wanted = |name: &str| name.contains(filter);
    let directions = [("produce", Bytes::from(vec![7; FRAME])), ("consume", Bytes::from_static(b"?"))];
    for mtu in [1452, 6550] {
        let tuning = QuicTuning { mtu_upper_bound: mtu, ..QuicTuning::default() };
        let name = format!("raw quinn, mtu {mtu}");
        if wanted(&name) {
            show(&name, &raw(tuning.clone(), time).await?);
        }
        let rig = Rig::start(tuning)?;
        for (direction, request) in &directions {
            let name = format!("quic {direction}, mtu {mtu}");
            if wanted(&name) {
                show(&name, &pump_quic(&rig, request.clone(), time).await?);
            }
        }
    }
    let rig = Rig::start(QuicTuning::default())?;
    for (direction, request) in &directions {
        let name = format!("tcp {direction}");
        if wanted(&name) {
            let (read, write) = tcp(&rig).await?.into_split();
            show(&name, &pump(write, read, request, time).await?);
        }
        let name = format!("tls {direction}");
        if wanted(&name) {
            let (read, write) = tokio::io::split(tls(&rig).await?);
            show(&name, &pump(write, read, request, time).await?);
        }
    }
    Ok(())
}

async fn latency(time: Duration, filter: &str) -> Result<()> {
    let rig = Rig::start(QuicTuning::default())?;
    if "tcp round trip".contains(filter) {
        let (read, write) = tcp(&rig).await?.into_split();
        let (median, p99) = round_trips(write, read, time).await?;
        println!("tcp round trip                   {median:>9.1?}, p99 {p99:.1?}");
    }
    if "tls round trip".contains(filter) {
        let (read, write) = tokio::io::split(tls(&rig).await?);
        let (median, p99) = round_trips(write, read, time).await?;
        println!("tls round trip                   {median:>9.1?}, p99 {p99:.1?}");
    }
    if "quic round trip".contains(filter) {
        let (_endpoint, connection) = rig.quic().await?;
        let (write, read) = connection.open_bi().await?;
        let (median, p99) = round_trips(write, read, time).await?;
        println!("quic round trip                  {median:>9.1?}, p99 {p99:.1?}");
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let time = Duration::from_secs_f64(arguments.next().map_or(Ok(2.0), |text| text.parse())?);
    let filter = arguments.next().unwrap_or_default();
    // On a worker, as a client's tasks are: main's own thread is a third one.
    tokio::spawn(async move {
        throughput(time, &filter).await?;
        latency(time, &filter).await
    })
    .await?
}
