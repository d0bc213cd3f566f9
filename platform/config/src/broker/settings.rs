//! The table of the configuration file's settings.

use Effect::Applied;
use millrace_base::BrokerId;
use millrace_base::limits::{FRAME_BYTES_MAX, MIB, PARTITIONS_PER_TOPIC_MAX};

use super::checks::{ADVERTISED_HOST, NOT_EMPTY, PORT, SOME_TIME, address, duration, path};
use super::{BrokerConfig, ClientAuth, TcpTls};
use crate::setting::{Check, Effect, Kind, Setting};

/// The table, in the order of the reference. An empty default means "not given"; the text says what then.
pub const BROKER_SETTINGS: &[Setting<BrokerConfig>] = &[
    Setting {
        name: "node.id",
        kind: Kind::Int,
        default: "1",
        check: Check::Range(0, i32::MAX as i64),
        effect: Applied,
        doc: "This broker's number, unique in its cluster and never reused.",
        assign: |c, v| {
            c.node.id = BrokerId(v.int());
        },
    },
    Setting {
        name: "node.cluster_id",
        kind: Kind::String,
        default: "",
        check: NOT_EMPTY,
        effect: Applied,
        doc: "The cluster's name to its clients. Not given: generated at the first start and kept in the data directory.",
        assign: |c, v| {
            c.node.cluster_id = Some(v.text().to_owned());
        },
    },
    Setting {
        name: "node.data_dir",
        kind: Kind::Path,
        default: "./millrace-data",
        check: NOT_EMPTY,
        effect: Applied,
        doc: "Where everything is kept. One process at a time may use it.",
        assign: |c, v| {
            c.node.data_dir = path(v);
        },
    },
    Setting {
        name: "node.rack",
        kind: Kind::String,
        default: "",
        check: NOT_EMPTY,
        effect: Applied,
        doc: "The rack or availability zone that this broker tells its clients.",
        assign: |c, v| {
            c.node.rack = Some(v.text().to_owned());
        },
    },
    Setting {
        name: "node.shutdown_timeout",
        kind: Kind::Duration,
        default: "10s",
        check: SOME_TIME,
        effect: Applied,
        doc: "How long a stopping broker lets requests finish before it closes their connections.",
        assign: |c, v| {
            c.node.shutdown_timeout = duration(v);
        },
    },
    Setting {
        name: "listen.address",
        kind: Kind::Address,
        default: "127.0.0.1:9092",
        check: Check::Any,
        effect: Applied,
        doc: "Where clients connect: TCP for Kafka clients and UDP for QUIC, on one port number. Only this machine by default; `0.0.0.0:9092` is all of its interfaces. Port 0 picks a free one.",
        assign: |c, v| {
            c.listen.address = address(v, c.listen.address);
        },
    },
    Setting {
        name: "listen.advertised_host",
        kind: Kind::String,
        default: "",
        check: ADVERTISED_HOST,
        effect: Applied,
        doc: "The host name that clients are told to connect to. Not given: the address listened on, or this machine's name where that is all interfaces.",
        assign: |c, v| {
            c.listen.advertised_host = Some(v.text().to_owned());
        },
    },
    Setting {
        name: "listen.advertised_port",
        kind: Kind::Int,
        default: "",
        check: PORT,
        effect: Applied,
        doc: "The port that clients are told. Not given: the port listened on.",
        assign: |c, v| {
            c.listen.advertised_port = u16::try_from(v.integer()).ok();
        },
    },
    Setting {
        name: "http.address",
        kind: Kind::Address,
        default: "127.0.0.1:9080",
        check: Check::Any,
        effect: Applied,
        doc: "Where health and metrics are served over HTTP. Port 0 picks a free one.",
        assign: |c, v| {
            c.http.address = address(v, c.http.address);
        },
    },
    Setting {
        name: "tls.cert_file",
        kind: Kind::Path,
        default: "",
        check: NOT_EMPTY,
        effect: Applied,
        doc: "The broker's certificate chain (PEM), with `tls.key_file`. Not given: generated, with a CA of its own, under `<data_dir>/tls`.",
        assign: |c, v| {
            c.tls.cert_file = Some(path(v));
        },
    },
    Setting {
        name: "tls.key_file",
        kind: Kind::Path,
        default: "",
        check: NOT_EMPTY,
        effect: Applied,
        doc: "The private key (PEM) of `tls.cert_file`.",
        assign: |c, v| {
            c.tls.key_file = Some(path(v));
        },
    },
    Setting {
        name: "tls.ca_file",
        kind: Kind::Path,
        default: "",
        check: NOT_EMPTY,
        effect: Applied,
        doc: "The CA (PEM) that signs clients' certificates. Not given: the generated one.",
        assign: |c, v| {
            c.tls.ca_file = Some(path(v));
        },
    },
    Setting {
        name: "tls.names",
        kind: Kind::List,
        default: "",
        check: Check::Any,
        effect: Applied,
        doc: "Further host names and addresses for a generated certificate, besides `localhost`, the loopback addresses and the advertised host.",
        assign: |c, v| {
            c.tls.names = v.list().to_vec();
        },
    },
    Setting {
        name: "tls.tcp",
        kind: Kind::String,
        default: "allowed",
        check: Check::OneOf(&["off", "allowed", "required"]),
        effect: Applied,
        doc: "Whether TCP connections may (`allowed`) or must (`required`) use TLS; plain ones share the port. QUIC connections are always encrypted.",
        assign: |c, v| {
            c.tls.tcp = match v.text() {
                "off" => TcpTls::Off,
                "required" => TcpTls::Required,
                _ => TcpTls::Allowed,
            };
        },
    },
    Setting {
        name: "tls.client_auth",
        kind: Kind::String,
        default: "none",
        check: Check::OneOf(&["none", "optional", "required"]),
        effect: Applied,
        doc: "Whether clients may (`optional`) or must (`required`) show a certificate. Where they must, plain TCP is refused, as with `tls.tcp` at `required`.",
        assign: |c, v| {
            c.tls.client_auth = match v.text() {
                "optional" => ClientAuth::Optional,
                "required" => ClientAuth::Required,
                _ => ClientAuth::None,
            };
        },
    },
    Setting {
        name: "log.wal_bytes",
        kind: Kind::Size,
        default: "256MiB",
        check: Check::Range(16 * MIB as i64, 64 << 30),
        effect: Applied,
        doc: "Size of the write-ahead log, preallocated. It bounds what a restart after a crash has to replay.",
        assign: |c, v| {
            c.log.wal_bytes = v.unsigned();
        },
    },
    Setting {
        name: "log.tail_bytes",
        kind: Kind::Size,
        default: "",
        check: Check::Range(MIB as i64, i64::MAX),
        effect: Applied,
        doc: "Memory for the most recent records of all partitions, from which consumers that keep up are served. Not given: an eighth of the machine's memory, at most 1GiB.",
        assign: |c, v| {
            c.log.tail_bytes = v.unsigned();
        },
    },
    Setting {
        name: "log.pending_bytes",
        kind: Kind::Size,
        default: "128MiB",
        check: Check::Range(MIB as i64, i64::MAX),
        effect: Applied,
        doc: "Memory for records that wait for the disk. Beyond it producers wait.",
        assign: |c, v| {
            c.log.pending_bytes = v.unsigned();
        },
    },
    Setting {
        name: "log.reserve_bytes",
        kind: Kind::Size,
        default: "64MiB",
        check: Check::Range(0, 64 << 30),
        effect: Applied,
        doc: "Room on the disk that is kept, preallocated, for the way back from a full one: checkpoints, metadata and retention take from it, so that deleted topics and records make room. New records are taken when it is whole again.",
        assign: |c, v| {
            c.log.reserve_bytes = v.unsigned();
        },
    },
    Setting {
        name: "log.retention_check_interval",
        kind: Kind::Duration,
        default: "5m",
        check: SOME_TIME,
        effect: Applied,
        doc: "Time between two looks for segments that retention may drop.",
        assign: |c, v| {
            c.log.retention_check_interval = duration(v);
        },
    },
    Setting {
        name: "log.cleaner_threads",
        kind: Kind::Int,
        default: "1",
        check: Check::Range(1, 64),
        effect: Applied,
        doc: "Partitions that are compacted at the same time.",
        assign: |c, v| {
            c.log.cleaner_threads = v.small();
        },
    },
    Setting {
        name: "log.cleaner_dedupe_buffer_bytes",
        kind: Kind::Size,
        default: "128MiB",
        check: Check::Range(MIB as i64, i64::MAX),
        effect: Applied,
        doc: "Memory for the keys of records that are not compacted yet, all threads together, taken while a partition is compacted: 27 bytes a key, however long it is. A partition with more keys is compacted in several rounds.",
        assign: |c, v| {
            c.log.cleaner_dedupe_buffer_bytes = v.unsigned();
        },
    },
    Setting {
        name: "log.cleaner_io_bytes_per_second",
        kind: Kind::Size,
        default: "",
        check: Check::Range(64 * 1024, i64::MAX),
        effect: Applied,
        doc: "Bytes that compaction reads and writes a second at most, all threads together. Not given: no limit but that it rests for as long as it works.",
        assign: |c, v| {
            c.log.cleaner_io_bytes_per_second = Some(v.unsigned());
        },
    },
    Setting {
        name: "log.cleaner_backoff",
        kind: Kind::Duration,
        default: "15s",
        check: SOME_TIME,
        effect: Applied,
        doc: "Time between two looks for partitions to compact, where the last one found none.",
        assign: |c, v| {
            c.log.cleaner_backoff = duration(v);
        },
    },
    Setting {
        name: "topics.num_partitions",
        kind: Kind::Int,
        default: "1",
        check: Check::Range(1, PARTITIONS_PER_TOPIC_MAX as i64),
        effect: Applied,
        doc: "Partitions of a topic whose creator leaves their number to the broker.",
        assign: |c, v| c.topics.num_partitions = v.int(),
    },
    Setting {
        name: "topics.default_replication_factor",
        kind: Kind::Short,
        default: "1",
        check: Check::Range(1, i16::MAX as i64),
        effect: Applied,
        doc: "Replicas of a topic whose creator leaves their number to the broker.",
        assign: |c, v| c.topics.default_replication_factor = i16::try_from(v.integer()).unwrap_or(1),
    },
    Setting {
        name: "topics.auto_create",
        kind: Kind::Boolean,
        default: "true",
        check: Check::Any,
        effect: Applied,
        doc: "Whether a client that asks for an unknown topic creates it, as in Kafka.",
        assign: |c, v| c.topics.auto_create = v.boolean(),
    },
    Setting {
        name: "limits.max_connections",
        kind: Kind::Int,
        default: "16384",
        check: Check::Range(1, i32::MAX as i64),
        effect: Applied,
        doc: "Connections at a time; further ones are closed at once, unless one that is idle can make room.",
        assign: |c, v| c.limits.max_connections = v.small(),
    },
    Setting {
        name: "limits.max_connections_per_ip",
        kind: Kind::Int,
        default: "",
        check: Check::Range(1, i32::MAX as i64),
        effect: Applied,
        doc: "Connections from one address at a time. Not given: as many as `limits.max_connections`, since many clients can share an address behind a gateway.",
        assign: |c, v| c.limits.max_connections_per_ip = Some(v.small()),
    },
    Setting {
        name: "limits.max_request_bytes",
        kind: Kind::Size,
        default: "100MiB",
        check: Check::Range(1024, FRAME_BYTES_MAX as i64),
        effect: Applied,
        doc: "Largest request; a connection that announces a larger one is closed.",
        assign: |c, v| c.limits.max_request_bytes = v.small(),
    },
    Setting {
        name: "limits.requests_in_flight",
        kind: Kind::Int,
        default: "64",
        check: Check::Range(1, 4096),
        effect: Applied,
        doc: "Requests of one TCP connection or QUIC stream that are worked on at the same time; further ones wait unread.",
        assign: |c, v| c.limits.requests_in_flight = v.small(),
    },
    Setting {
        name: "limits.request_memory_bytes",
        kind: Kind::Size,
        default: "",
        check: Check::Range(FRAME_BYTES_MAX as i64, i64::MAX),
        effect: Applied,
        doc: "Memory for requests that are being received, of which an eighth is kept for small ones; beyond it connections wait unread. Answers that are not read yet hold four times as much at most. Not given: a sixteenth of the machine's memory, from 200MiB to 1GiB.",
        assign: |c, v| c.limits.request_memory_bytes = v.unsigned(),
    },
    Setting {
        name: "limits.idle_timeout",
        kind: Kind::Duration,
        default: "10m",
        check: SOME_TIME,
        effect: Applied,
        doc: "A connection without a request for this long is closed.",
        assign: |c, v| c.limits.idle_timeout = duration(v),
    },
    Setting {
        name: "limits.fetch_max_bytes",
        kind: Kind::Size,
        default: "55MiB",
        check: Check::Range(1024, FRAME_BYTES_MAX as i64),
        effect: Applied,
        doc: "Largest answer to a fetch, whatever the consumer asks for.",
        assign: |c, v| c.limits.fetch_max_bytes = v.small(),
    },
    Setting {
        name: "limits.fetch_sessions",
        kind: Kind::Int,
        default: "1000",
        check: Check::Range(0, 1_000_000),
        effect: Applied,
        doc: "Incremental fetch sessions kept; a consumer without one repeats its partitions in each fetch.",
        assign: |c, v| c.limits.fetch_sessions = v.small(),
    },
    Setting {
        name: "transactions.max_timeout",
        kind: Kind::Duration,
        default: "15m",
        check: Check::Range(1, i32::MAX as i64),
        effect: Applied,
        doc: "Longest time that a producer may ask for its transactions to stay open; one that stays open for longer is aborted.",
        assign: |c, v| c.transactions.max_timeout = duration(v),
    },
    Setting {
        name: "transactions.timeout_check_interval",
        kind: Kind::Duration,
        default: "10s",
        check: SOME_TIME,
        effect: Applied,
        doc: "Time between two looks for transactions that have been open for too long.",
        assign: |c, v| c.transactions.timeout_check_interval = duration(v),
    },
    Setting {
        name: "transactions.id_expiration",
        kind: Kind::Duration,
        default: "7d",
        check: SOME_TIME,
        effect: Applied,
        doc: "How long a transactional id is remembered after its last use.",
        assign: |c, v| c.transactions.id_expiration = duration(v),
    },
    Setting {
        name: "transactions.id_expiration_check_interval",
        kind: Kind::Duration,
        default: "1h",
        check: SOME_TIME,
        effect: Applied,
        doc: "Time between two looks for transactional ids to forget.",
        assign: |c, v| c.transactions.id_expiration_check_interval = duration(v),
    },
    Setting {
        name: "groups.session_timeout_min",
        kind: Kind::Duration,
        default: "6s",
        check: SOME_TIME,
        effect: Applied,
        doc: "Shortest session timeout that a member of a consumer group may ask for.",
        assign: |c, v| c.groups.session_timeout_min = duration(v),
    },
    Setting {
        name: "groups.session_timeout_max",
        kind: Kind::Duration,
        default: "30m",
        check: SOME_TIME,
        effect: Applied,
        doc: "Longest session timeout that a member of a consumer group may ask for.",
        assign: |c, v| c.groups.session_timeout_max = duration(v),
    },
    Setting {
        name: "groups.initial_rebalance_delay",
        kind: Kind::Duration,
        default: "3s",
        check: Check::Range(0, i64::MAX),
        effect: Applied,
        doc: "How long the first members of a group wait for others, so that one rebalance does for all.",
        assign: |c, v| c.groups.initial_rebalance_delay = duration(v),
    },
    Setting {
        name: "groups.max_size",
        kind: Kind::Int,
        default: "2147483647",
        check: Check::Range(1, i32::MAX as i64),
        effect: Applied,
        doc: "Members of a consumer group; beyond it nobody joins.",
        assign: |c, v| c.groups.max_size = v.small(),
    },
    Setting {
        name: "groups.consumer_session_timeout",
        kind: Kind::Duration,
        default: "45s",
        check: SOME_TIME,
        effect: Applied,
        doc: "How long a member is waited for that says nothing, of a group to which the broker assigns (KIP-848).",
        assign: |c, v| c.groups.consumer_session_timeout = duration(v),
    },
    Setting {
        name: "groups.consumer_heartbeat_interval",
        kind: Kind::Duration,
        default: "5s",
        check: SOME_TIME,
        effect: Applied,
        doc: "Longest time between heartbeats that such a member is told; with few members it is told a shorter one, so that a rebalance is over sooner.",
        assign: |c, v| c.groups.consumer_heartbeat_interval = duration(v),
    },
    Setting {
        name: "groups.consumer_max_size",
        kind: Kind::Int,
        default: "2147483647",
        check: Check::Range(1, i32::MAX as i64),
        effect: Applied,
        doc: "Members of a group to which the broker assigns; beyond it nobody joins.",
        assign: |c, v| c.groups.consumer_max_size = v.small(),
    },
    Setting {
        name: "groups.offset_metadata_max_bytes",
        kind: Kind::Size,
        default: "4KiB",
        check: Check::Range(0, i16::MAX as i64),
        effect: Applied,
        doc: "Longest text that may be committed with an offset.",
        assign: |c, v| c.groups.offset_metadata_max_bytes = v.small(),
    },
    Setting {
        name: "groups.offsets_retention",
        kind: Kind::Duration,
        default: "7d",
        check: SOME_TIME,
        effect: Applied,
        doc: "How long committed offsets are kept after the last member of their group has left, or, of who is in no group, after their commit.",
        assign: |c, v| c.groups.offsets_retention = duration(v),
    },
    Setting {
        name: "groups.offsets_retention_check_interval",
        kind: Kind::Duration,
        default: "10m",
        check: SOME_TIME,
        effect: Applied,
        doc: "Time between two looks for offsets to forget.",
        assign: |c, v| c.groups.offsets_retention_check_interval = duration(v),
    },
];
