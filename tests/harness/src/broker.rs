//! A running broker, and what a test does to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, bail};
use millrace_client::{Client, ClientBuilder, Transport};
use rustix::process::{Pid, Signal, kill_process};

use crate::builder::{BrokerBuilder, Home, read_log, wait_until_ready};
use crate::{binary, http, process};

/// How often a start is tried again because another process took the port first.
const PORT_RETRIES: usize = 5;

const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A broker process. Dropping it ends the process and removes its temporary directory; a failing test prints
/// the end of the log.
#[derive(Debug)]
pub struct Broker {
    builder: BrokerBuilder,
    home: Home,
    child: Option<Child>,
}

impl BrokerBuilder {
    /// Starts the broker and waits until it is ready.
    pub fn start(self) -> anyhow::Result<Broker> {
        for _ in 0..PORT_RETRIES {
            let home = self.home()?;
            let child = self.spawn(&home)?;
            match wait_until_ready(child, &home)? {
                Ok(child) => return Ok(Broker { builder: self, home, child: Some(child) }),
                Err(refusal) if refusal.log.contains("in use") => {}
                Err(refusal) => {
                    bail!("the broker ended with {} instead of starting:\n{}", refusal.status, refusal.log)
                }
            }
        }
        bail!("no port stayed free until the broker had started")
    }
}

impl Broker {
    /// A broker with defaults, as `millrace dev` starts it.
    pub fn start() -> anyhow::Result<Self> {
        Self::builder().start()
    }

    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.home.listen
    }

    /// [`Self::address`] as clients want it.
    pub fn bootstrap(&self) -> String {
        self.home.listen.to_string()
    }

    pub fn data_dir(&self) -> &Path {
        &self.home.data_dir
    }

    /// The authority that signed the broker's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.home.data_dir.join("tls/ca.pem")
    }

    /// What the broker has written to its standard output and error since its first start.
    pub fn log(&self) -> String {
        read_log(&self.home.log)
    }

    /// A client's settings that reach this broker over `transport`.
    pub fn client(&self, transport: Transport) -> ClientBuilder {
        Client::builder().bootstrap(&self.bootstrap()).ca_file(self.ca_file()).transport(transport)
    }

    /// This program as a command line that reaches this broker.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary::millrace_binary());
        command
            .args(arguments)
            .env("MILLRACE_BOOTSTRAP", self.bootstrap())
            .env("MILLRACE_CA", self.ca_file());
        command
    }

    /// Where HTTP is served.
    pub const fn http_address(&self) -> SocketAddr {
        self.home.http
    }

    /// Status code and body of `GET path` on the broker's HTTP port.
    pub fn http(&self, path: &str) -> anyhow::Result<(u16, String)> {
        http::get(self.home.http, path).with_context(|| format!("GET {path}"))
    }

    /// Status code and body of another request to the broker's HTTP port, with a media type and the bytes of it
    /// if it has content.
    pub fn http_request(
        &self,
        method: &str,
        path: &str,
        content: Option<(&str, &[u8])>,
    ) -> anyhow::Result<(u16, String)> {
        http::request(self.home.http, method, path, content).with_context(|| format!("{method} {path}"))
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Memory that the process holds, in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.pid().and_then(process::resident_bytes).context("the broker is not running")
    }

    /// Whether the process has not ended by itself.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// SIGKILL: what was not durable is lost, as in a crash of the process.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the broker is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the status with which the broker then ends.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("the broker is not running")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, Signal::TERM).context("send SIGTERM")?;
        let deadline = std::time::Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if std::time::Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                bail!("the broker did not end within {STOP_LIMIT:?} of SIGTERM:\n{}", self.log());
            }
            millrace_test_wait::pause();
        }
    }

    /// Starts the broker again on the same data directory and the same ports, and waits until it is ready.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.restart_unready()?;
        let child = self.child.take().context("the broker is not running")?;
        match wait_until_ready(child, &self.home)? {
            Ok(child) => {
                self.child = Some(child);
                Ok(())
            }
            Err(refusal) => {
                bail!("the broker ended with {} instead of starting again:\n{}", refusal.status, refusal.log)
            }
        }
    }

    /// As [`Self::restart`], but without waiting: the broker may still be recovering.
    pub fn restart_unready(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            bail!("the broker is still running: kill or stop it first");
        }
        self.child = Some(self.builder.spawn(&self.home)?);
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing left to do.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- the end of the broker's log\n{tail}\n---");
        }
    }
}
