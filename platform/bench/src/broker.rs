//! A broker of the benchmark's own, and what can be seen of it from outside: memory, CPU, its metrics.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use millrace_client::{Client, Transport};

/// A `millrace dev` process; it is killed when this is dropped.
pub struct BenchBroker {
    child: Child,
    data_dir: PathBuf,
    listen: SocketAddr,
    http: SocketAddr,
    /// From the start of the process until it said that it was ready.
    pub ready_after: Duration,
}

impl BenchBroker {
    pub fn start(data_dir: &Path) -> Result<Self> {
        let (listen, http) = (free_port()?, free_port()?);
        let started = Instant::now();
        let child = Command::new(std::env::current_exe()?)
            .args(["dev", "--listen", &listen.to_string(), "--http", &http.to_string(), "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("start a broker")?;
        let mut broker =
            Self { child, data_dir: data_dir.to_owned(), listen, http, ready_after: Duration::ZERO };
        let deadline = started + Duration::from_secs(60);
        while broker.get("/readyz").is_err() {
            if let Some(status) = broker.child.try_wait()? {
                bail!("the broker ended before it was ready: {status}");
            }
            anyhow::ensure!(Instant::now() < deadline, "the broker was not ready within a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
        broker.ready_after = started.elapsed();
        Ok(broker)
    }

    pub async fn connect(&self, transport: Transport) -> Result<Client> {
        let builder = Client::builder().bootstrap(&self.listen.to_string()).transport(transport);
        let builder = match transport {
            Transport::Tcp => builder,
            Transport::Quic | Transport::Tls => builder.ca_file(self.data_dir.join("tls/ca.pem")),
        };
        Ok(builder.connect().await?)
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// CPU time that the process has used so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The command's name, in parentheses, may hold spaces; user and system time are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').context("read /proc/<pid>/stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// The broker's metrics; samples that differ in labels only are added up.
    pub fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let mut sums = BTreeMap::new();
        for line in self.get("/metrics")?.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or(series);
            *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap_or(0.0);
        }
        Ok(sums)
    }

    /// Ends the broker as an operator would, and waits for it.
    pub fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut response = BufReader::new(stream);
        let mut line = String::new();
        response.read_line(&mut line)?;
        anyhow::ensure!(line.contains(" 200 "), "GET {path}: {}", line.trim());
        while response.read_line(&mut line)? > 2 {
            line.clear();
        }
        let mut body = String::new();
        response.read_to_string(&mut body)?;
        Ok(body)
    }
}

impl Drop for BenchBroker {
    fn drop(&mut self) {
        // Already gone where `stop` ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on loopback whose port is free for TCP and UDP.
fn free_port() -> Result<SocketAddr> {
    for _ in 0..50 {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        if std::net::UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port on 127.0.0.1 is free for both TCP and UDP")
}
