//! Clients that break the rules, by mistake or by intent. Each is refused or cut off; none costs the broker
//! its life, its memory or its other clients.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use millrace_integration_tests::raw::{Connection, batch, flat, name, produce_frame};
use millrace_integration_tests::{Neighbour, Random};
use millrace_protocol::ErrorCode;
use millrace_protocol::compression::Codec;
use millrace_test_harness::{Broker, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process may hold at most in these tests, whose brokers are given little memory for records.
const RESIDENT_BYTES_MAX: u64 = 600 << 20;

fn frugal_broker() -> Broker {
    Broker::builder()
        .setting("log", "wal_bytes = \"32MiB\"")
        .setting("log", "tail_bytes = \"32MiB\"")
        .setting("log", "pending_bytes = \"32MiB\"")
        .setting("limits", "request_memory_bytes = \"128MiB\"")
        .start()
        .unwrap()
}

/// Lets `attack` loose while a well-behaved client works, and looks at the broker afterwards.
fn survive(attack: impl FnOnce(&Broker)) {
    let mut broker = frugal_broker();
    let neighbour = Neighbour::move_in(broker.address());
    attack(&broker);
    neighbour.expect_well_served();
    assert!(broker.is_running().unwrap(), "the broker has ended");
    let resident = broker.resident_bytes().unwrap();
    assert!(resident < RESIDENT_BYTES_MAX, "the broker holds {} MiB", resident >> 20);
    assert!(!broker.log().contains("panicked"), "a task of the broker has panicked:\n{}", broker.log());
}

#[test]
fn frames_of_impossible_lengths_end_the_connection() {
    survive(|broker| {
        for length in [i32::MAX, -1, i32::MIN, 101 << 20, 0, 1, 7] {
            let mut connection = Connection::open(broker.address()).unwrap();
            connection.send(&length.to_be_bytes());
            connection.send(&vec![0; usize::try_from(length).unwrap_or(0).min(16)]);
            connection.send(&[0; 64]);
            assert!(connection.is_closed_by_broker(), "after a frame of {length} bytes");
        }
    });
}

#[test]
fn garbage_ends_the_connection() {
    survive(|broker| {
        let mut random = Random::from_environment();
        for round in 0..50 {
            let mut connection = Connection::open(broker.address()).unwrap();
            let mut garbage = random.bytes(64 * 1024);
            // The first byte decides what the broker takes it for: a TLS hello, or a frame's length.
            garbage[0] = if round % 2 == 0 { 0x16 } else { 0x40 | garbage[0] };
            connection.send(&garbage);
            assert!(connection.is_closed_by_broker(), "in round {round}");
        }
    });
}

#[test]
fn garbage_inside_a_frame_ends_the_connection_or_is_answered() {
    survive(|broker| {
        let mut random = Random::from_environment();
        for api_key in 0..90_i16 {
            for version in [0, 3, 9, 12, i16::MAX] {
                let mut connection = Connection::open(broker.address()).unwrap();
                let mut frame = api_key.to_be_bytes().to_vec();
                frame.extend(version.to_be_bytes());
                frame.extend([0, 0, 0, 7, 0xff, 0xff, 0]);
                let len = usize::try_from(random.below(300)).unwrap();
                frame.extend(random.bytes(len));
                connection.send_frame(&frame);
                // An answer or the end of the connection: a client is never left waiting.
                connection.receive().unwrap();
            }
        }
    });
}

#[test]
fn lengths_that_lie_inside_a_request_take_no_memory() {
    survive(|broker| {
        // Metadata v1 with two thousand million topics, DescribeConfigs v1 with as many resources.
        for api_key in [3_i16, 32] {
            let mut connection = Connection::open(broker.address()).unwrap();
            let mut frame = api_key.to_be_bytes().to_vec();
            frame.extend([0, 1, 0, 0, 0, 7, 0xff, 0xff]);
            frame.extend(i32::MAX.to_be_bytes());
            connection.send_frame(&frame);
            assert!(connection.is_closed_by_broker());
        }
    });
}

#[test]
fn truncated_frames_store_nothing() {
    survive(|broker| {
        let mut check = Connection::open(broker.address()).unwrap();
        check.create_topic("truncated", &[]);
        let frame = produce_frame("truncated", &batch(&[b'x'; 1_000], Codec::None));
        for length in [3, 4, 5, 20, 100, frame.len() - 1] {
            Connection::open(broker.address()).unwrap().send(&frame[..length]);
        }
        assert_eq!(check.end_offset("truncated"), 0);
    });
}

#[test]
fn damaged_batches_are_refused_and_not_stored() {
    survive(|broker| {
        let mut connection = Connection::open(broker.address()).unwrap();
        connection.create_topic("damaged", &[]);
        let good = batch(&[b'x'; 1_000], Codec::None);
        let with = |position: usize, byte: u8| {
            let mut damaged = good.clone();
            damaged[position] ^= byte;
            damaged
        };
        let corrupt = ErrorCode::CorruptMessage.code();
        for (what, records) in [
            ("a bit of the payload", with(500, 1)),
            ("a bit of the checksum", with(17, 1)),
            ("a length that is too short", with(11, 1)),
            ("a length that is too long", with(10, 0x40)),
            ("a negative length", with(8, 0x80)),
            ("a record count that lies", with(60, 7)),
            ("half a batch", good[..good.len() / 2].to_vec()),
            ("less than a header", good[..40].to_vec()),
        ] {
            let (error, _) = connection.produce("damaged", &records);
            let refusals = [corrupt, ErrorCode::InvalidRecord.code()];
            assert!(refusals.contains(&error), "{what}: answered with {error}");
        }
        let (error, _) = connection.produce("damaged", &with(16, 3));
        assert_ne!(error, 0, "a batch of an old format was accepted");
        assert_eq!(connection.end_offset("damaged"), 0, "damaged records were stored");
        assert_eq!(connection.produce("damaged", &good), (0, 0), "the connection goes on");
    });
}

#[test]
fn a_batch_that_unpacks_to_a_gigabyte_takes_no_memory() {
    survive(|broker| {
        let mut connection = Connection::open(broker.address()).unwrap();
        connection.create_topic("bomb", &[]);
        for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4] {
            // Stored or refused, as long as nobody unpacks it into memory.
            connection.produce("bomb", &batch(&vec![0; 200 << 20], codec));
        }
    });
}

#[test]
fn thousands_of_half_open_connections_are_borne() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    survive(|broker| {
        let mut connections = Vec::new();
        for number in 0..3_000 {
            let mut connection = Connection::open(broker.address()).unwrap();
            // Nothing at all, half a length, a TLS hello that never goes on, a frame that never ends.
            connection.send([&[][..], &[0, 0], &[0x16, 3, 1, 2], &[0, 1, 0, 0, 0, 3]][number % 4]);
            connections.push(connection);
        }
        let mut check = Connection::open(broker.address()).unwrap();
        check.create_topic("among-many", &[]);
        assert_eq!(check.produce("among-many", &batch(b"x", Codec::None)), (0, 0));
    });
}

/// Ten times as much as the memory for requests, announced in four bytes each.
#[test]
fn lengths_that_are_only_announced_hold_nobody_up() {
    survive(|broker| {
        let mut liars = Vec::new();
        for number in 0..24 {
            let mut liar = Connection::open(broker.address()).unwrap();
            liar.send(&(100_u32 << 20).to_be_bytes());
            // Some go on, and stop when they have something that others need.
            if number % 2 == 0 {
                liar.send(&vec![0; 12 << 20]);
            }
            liars.push(liar);
        }
        let mut check = Connection::open(broker.address()).unwrap();
        check.create_topic("among-liars", &[]);
        for _ in 0..5 {
            assert_eq!(check.produce("among-liars", &batch(&vec![b'x'; 900_000], Codec::None)).0, 0);
        }
        drop(liars);
    });
}

#[test]
fn http_heads_that_never_end_are_given_up_and_hold_nobody_up() {
    survive(|broker| {
        let mut half: Vec<TcpStream> = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(broker.http_address()).unwrap();
            // Those that have gone in the meantime had to make way for others.
            let _ = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            half.push(stream);
        }
        assert_eq!(broker.http("/readyz").unwrap().0, 200);
        for mut stream in half {
            let mut answer = [0; 1000];
            while stream.read(&mut answer).is_ok_and(|read| read > 0) {}
            // The error of a read that took too long is another than that of a connection that was ended.
            let after = stream.read(&mut answer);
            assert!(!after.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "still open");
        }
    });
}

/// The client waits for more than there is while two partitions move in turn, and asks once more behind that.
#[test]
fn a_fetch_that_waits_holds_nothing_that_grows() {
    survive(|broker| {
        let mut writer = Connection::open(broker.address()).unwrap();
        writer.create_topic("turn-a", &[]);
        writer.create_topic("turn-b", &[]);
        let mut waiting: Vec<Connection> = Vec::new();
        for _ in 0..100 {
            let mut connection = Connection::open(broker.address()).unwrap();
            for _ in 0..50 {
                connection.send(&patient_fetch_frame(&["turn-a", "turn-b"]));
            }
            waiting.push(connection);
        }
        let record = batch(b"x", Codec::None);
        for _ in 0..20 {
            for topic in ["turn-a", "turn-b"] {
                assert_eq!(writer.produce(topic, &record).0, 0);
            }
        }
        let before = broker.resident_bytes().unwrap();
        for _ in 0..600 {
            for topic in ["turn-a", "turn-b"] {
                assert_eq!(writer.produce(topic, &record).0, 0);
            }
        }
        let grown = broker.resident_bytes().unwrap().saturating_sub(before);
        assert!(grown < 20 << 20, "1200 small records made the broker {} KiB larger", grown >> 10);
    });
}

/// Asks for more than will come, for as long as can be said.
fn patient_fetch_frame(topics: &[&str]) -> bytes::Bytes {
    use millrace_protocol::messages::FetchRequest;
    use millrace_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    let partition = FetchPartition::default().with_partition_max_bytes(50 << 20);
    let topics = topics
        .iter()
        .map(|topic| FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition.clone()]));
    let request = FetchRequest::default()
        .with_max_bytes(50 << 20)
        .with_min_bytes(50 << 20)
        .with_max_wait_ms(i32::MAX)
        .with_topics(topics.collect())
        .with_session_epoch(-1);
    flat(millrace_protocol::frame::encode_request(7, Some("patient"), 11, &request).unwrap())
}

#[test]
fn a_client_that_never_reads_is_not_buffered_for() {
    survive(|broker| {
        let mut writer = Connection::open(broker.address()).unwrap();
        writer.create_topic("unread", &[]);
        let records = batch(&vec![b'x'; 900_000], Codec::None);
        for _ in 0..30 {
            assert_eq!(writer.produce("unread", &records).0, 0);
        }
        // 20 such clients ask for 27 MB each, 100 times over: 54 GB if somebody kept the answers.
        let fetch = fetch_frame("unread");
        let mut deaf: Vec<Connection> = Vec::new();
        for _ in 0..20 {
            let mut connection = Connection::open(broker.address()).unwrap();
            for _ in 0..100 {
                connection.send(&fetch);
            }
            deaf.push(connection);
        }
        for _ in 0..20 {
            assert_eq!(writer.produce("unread", &records).0, 0);
        }
    });
}

fn fetch_frame(topic: &str) -> bytes::Bytes {
    use millrace_protocol::messages::FetchRequest;
    use millrace_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    let partition = FetchPartition::default().with_partition_max_bytes(50 << 20);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    let request =
        FetchRequest::default().with_max_bytes(50 << 20).with_topics(vec![topic]).with_session_epoch(-1);
    flat(millrace_protocol::frame::encode_request(7, Some("deaf"), 11, &request).unwrap())
}

/// Clients ask for a topic that cannot be made again and again; its operator reads of it once.
#[test]
fn a_topic_that_is_refused_again_and_again_is_one_warning() {
    use millrace_protocol::messages::MetadataRequest;
    use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
    let broker = Broker::builder().setting("topics", "default_replication_factor = 3").start().unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    let topic = MetadataRequestTopic::default().with_name(Some(name("refused")));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
    for _ in 0..20 {
        let response = connection.ask(9, &request);
        assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    }
    let warnings = broker.log().matches("cannot create a topic that was asked for").count();
    assert_eq!(warnings, 1, "{}", broker.log());
}

#[test]
fn datagrams_of_garbage_are_ignored() {
    survive(|broker| {
        let mut random = Random::from_environment();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..5_000 {
            let len = 1 + usize::try_from(random.below(1_400)).unwrap();
            // A full socket buffer loses some, which is as good.
            let _ = socket.send_to(&random.bytes(len), broker.address());
        }
    });
}

#[test]
fn a_crowd_that_hangs_up_at_once_leaves_nothing_behind() {
    survive(|broker| {
        let open_files = || {
            let pid = broker.pid().expect("the broker runs");
            std::fs::read_dir(format!("/proc/{pid}/fd")).expect("list the broker's files").count()
        };
        let before = open_files();
        for _ in 0..2_000 {
            drop(Connection::open(broker.address()).unwrap());
        }
        eventually("the files of closed connections to be closed", Duration::from_secs(20), || {
            (open_files() < before + 50).then_some(())
        });
    });
}
