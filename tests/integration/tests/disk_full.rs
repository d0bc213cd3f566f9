//! A disk that fills up: writes are refused with an error that says so, reads go on, nothing acknowledged is
//! lost, and when there is room again writes go on too, without a restart. Deletions make that room, also after a
//! crash, since a reserve is kept for them.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace_client::admin::{NewTopic, OffsetSpec};
use millrace_client::{Client, StartAt, Transport};
use millrace_integration_tests::raw::{Connection, batch};
use millrace_protocol::ErrorCode;
use millrace_protocol::compression::Codec;
use millrace_test_harness::{Broker, Program, eventually, eventually_async, skipped};
use tempfile::TempDir;

/// Size of the whole disk; the broker's own needs are a fifth of it.
const DISK_MIB: usize = 160;
const RECORD_BYTES: usize = 500_000;

/// A file system of its own for the broker's process alone: it goes away with the process. `$0` is where to
/// mount it, `$1` an image file; the rest is the program to become.
const MOUNT_TMPFS: &str = "mount -t tmpfs -o size=160m none \"$0\" && shift && exec \"$@\"";
const MOUNT_EXT4: &str = "{ [ -e \"$1\" ] || mkfs.ext4 -q -F -m 0 \"$1\" 160m; } && mount -o loop \"$1\" \"$0\" && shift && exec \"$@\"";

/// The words before the broker's command line, if this machine allows it to have a disk of its own.
fn small_disk(mount: &str, directory: &TempDir) -> Option<Vec<String>> {
    let data_dir = directory.path().join("data");
    std::fs::create_dir_all(&data_dir).unwrap();
    let image = directory.path().join("disk.img");
    for unshare in [&["unshare", "--mount"][..], &["unshare", "--mount", "--map-root-user"]] {
        let mut words: Vec<String> = unshare.iter().map(|word| (*word).to_owned()).collect();
        words.extend(["sh", "-c", mount].map(str::to_owned));
        words.extend([&data_dir, &image].map(|path| path.display().to_string()));
        if Program::new(&words[0]).arguments(&words[1..]).arguments(["true"]).succeed().is_ok() {
            return Some(words);
        }
    }
    None
}

/// A broker on a disk of its own; `None` where that cannot be had.
fn start(mount: &str, directory: &TempDir, reserve: &str) -> Option<Broker> {
    let Some(wrapper) = small_disk(mount, directory) else {
        skipped("this user may not mount a file system in a namespace of its own");
        return None;
    };
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let broker = Broker::builder()
        .setting("log", "wal_bytes = \"16MiB\"")
        .setting("log", "tail_bytes = \"8MiB\"")
        .setting("log", format!("reserve_bytes = \"{reserve}\""))
        .data_dir(directory.path().join("data"))
        .wrapper(&wrapper)
        .start()
        .unwrap();
    Some(broker)
}

/// Somebody else's file on the broker's disk, as only that process sees it.
struct Filler(PathBuf);

impl Filler {
    /// Takes the room to its last byte.
    fn take_all(broker: &Broker) -> Self {
        let path = on_disk(broker, "somebody-elses");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        for len in [1024 * 1024, 4096, 1] {
            while file.write_all(&vec![1; len]).is_ok() {}
        }
        Self(path)
    }

    fn remove(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A file of the data directory as only the broker sees it.
fn on_disk(broker: &Broker, name: &str) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", broker.pid().unwrap()));
    root.join(broker.data_dir().strip_prefix("/").unwrap()).join(name)
}

fn readiness(broker: &Broker) -> String {
    broker.http("/readyz").map(|(status, text)| format!("{status} {text}")).unwrap_or_default()
}

fn await_readiness(broker: &Broker, what: &str) {
    eventually(&format!("/readyz says {what:?}"), Duration::from_secs(60), || {
        readiness(broker).contains(what).then_some(())
    });
}

async fn check(mount: &str) {
    let directory = TempDir::with_prefix("millrace-disk-").unwrap();
    let Some(mut broker) = start(mount, &directory, "8MiB") else { return };
    let mut connection = Connection::open(broker.address()).unwrap();
    connection.create_topic("filler", &[("segment.bytes", "16777216"), ("retention.ms", "-1")]);
    connection.create_topic("kept", &[("retention.ms", "-1")]);
    assert_eq!(connection.produce("kept", &batch(b"before", Codec::None)), (0, 0));

    let stored = fill(&mut connection);
    println!("{stored} records fit onto the disk");
    let filler = Filler::take_all(&broker);
    await_readiness(&broker, "the disk is full");
    // The metadata have the reserve.
    connection.create_topic("made-on-a-full-disk", &[]);
    assert!(broker.is_running().unwrap(), "a full disk ended the broker");

    if mount == MOUNT_EXT4 {
        // This disk outlives the process: a broker that is killed now has to recover without any room. It makes a
        // certificate, too, as it does when one is about to expire.
        std::fs::remove_file(on_disk(&broker, "tls/server.pem")).unwrap();
        Filler::take_all(&broker);
        broker.kill().unwrap();
        let image = directory.path().join("disk.img");
        eventually("the killed broker's disk to be unmounted", Duration::from_secs(20), || {
            Program::new("losetup")
                .arguments(["-j"])
                .arguments([&image])
                .succeed()
                .unwrap()
                .is_empty()
                .then_some(())
        });
        broker.restart_unready().unwrap();
        await_readiness(&broker, "the log waits for this to pass");
        let mut connection = Connection::open(broker.address()).unwrap();
        let (error, _) = connection.produce("kept", &batch(b"refused", Codec::None));
        assert_eq!(error, ErrorCode::KafkaStorageError.code());
    }

    let client = broker.client(Transport::Tcp).connect().await.unwrap();
    // What was acknowledged, and perhaps the record that was given up waiting for.
    let found = count(&client, "filler").await;
    assert!(
        found == stored || found == stored + 1,
        "{found} of {stored} records can be read from a full disk"
    );
    assert_eq!(count(&client, "kept").await, 1);

    // What somebody else has stays: the deletion makes the room.
    client.admin().delete_topic("filler").await.unwrap();
    let written = eventually_async("room for records", Duration::from_secs(60), || async {
        let mut connection = Connection::open(broker.address()).ok()?;
        let (error, offset) = connection.produce("kept", &batch(b"after", Codec::None));
        (error == 0).then_some(offset)
    });
    assert!(written.await >= 1);
    assert!(count(&client, "kept").await >= 2);
    await_readiness(&broker, "200");
    drop(filler);
    assert!(broker.stop().unwrap().success(), "the broker does not stop in order:\n{}", broker.log());
}

/// Writes until the disk is full; returns how many records were acknowledged.
fn fill(connection: &mut Connection) -> usize {
    let records = batch(&[b'x'; RECORD_BYTES], Codec::None);
    let fit_at_most = DISK_MIB * 1024 * 1024 / RECORD_BYTES;
    for stored in 0..=fit_at_most {
        let (error, offset) = connection.produce("filler", &records);
        if error != 0 {
            // The one that the disk had no room for waits for room as long as its request may.
            assert_eq!(error, ErrorCode::RequestTimedOut.code());
            assert!(stored > fit_at_most / 2, "refused after {stored} records, though half the disk is free");
            // Those after it are refused at once.
            let (error, _) = connection.produce("filler", &records);
            assert_eq!(error, ErrorCode::KafkaStorageError.code());
            return stored;
        }
        assert_eq!(usize::try_from(offset).unwrap(), stored);
    }
    panic!("more records were acknowledged than fit onto the disk");
}

/// Without a reserve nothing can be changed on a full disk; a refusal says so, and it passes without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_go_on_when_a_full_disk_has_room_again() {
    let directory = TempDir::with_prefix("millrace-disk-").unwrap();
    let Some(mut broker) = start(MOUNT_TMPFS, &directory, "0") else { return };
    let client = broker.client(Transport::Tcp).connect().await.unwrap();
    let filler = Filler::take_all(&broker);
    let refused = eventually_async("a refused topic", Duration::from_secs(60), || async {
        // The first ones fit into what the file has.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let topic = format!("topic-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        client.admin().create_topic(NewTopic::new(&topic, 50)).await.err()
    });
    let refused = refused.await.to_string();
    assert!(refused.contains("KAFKA_STORAGE_ERROR") || refused.contains("KafkaStorageError"), "{refused}");
    await_readiness(&broker, "the metadata wait for this to pass: write the metadata's log: No space left");
    filler.remove();
    await_readiness(&broker, "200");
    client.admin().create_topic(NewTopic::new("after", 1)).await.unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    assert_eq!(connection.produce("after", &batch(b"written", Codec::None)), (0, 0));
    assert!(broker.stop().unwrap().success(), "the broker does not stop in order:\n{}", broker.log());
    // What was waiting may have been carried out or not; nothing is in the way of a start.
    broker.restart().unwrap();
}

/// Reads all records of partition 0.
async fn count(client: &Client, topic: &str) -> usize {
    let end = client.admin().list_offsets(topic, &[0], OffsetSpec::Latest).await.unwrap()[0].offset.unwrap();
    let mut consumer = client.consumer().build();
    consumer.assign(topic, &[0], StartAt::Beginning).await.unwrap();
    let mut next = 0;
    while next < end {
        let batch = consumer.poll_batch(Duration::from_secs(20)).await.unwrap();
        next = batch
            .unwrap_or_else(|| panic!("nothing at offset {next} of {topic}, which ends at {end}"))
            .last_offset()
            + 1;
    }
    usize::try_from(next).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_tmpfs_refuses_writes_until_there_is_room() {
    check(MOUNT_TMPFS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_ext4_refuses_writes_until_there_is_room() {
    check(MOUNT_EXT4).await;
}
