//! kcat: what people reach for first at a terminal, on Debian's librdkafka.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_compat_tests::{CODECS, lines};
use millrace_test_harness::{Broker, Program};

fn kcat(broker: &Broker, arguments: &[&str]) -> Program {
    Program::new("kcat").arguments(["-q", "-b", &broker.bootstrap()]).arguments(arguments)
}

fn topic(broker: &Broker, name: &str, partitions: &str) {
    let create = broker.cli(&["topic", "create", name, "--partitions", partitions]);
    Program::from(create).succeed().unwrap();
}

#[test]
fn records_of_every_codec_and_acks_come_back_as_sent() {
    let broker = Broker::start().unwrap();
    topic(&broker, "codecs", "1");
    let mut sent = String::new();
    for codec in CODECS {
        for acks in ["0", "1", "all"] {
            let lines = lines(&format!("{codec} {acks}"), 50);
            let acks_setting = format!("acks={acks}");
            kcat(&broker, &["-P", "-t", "codecs", "-p", "0", "-z", codec, "-X", &acks_setting])
                .input(lines.clone())
                .succeed()
                .unwrap();
            sent.push_str(&lines);
        }
    }
    let received =
        kcat(&broker, &["-C", "-t", "codecs", "-p", "0", "-o", "beginning", "-e"]).succeed().unwrap();
    assert_eq!(received, sent);
}

/// What the broker encodes anew is read by librdkafka and by our own consumer.
#[test]
fn a_topic_s_own_codec_is_read_as_what_was_sent() {
    let broker = Broker::start().unwrap();
    for own in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let setting = format!("compression.type={own}");
        let create = broker.cli(&["topic", "create", own, "--partitions", "1", "--config", &setting]);
        Program::from(create).succeed().unwrap();
        let mut sent = String::new();
        for codec in CODECS {
            let lines = lines(codec, 3_000);
            kcat(&broker, &["-P", "-t", own, "-z", codec]).input(lines.clone()).succeed().unwrap();
            sent.push_str(&lines);
        }
        let received = kcat(&broker, &["-C", "-t", own, "-o", "beginning", "-e"]).succeed().unwrap();
        assert!(received == sent, "{own}");
        let received = Program::from(broker.cli(&["consume", own, "--from-beginning", "--exit-at-end"]));
        assert!(received.succeed().unwrap() == sent, "{own}");
    }
}

#[test]
fn keys_headers_and_nulls_survive() {
    let broker = Broker::start().unwrap();
    topic(&broker, "shapes", "1");
    kcat(&broker, &["-P", "-t", "shapes", "-K", ":", "-Z", "-H", "origin=here", "-H", "empty="])
        .input("key:value\nlonely:\n")
        .succeed()
        .unwrap();
    let format = "%k|%s|%S|%h|%o\\n";
    let received =
        kcat(&broker, &["-C", "-t", "shapes", "-o", "beginning", "-e", "-f", format]).succeed().unwrap();
    assert_eq!(received, "key|value|5|origin=here,empty=|0\nlonely||-1|origin=here,empty=|1\n");
}

#[test]
fn an_idempotent_producer_is_served() {
    let broker = Broker::start().unwrap();
    topic(&broker, "idempotent", "1");
    let sent = lines("idempotent", 2_000);
    kcat(
        &broker,
        &["-P", "-t", "idempotent", "-X", "enable.idempotence=true", "-X", "batch.num.messages=50"],
    )
    .input(sent.clone())
    .succeed()
    .unwrap();
    let received = kcat(&broker, &["-C", "-t", "idempotent", "-o", "beginning", "-e"]).succeed().unwrap();
    assert_eq!(received, sent);
}

#[test]
fn consumers_start_at_offsets_and_times() {
    let broker = Broker::start().unwrap();
    topic(&broker, "offsets", "1");
    kcat(&broker, &["-P", "-t", "offsets"]).input(lines("line", 100)).succeed().unwrap();
    let offsets = |from: &str, count: &str| {
        let arguments = ["-C", "-t", "offsets", "-p", "0", "-o", from, "-c", count, "-e", "-f", "%o "];
        kcat(&broker, &arguments).succeed().unwrap()
    };
    assert_eq!(offsets("42", "3"), "42 43 44 ");
    assert_eq!(offsets("-2", "2"), "98 99 ");
    assert_eq!(offsets("s@0", "1"), "0 ");
    for (time, offset) in [("-1", 100), ("-2", 0)] {
        let found = kcat(&broker, &["-Q", "-t", &format!("offsets:0:{time}")]).succeed().unwrap();
        assert_eq!(found, format!("offsets [0] offset {offset}\n"));
    }
}

#[test]
fn metadata_names_the_broker_and_its_topics() {
    let broker = Broker::start().unwrap();
    topic(&broker, "orders", "3");
    let listed = Program::new("kcat").arguments(["-b", &broker.bootstrap(), "-L"]).succeed().unwrap();
    assert!(listed.contains(&broker.bootstrap()), "{listed}");
    assert!(listed.contains("topic \"orders\" with 3 partitions"), "{listed}");
}

#[test]
fn a_topic_is_made_by_the_first_record() {
    let broker = Broker::start().unwrap();
    kcat(&broker, &["-P", "-t", "made-on-the-way"]).input("first\n").succeed().unwrap();
    let received =
        kcat(&broker, &["-C", "-t", "made-on-the-way", "-o", "beginning", "-e"]).succeed().unwrap();
    assert_eq!(received, "first\n");
}

#[test]
fn tls_shares_the_port_with_plain_connections() {
    let broker = Broker::start().unwrap();
    topic(&broker, "secret", "1");
    let ca = format!("ssl.ca.location={}", broker.ca_file().display());
    let tls = ["-X", "security.protocol=ssl", "-X", ca.as_str()];
    kcat(&broker, &tls).arguments(["-P", "-t", "secret"]).input("over TLS\n").succeed().unwrap();
    let consume = ["-C", "-t", "secret", "-o", "beginning", "-e"];
    assert_eq!(kcat(&broker, &tls).arguments(consume).succeed().unwrap(), "over TLS\n");
    assert_eq!(kcat(&broker, &consume).succeed().unwrap(), "over TLS\n");
}
