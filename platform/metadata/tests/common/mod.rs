//! Brokers' metadata in one process, over a network of function calls that can be cut.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::{BrokerId, TopicId};
use millrace_metadata::{
    BrokerRegistration, Command, Image, Metadata, MetadataOptions, Outcome, PartitionAssignment, PeerError,
    PeerNetwork, RaftRpc, RaftTuning, SubmitError, VoterSet,
};
use millrace_test_wait::until;

/// Quick elections, and snapshots after a few entries.
pub const TUNING: RaftTuning = RaftTuning {
    heartbeat_ms: 50,
    election_min_ms: 200,
    election_max_ms: 400,
    snapshot_entries: 40,
    keep_entries: 10,
};

/// All brokers that can be reached.
#[derive(Default)]
pub struct Hub {
    running: Mutex<BTreeMap<BrokerId, Metadata>>,
    /// How many messages of each kind arrived.
    pub delivered: Mutex<BTreeMap<u8, usize>>,
}

impl PeerNetwork for Hub {
    fn call(&self, peer: BrokerId, kind: RaftRpc, body: Bytes) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async move {
            let target = self.running.lock().unwrap().get(&peer).cloned();
            let unreachable = || PeerError::Unreachable { peer, reason: "it is down".into() };
            let target = target.ok_or_else(unreachable)?;
            *self.delivered.lock().unwrap().entry(kind.code()).or_default() += 1;
            // As over a real network, what was asked goes on when the caller gives up.
            let answer = tokio::spawn(async move { target.handle_peer(kind, body).await }).await;
            answer.map_err(|error| PeerError::NoAnswer { peer, reason: error.to_string() })
        })
    }
}

impl Hub {
    pub async fn start(self: &Arc<Self>, options: MetadataOptions) -> Metadata {
        let id = options.registration.id;
        let metadata = Metadata::start(options, Arc::clone(self) as Arc<dyn PeerNetwork>).await.unwrap();
        self.running.lock().unwrap().insert(id, metadata.clone());
        metadata
    }

    /// All are down at once.
    pub fn forget_all(&self) {
        self.running.lock().unwrap().clear();
    }
}

pub struct Cluster {
    pub hub: Arc<Hub>,
    dir: tempfile::TempDir,
    voters: VoterSet,
}

pub fn registration(id: i32) -> BrokerRegistration {
    let port = u16::try_from(9000 + id).unwrap();
    BrokerRegistration { id: BrokerId(id), host: "localhost".into(), port, rack: None }
}

impl Cluster {
    pub fn of_voters(ids: impl IntoIterator<Item = i32>) -> Self {
        let voters = ids.into_iter().map(BrokerId).collect();
        Self { hub: Arc::default(), dir: tempfile::tempdir().unwrap(), voters }
    }

    pub fn dir(&self, id: i32) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    pub async fn start(&self, id: i32) -> Metadata {
        let options = MetadataOptions {
            voters: self.voters.clone(),
            tuning: TUNING,
            ..MetadataOptions::single(self.dir(id), registration(id))
        };
        self.hub.start(options).await
    }

    /// Starts all voters and waits until each is registered.
    pub async fn start_all(&self) -> BTreeMap<BrokerId, Metadata> {
        let mut all = BTreeMap::new();
        for id in self.voters.ids() {
            all.insert(*id, self.start(id.0).await);
        }
        for metadata in all.values() {
            metadata.ready().await.unwrap();
        }
        all
    }

    /// Nobody hears from it any more, and it says nothing more.
    pub async fn kill(&self, id: BrokerId) {
        let metadata = self.hub.running.lock().unwrap().remove(&id);
        if let Some(metadata) = metadata {
            metadata.shutdown().await;
        }
    }

    pub fn delivered(&self, kind: RaftRpc) -> usize {
        self.hub.delivered.lock().unwrap().get(&kind.code()).copied().unwrap_or(0)
    }
}

pub fn create_topic(name: &str, replicas: &[i32]) -> Command {
    Command::CreateTopic {
        name: name.into(),
        id: TopicId::random(),
        partitions: vec![PartitionAssignment { replicas: replicas.iter().copied().map(BrokerId).collect() }],
        configs: BTreeMap::new(),
    }
}

/// Submits until it is certain that the command was carried out: a leader that goes down takes its answer along.
pub async fn submit(metadata: &Metadata, command: Command) -> Outcome {
    loop {
        match metadata.submit(command.clone()).await {
            Ok(outcome) => return outcome,
            Err(SubmitError::Timeout | SubmitError::NotLeader { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until the condition holds for the image.
pub async fn eventually(metadata: &Metadata, what: &str, condition: impl Fn(&Image) -> bool) {
    let mut watch = metadata.watch();
    let waiting = watch.wait_for(|_| condition(&metadata.image()));
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what).unwrap();
}

/// Waits until one broker is the leader in the eyes of all of these.
pub async fn leader(of: impl IntoIterator<Item = &Metadata>) -> BrokerId {
    let all: Vec<_> = of.into_iter().collect();
    until("a leader", Duration::from_secs(20), || {
        let leaders: BTreeSet<_> = all.iter().map(|metadata| metadata.controller()).collect();
        leaders.first().copied().flatten().filter(|_| leaders.len() == 1)
    })
    .await
}

pub fn topic_names(image: &Image) -> BTreeSet<String> {
    image.topics().map(|topic| topic.name.to_string()).collect()
}

pub fn file_len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
