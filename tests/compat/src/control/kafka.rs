//! Kafka itself, one node that is broker and controller, from the jars that `cargo xtask tools` installs.
//!
//! It keeps what it stores in a directory of its own, which goes away with it, and listens on loopback only.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use millrace_test_harness::{eventually, free_port, tool};
use tempfile::TempDir;

/// A loaded machine takes its time for a virtual machine's first classes.
const START_LIMIT: Duration = Duration::from_secs(120);
const HEAP: &str = "-Xmx512m";

/// A running Kafka; dropping it ends it.
#[derive(Debug)]
pub struct Kafka {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Kafka {
    /// Starts a node with the number that ours has by default, so that answers name the same one.
    pub fn start() -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("millrace-kafka-").context("create a temporary directory")?;
        let (clients, controller) = (free_port(), free_port());
        let properties = directory.path().join("server.properties");
        fs::write(&properties, settings(directory.path(), clients, controller))?;
        let log = File::create(directory.path().join("kafka.log"))?;
        let mut format = java("kafka.tools.StorageTool", &log)?;
        format.args(["format", "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAQ", "--config"]).arg(&properties);
        anyhow::ensure!(format.status()?.success(), "format: {}", read(directory.path()));
        let child = java("kafka.Kafka", &log)?.arg(&properties).spawn().context("start Kafka")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, clients));
        let mut kafka = Self { child, address, directory };
        eventually("Kafka accepts connections", START_LIMIT, || {
            let ended = kafka.child.try_wait().expect("ask for a child's status");
            assert!(ended.is_none(), "Kafka ended with {ended:?}: {}", read(kafka.directory.path()));
            TcpStream::connect(kafka.address).ok()
        });
        Ok(kafka)
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Gone already, if either fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn java(main_class: &str, log: &File) -> anyhow::Result<Command> {
    let mut command = Command::new("java");
    command
        .args([HEAP, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp"])
        .arg(tool("java")?.join("*"))
        .arg(main_class)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    Ok(command)
}

fn settings(directory: &Path, clients: u16, controller: u16) -> String {
    let data = directory.join("data");
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         group.initial.rebalance.delay.ms=0\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n",
        data.display()
    )
}

fn read(directory: &Path) -> String {
    fs::read_to_string(directory.join("kafka.log")).unwrap_or_default()
}
