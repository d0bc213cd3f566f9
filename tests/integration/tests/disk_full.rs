//! A disk that fills up: writes are refused with an error that says so, reads go on, nothing acknowledged is
//! lost, and when there is room again writes go on too, without a restart.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use millrace_client::admin::OffsetSpec;
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

async fn check(mount: &str) {
    let directory = TempDir::with_prefix("millrace-disk-").unwrap();
    let Some(wrapper) = small_disk(mount, &directory) else {
        skipped("this user may not mount a file system in a namespace of its own");
        return;
    };
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut broker = Broker::builder()
        .setting("log", "wal_bytes = \"16MiB\"")
        .setting("log", "tail_bytes = \"8MiB\"")
        .data_dir(directory.path().join("data"))
        .wrapper(&wrapper)
        .start()
        .unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    connection.create_topic("filler", &[("segment.bytes", "16777216")]);
    connection.create_topic("kept", &[("file.delete.delay.ms", "0")]);
    assert_eq!(connection.produce("kept", &batch(b"before", Codec::None)), (0, 0));

    let stored = fill(&mut connection);
    println!("{stored} records fit onto the disk");
    assert!(broker.is_running().unwrap(), "a full disk ended the broker");

    if mount == MOUNT_EXT4 {
        // This disk outlives the process: a broker that is killed now has to recover without any room.
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
        broker.restart().unwrap();
    }

    let client = broker.client(Transport::Tcp).connect().await.unwrap();
    assert_eq!(count(&client, "filler").await, stored, "what was acknowledged can be read from a full disk");
    assert_eq!(count(&client, "kept").await, 1);

    client.admin().delete_topic("filler").await.unwrap();
    let written = eventually_async("room for records", Duration::from_secs(60), || async {
        let mut connection = Connection::open(broker.address()).ok()?;
        let (error, offset) = connection.produce("kept", &batch(b"after", Codec::None));
        (error == 0).then_some(offset)
    });
    assert!(written.await >= 1);
    assert!(count(&client, "kept").await >= 2);
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
