//! Producers whose acknowledgements are checked, with the project's own SDK.
//!
//! Obeys the protocol of lines in `stored/client.rs`; `MILLRACE_CA` and `MILLRACE_TRANSPORT` say how to connect.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use millrace_client::{Acks, Client, Delivery, Producer, Record, Transport};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const OUTSTANDING_MAX: usize = 100;

struct Worker {
    name: String,
    topic: String,
    partition: Option<i32>,
    producer: Producer,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    let (lines, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    while let Some(line) = told.recv().await {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["producer", name, mode, topic, partition] => {
                workers.push(Worker::make(name, mode, topic, partition).await?);
            }
            ["go", count] => {
                ended.store(false, Ordering::Relaxed);
                let (count, ended) = (count.parse()?, Arc::clone(&ended));
                tokio::spawn(run(std::mem::take(&mut workers), count, ended));
            }
            ["end"] => ended.store(true, Ordering::Relaxed),
            _ => bail!("no command: '{line}'"),
        }
    }
    Ok(())
}

async fn run(workers: Vec<Worker>, count: usize, ended: Arc<AtomicBool>) {
    let running: Vec<_> =
        workers.into_iter().map(|worker| tokio::spawn(worker.send(count, Arc::clone(&ended)))).collect();
    for worker in running {
        if let Err(error) = worker.await {
            println!("a producer ended: {error}");
        }
    }
    println!("done");
}

impl Worker {
    async fn make(name: &str, mode: &str, topic: &str, partition: &str) -> anyhow::Result<Self> {
        let bootstrap = env::args().nth(1).context("usage: sdk_producers BOOTSTRAP")?;
        let transport = match env::var("MILLRACE_TRANSPORT").as_deref() {
            Ok("quic") => Transport::Quic,
            Ok("tcp") => Transport::Tcp,
            other => bail!("MILLRACE_TRANSPORT is {other:?}"),
        };
        let client = Client::builder()
            .bootstrap(&bootstrap)
            .ca_file(env::var("MILLRACE_CA")?)
            .transport(transport)
            .metadata_max_age(Duration::from_millis(500))
            .connect()
            .await?;
        let acks = if mode == "leader" { Acks::Leader } else { Acks::All };
        let producer = client.producer().acks(acks).idempotent(mode == "idempotent").batch_bytes(1).build();
        Ok(Self {
            name: name.to_owned(),
            topic: topic.to_owned(),
            partition: if partition == "key" { None } else { Some(partition.parse()?) },
            producer: producer.await?,
        })
    }

    async fn send(self, count: usize, ended: Arc<AtomicBool>) {
        let room = Arc::new(Semaphore::new(OUTSTANDING_MAX));
        let mut number = 0;
        while if count == 0 { !ended.load(Ordering::Relaxed) } else { number < count } {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
            let (label, key) = (format!("{}:{number}", self.name), format!("{}:{}", self.name, number % 64));
            number += 1;
            let value = format!("{:.<600}", format!("{label}:"));
            let record = Record { partition: self.partition, ..Record::value(&value).with_key(&key) };
            match self.producer.send(&self.topic, record).await {
                // Each waits by itself: what is told first is written down first.
                Ok(delivery) => drop(tokio::spawn(tell(self.topic.clone(), label, delivery, permit))),
                Err(error) => println!("failed {label} {error}"),
            }
        }
        // Every record has given its place back when it is settled.
        let _settled = room.acquire_many(OUTSTANDING_MAX as u32).await;
    }
}

async fn tell(topic: String, label: String, delivery: Delivery, _place: OwnedSemaphorePermit) {
    match delivery.await {
        Ok(stored) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            println!("stored {topic} {} {} {} {label}", stored.partition, stored.offset, now.as_millis());
        }
        Err(error) => println!("failed {label} {error}"),
    }
}
