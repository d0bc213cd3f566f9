//! A broker of one node in the test's own process, in memory, over plain TCP, that fails when told to.
//!
//! For faults that a real broker cannot be made to show at will; that client and broker understand each other
//! is proven against the real one (`tests/integration`).

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod plugins;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use millrace_protocol::frame::RequestFrame;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to the next produce request instead of its being stored and answered.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Answered with this code; nothing is stored.
    Refuse(i16),
    /// The connection ends; nothing is stored.
    Disconnect,
    /// Stored, but the connection ends before the answer.
    StoreAndDisconnect,
    /// Never answered.
    Silence,
    /// The broker forgets all producers, then goes on.
    ForgetProducers,
}

/// A producer's epoch, the sequence it is to send next, and its last batches' sequences with their offsets.
type ProducerEntry = (i16, i32, VecDeque<(i32, i64)>);

#[derive(Default)]
pub struct PartitionLog {
    /// Batches as sent, with the offsets they were given.
    pub batches: Vec<Bytes>,
    pub end: i64,
    /// By producer id: epoch, next sequence, and the latest batches' first sequences and offsets.
    producers: HashMap<i64, ProducerEntry>,
}

#[derive(Default)]
pub struct State {
    pub topics: HashMap<String, Vec<PartitionLog>>,
    pub faults: VecDeque<Fault>,
    pub produce_requests: usize,
    /// Larger batches are refused, if it is not 0.
    pub max_message_bytes: usize,
    pub fetch_requests: usize,
    /// What every fetch is answered with.
    pub fetch_error: i16,
    pub partitions_per_topic: usize,
    pub plugins: plugins::Plugins,
    port: u16,
}

pub struct Loopback {
    pub address: String,
    pub state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Loopback {
    pub async fn start(partitions_per_topic: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { partitions_per_topic, port: address.port(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address: address.to_string(), state, task }
    }

    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.extend(faults);
    }

    /// Spoils the records of a stored batch; its header stays as it is.
    pub fn spoil(&self, topic: &str, partition: usize, batch: usize) {
        let mut state = self.state.lock();
        let stored = &mut state.topics.get_mut(topic).unwrap()[partition].batches[batch];
        let mut bytes = stored.to_vec();
        bytes[millrace_protocol::batch::HEADER_LEN..].fill(0xff);
        *stored = bytes.into();
    }

    /// The values stored in a partition, in order.
    pub fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        let state = self.state.lock();
        let mut values = Vec::new();
        for bytes in &state.topics[topic][partition].batches {
            let batch = millrace_protocol::batch::Batch::parse(bytes.clone()).unwrap();
            batch.verify().unwrap();
            let records = batch.records(1 << 30).unwrap();
            let texts = records
                .iter()
                .map(|record| String::from_utf8_lossy(record.unwrap().value.unwrap()).into_owned());
            values.extend(texts);
        }
        values
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    stream.set_nodelay(true).unwrap();
    while let Ok(len) = stream.read_u32().await {
        let mut frame = vec![0; len as usize];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let request = RequestFrame::decode(frame.into()).unwrap();
        match requests::answer(&state, request) {
            requests::Answer::Reply(reply) => {
                if stream.write_all(&reply).await.is_err() {
                    return;
                }
            }
            requests::Answer::Nothing => {}
            requests::Answer::Wait(reply) => {
                millrace_test_wait::a_while(std::time::Duration::from_millis(5)).await;
                if stream.write_all(&reply).await.is_err() {
                    return;
                }
            }
            requests::Answer::Gated(gate, reply) => {
                drop(gate.acquire().await.unwrap());
                if stream.write_all(&reply).await.is_err() {
                    return;
                }
            }
            requests::Answer::Disconnect => return,
        }
    }
}
