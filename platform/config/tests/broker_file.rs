//! The configuration file: defaults, every way to write a value, and what is refused at which line.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use millrace_base::BrokerId;
use millrace_config::broker::{ClientAuth, TcpTls};
use millrace_config::{BROKER_SETTINGS, BrokerConfig, KAFKA_BROKER_SETTINGS};

fn load(text: &str) -> Result<BrokerConfig, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("millrace.toml");
    std::fs::write(&path, text).expect("write the file");
    BrokerConfig::load(&path)
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "millrace.toml"))
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(load("").unwrap(), BrokerConfig::default());
}

#[test]
fn every_default_of_the_table_is_allowed() {
    for setting in BROKER_SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
        setting.parse(setting.default).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn defaults_that_depend_on_the_machine_are_within_bounds() {
    let config = BrokerConfig::default();
    assert!(config.log.tail_bytes > 0 && config.log.tail_bytes <= 3 << 30);
    assert!(config.limits.request_memory_bytes >= u64::from(config.limits.max_request_bytes));
}

#[test]
fn every_table_of_the_file_is_read() {
    let config = load(
        r#"
        [node]
        id = 7
        cluster_id = "north"
        data_dir = "/var/lib/millrace"
        rack = "r1"
        shutdown_timeout = "3s"
        [listen]
        address = "0.0.0.0:9092"
        advertised_host = "broker-7.example"
        advertised_port = 19_092
        [http]
        address = "[::1]:9080"
        [tls]
        tcp = "required"
        client_auth = "optional"
        names = ["broker-7", "10.0.0.7"]
        [log]
        wal_bytes = "1 GiB"
        tail_bytes = 0x400000
        retention_check_interval = 500
        [topics]
        num_partitions = 12
        auto_create = false
        [limits]
        fetch_max_bytes = "1MiB"
        idle_timeout = "30s"
        [topic_defaults]
        retention.ms = 1000
        "segment.bytes" = 1048576
        "#,
    )
    .unwrap();
    assert_eq!(config.node.id, BrokerId(7));
    assert_eq!(config.node.cluster_id.as_deref(), Some("north"));
    assert_eq!(config.node.data_dir, Path::new("/var/lib/millrace"));
    assert_eq!(config.node.shutdown_timeout, Duration::from_secs(3));
    assert_eq!(config.listen.address, "0.0.0.0:9092".parse().unwrap());
    assert_eq!(config.listen.advertised_port, Some(19_092));
    assert_eq!(config.http.address, "[::1]:9080".parse::<SocketAddr>().unwrap());
    assert_eq!((config.tls.tcp, config.tls.client_auth), (TcpTls::Required, ClientAuth::Optional));
    assert_eq!(config.tls.names, ["broker-7", "10.0.0.7"]);
    assert_eq!((config.log.wal_bytes, config.log.tail_bytes), (1 << 30, 4 << 20));
    assert_eq!(config.log.retention_check_interval, Duration::from_millis(500));
    assert_eq!((config.topics.num_partitions, config.topics.auto_create), (12, false));
    assert_eq!(config.limits.fetch_max_bytes, 1 << 20);
    assert_eq!(config.topic_defaults.retention_ms, Some(1000));
    assert_eq!(config.topic_defaults.segment_bytes, 1 << 20);
    assert_eq!(config.topic_overrides["retention.ms"], "1000");
}

#[test]
fn a_refusal_names_the_line_the_key_the_value_and_what_is_allowed() {
    for (text, message) in [
        (
            "\n[log]\nwal_byts = 1",
            "line 3: there is no setting 'log.wal_byts': did you mean 'log.wal_bytes'?",
        ),
        (
            "[log]\nwal-bytes = 1",
            "line 2: there is no setting 'log.wal-bytes': did you mean 'log.wal_bytes'?",
        ),
        ("[lgo]\nwal_bytes = 1", "line 1: there is no setting 'lgo': did you mean '[log]'?"),
        ("[colours]\nred = 1", "line 1: there is no setting 'colours'"),
        ("data_dir = \"x\"", "line 1: there is no setting 'data_dir'"),
        (
            "[log]\nwal_bytes = \"1 MiB\"",
            "line 2: 'log.wal_bytes' cannot be '1 MiB': allowed is a size (bytes, or a text such as 64MiB) from 16MiB to 64GiB",
        ),
        (
            "[log]\nwal_bytes = [1]",
            "line 2: 'log.wal_bytes' cannot be 'array': allowed is a size (bytes, or a text such as 64MiB) from 16MiB to 64GiB",
        ),
        (
            "[tls]\ntcp = \"maybe\"",
            "line 2: 'tls.tcp' cannot be 'maybe': allowed is off or allowed or required",
        ),
        ("[tls]\ntcp = false", "line 2: 'tls.tcp' cannot be 'false': allowed is off or allowed or required"),
        ("[topics]\nauto_create = 1", "line 2: 'topics.auto_create' cannot be '1': allowed is true or false"),
        (
            "[listen]\naddress = \"localhost\"",
            "line 2: 'listen.address' cannot be 'localhost': allowed is an address (<ip>:<port>)",
        ),
        (
            "[limits]\nidle_timeout = \"1 week\"",
            "line 2: 'limits.idle_timeout' cannot be '1 week': allowed is a duration (milliseconds, or a text such as 10ms or 7d), at least 1ms",
        ),
        (
            "[node]\nid = -1",
            "line 2: 'node.id' cannot be '-1': allowed is a whole number from 0 to 2147483647",
        ),
        (
            "[topic_defaults]\nretention.ms = \"x\"",
            "line 2: 'retention.ms' cannot be 'x': allowed is a whole number, at least -1",
        ),
        (
            "[topic_defaults]\n\"retention.msec\" = 1",
            "line 2: there is no setting 'retention.msec': did you mean 'retention.ms'?",
        ),
    ] {
        assert_eq!(load(text).unwrap_err(), format!("configuration millrace.toml, {message}"), "{text}");
    }
}

#[test]
fn clients_are_told_a_host_that_they_can_connect_to() {
    let told = |host: &str| load(&format!("[listen]\nadvertised_host = \"{host}\""));
    for host in ["kafka", "kafka-1.example.com", "my_container", "0a1b2c3d4e5f", "192.0.2.1", "::1"] {
        assert_eq!(told(host).unwrap().listen.advertised_host.as_deref(), Some(host));
    }
    let wrong = [
        "",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "0",
        "h:9092",
        "[::1]",
        "[::1]:9092",
        "http://h",
        "h/",
        "a b",
    ];
    for host in wrong {
        let said = told(host).unwrap_err();
        assert!(said.contains(&format!("line 2: 'listen.advertised_host' cannot be '{host}'")), "{said}");
        assert!(said.contains("without scheme or port (the port is listen.advertised_port)"), "{said}");
        assert!(said.contains("0.0.0.0 and :: say where to listen"), "{said}");
    }
}

#[test]
fn who_must_show_a_certificate_must_use_tls() {
    for (text, tcp) in [
        ("[tls]\nclient_auth = \"required\"", TcpTls::Required),
        ("[tls]\nclient_auth = \"required\"\ntcp = \"allowed\"", TcpTls::Required),
        ("[tls]\nclient_auth = \"optional\"", TcpTls::Allowed),
        ("[tls]\ntcp = \"off\"", TcpTls::Off),
    ] {
        assert_eq!(load(text).unwrap().tcp_tls(), tcp, "{text}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (text, message) in [
        (
            "[tls]\ncert_file = \"a.pem\"",
            "'tls.cert_file' cannot be 'a.pem': allowed is given together with tls.key_file",
        ),
        (
            "[limits]\nrequest_memory_bytes = \"115MiB\"\nmax_request_bytes = \"100MiB\"\n[tls]\nkey_file = \"k\"",
            "'tls.key_file' cannot be 'k': allowed is given together with tls.cert_file",
        ),
        (
            "[limits]\nrequest_memory_bytes = \"114MiB\"\nmax_request_bytes = \"100MiB\"",
            "'limits.request_memory_bytes' cannot be '119537664': allowed is at least limits.max_request_bytes, which is 104857600, besides the eighth that is kept for small requests",
        ),
        (
            "[tls]\ntcp = \"off\"\nclient_auth = \"required\"",
            "'tls.tcp' cannot be 'off': allowed is allowed or required while tls.client_auth is required: certificates are shown over TLS",
        ),
        (
            "[topic_defaults]\nmax.compaction.lag.ms = 1\nmin.compaction.lag.ms = 2",
            "'min.compaction.lag.ms' cannot be '2': allowed is at most max.compaction.lag.ms, which is 1",
        ),
    ] {
        assert_eq!(load(text).unwrap_err(), format!("configuration millrace.toml: {message}"), "{text}");
    }
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let error = load("[node\nid = 1").unwrap_err();
    assert!(error.starts_with("configuration millrace.toml: TOML parse error at line 1"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = BrokerConfig::load(Path::new("/nowhere/millrace.toml")).unwrap_err().to_string();
    assert!(error.starts_with("read configuration /nowhere/millrace.toml: "), "{error}");
}

#[test]
fn a_kafka_tool_sees_every_broker_setting() {
    let config = BrokerConfig::default();
    let mut before = "";
    for setting in KAFKA_BROKER_SETTINGS {
        assert!(before < setting.name, "{} is out of order", setting.name);
        before = setting.name;
        (setting.value)(&config);
    }
}
