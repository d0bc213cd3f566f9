//! What a broker answers when a Kafka tool describes it: Kafka's names for this broker's settings, but for those
//! that are the defaults of topics' and stand in [`topic_defaults`](crate::topic_defaults).

use crate::broker::{BrokerConfig, TcpTls};
use crate::setting::Kind;

/// One of Kafka's broker settings that only the configuration file and a restart change.
#[derive(Debug)]
pub struct KafkaBrokerSetting {
    pub name: &'static str,
    pub kind: Kind,
    pub doc: &'static str,
    /// Its value, as Kafka would write it.
    pub value: fn(&BrokerConfig) -> String,
}

fn millis(duration: std::time::Duration) -> String {
    duration.as_millis().to_string()
}

/// The table, in the order of the names.
pub const KAFKA_BROKER_SETTINGS: &[KafkaBrokerSetting] = &[
    KafkaBrokerSetting {
        name: "advertised.listeners",
        kind: Kind::String,
        doc: "Where clients connect.",
        value: |c| {
            let host = c.listen.advertised_host.clone().unwrap_or_else(|| c.listen.address.ip().to_string());
            let port = c.listen.advertised_port.unwrap_or_else(|| c.listen.address.port());
            format!("{}://{host}:{port}", scheme(c))
        },
    },
    KafkaBrokerSetting {
        name: "auto.create.topics.enable",
        kind: Kind::Boolean,
        doc: "Whether asking for an unknown topic creates it.",
        value: |c| c.topics.auto_create.to_string(),
    },
    KafkaBrokerSetting {
        name: "broker.id",
        kind: Kind::Int,
        doc: "The broker's number.",
        value: |c| c.node.id.to_string(),
    },
    KafkaBrokerSetting {
        name: "broker.rack",
        kind: Kind::String,
        doc: "The rack or availability zone.",
        value: |c| c.node.rack.clone().unwrap_or_default(),
    },
    KafkaBrokerSetting {
        name: "connections.max.idle.ms",
        kind: Kind::Long,
        doc: "A connection idle for longer is closed.",
        value: |c| millis(c.limits.idle_timeout),
    },
    KafkaBrokerSetting {
        name: "default.replication.factor",
        kind: Kind::Int,
        doc: "Replicas of a topic whose creator does not say.",
        value: |c| c.topics.default_replication_factor.to_string(),
    },
    KafkaBrokerSetting {
        name: "fetch.max.bytes",
        kind: Kind::Int,
        doc: "Largest answer to a fetch.",
        value: |c| c.limits.fetch_max_bytes.to_string(),
    },
    KafkaBrokerSetting {
        name: "group.consumer.heartbeat.interval.ms",
        kind: Kind::Int,
        doc: "Longest time between heartbeats of a member to which the broker assigns.",
        value: |c| millis(c.groups.consumer_heartbeat_interval),
    },
    KafkaBrokerSetting {
        name: "group.consumer.max.size",
        kind: Kind::Int,
        doc: "Members of a group to which the broker assigns.",
        value: |c| c.groups.consumer_max_size.to_string(),
    },
    KafkaBrokerSetting {
        name: "group.consumer.session.timeout.ms",
        kind: Kind::Int,
        doc: "How long such a member is waited for that says nothing.",
        value: |c| millis(c.groups.consumer_session_timeout),
    },
    KafkaBrokerSetting {
        name: "group.initial.rebalance.delay.ms",
        kind: Kind::Int,
        doc: "How long the first members of a group wait for others.",
        value: |c| millis(c.groups.initial_rebalance_delay),
    },
    KafkaBrokerSetting {
        name: "group.max.session.timeout.ms",
        kind: Kind::Int,
        doc: "Longest session timeout of a group's member.",
        value: |c| millis(c.groups.session_timeout_max),
    },
    KafkaBrokerSetting {
        name: "group.max.size",
        kind: Kind::Int,
        doc: "Members of a group.",
        value: |c| c.groups.max_size.to_string(),
    },
    KafkaBrokerSetting {
        name: "group.min.session.timeout.ms",
        kind: Kind::Int,
        doc: "Shortest session timeout of a group's member.",
        value: |c| millis(c.groups.session_timeout_min),
    },
    KafkaBrokerSetting {
        name: "listeners",
        kind: Kind::String,
        doc: "Where the broker listens.",
        value: |c| format!("{}://{}", scheme(c), c.listen.address),
    },
    KafkaBrokerSetting {
        name: "log.cleaner.backoff.ms",
        kind: Kind::Long,
        doc: "Time between two looks for partitions to compact.",
        value: |c| millis(c.log.cleaner_backoff),
    },
    KafkaBrokerSetting {
        name: "log.cleaner.dedupe.buffer.size",
        kind: Kind::Long,
        doc: "Memory for the keys of records that are not compacted yet.",
        value: |c| c.log.cleaner_dedupe_buffer_bytes.to_string(),
    },
    KafkaBrokerSetting {
        name: "log.cleaner.io.max.bytes.per.second",
        kind: Kind::Double,
        doc: "Bytes that compaction reads and writes a second.",
        value: |c| {
            let unlimited = || "1.7976931348623157E308".to_owned();
            c.log.cleaner_io_bytes_per_second.map_or_else(unlimited, |bytes| format!("{bytes}.0"))
        },
    },
    KafkaBrokerSetting {
        name: "log.cleaner.threads",
        kind: Kind::Int,
        doc: "Partitions that are compacted at the same time.",
        value: |c| c.log.cleaner_threads.to_string(),
    },
    KafkaBrokerSetting {
        name: "log.dirs",
        kind: Kind::String,
        doc: "The data directory.",
        value: |c| c.node.data_dir.display().to_string(),
    },
    KafkaBrokerSetting {
        name: "log.retention.check.interval.ms",
        kind: Kind::Long,
        doc: "Time between two looks for segments to drop.",
        value: |c| millis(c.log.retention_check_interval),
    },
    KafkaBrokerSetting {
        name: "max.connections",
        kind: Kind::Int,
        doc: "Connections at a time.",
        value: |c| c.limits.max_connections.to_string(),
    },
    KafkaBrokerSetting {
        name: "max.connections.per.ip",
        kind: Kind::Int,
        doc: "Connections from one address at a time.",
        value: |c| c.limits.max_connections_per_ip.unwrap_or(i32::MAX.unsigned_abs()).to_string(),
    },
    KafkaBrokerSetting {
        name: "max.incremental.fetch.session.cache.slots",
        kind: Kind::Int,
        doc: "Incremental fetch sessions kept.",
        value: |c| c.limits.fetch_sessions.to_string(),
    },
    KafkaBrokerSetting {
        name: "node.id",
        kind: Kind::Int,
        doc: "The broker's number.",
        value: |c| c.node.id.to_string(),
    },
    KafkaBrokerSetting {
        name: "num.partitions",
        kind: Kind::Int,
        doc: "Partitions of a topic whose creator does not say.",
        value: |c| c.topics.num_partitions.to_string(),
    },
    KafkaBrokerSetting {
        name: "offset.metadata.max.bytes",
        kind: Kind::Int,
        doc: "Longest text that is committed with an offset.",
        value: |c| c.groups.offset_metadata_max_bytes.to_string(),
    },
    KafkaBrokerSetting {
        name: "offsets.retention.check.interval.ms",
        kind: Kind::Long,
        doc: "Time between two looks for offsets to forget.",
        value: |c| millis(c.groups.offsets_retention_check_interval),
    },
    KafkaBrokerSetting {
        name: "offsets.retention.minutes",
        kind: Kind::Int,
        doc: "How long offsets are kept of groups without members.",
        value: |c| (c.groups.offsets_retention.as_secs() / 60).to_string(),
    },
    KafkaBrokerSetting {
        name: "process.roles",
        kind: Kind::List,
        doc: "What this process does in its cluster.",
        value: |_| "broker,controller".to_owned(),
    },
    KafkaBrokerSetting {
        name: "queued.max.request.bytes",
        kind: Kind::Long,
        doc: "Memory for requests.",
        value: |c| c.limits.request_memory_bytes.to_string(),
    },
    KafkaBrokerSetting {
        name: "socket.request.max.bytes",
        kind: Kind::Int,
        doc: "Largest request.",
        value: |c| c.limits.max_request_bytes.to_string(),
    },
    KafkaBrokerSetting {
        name: "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        kind: Kind::Int,
        doc: "Time between two looks for overdue transactions.",
        value: |c| millis(c.transactions.timeout_check_interval),
    },
    KafkaBrokerSetting {
        name: "transaction.max.timeout.ms",
        kind: Kind::Int,
        doc: "Longest timeout of a transaction.",
        value: |c| millis(c.transactions.max_timeout),
    },
    KafkaBrokerSetting {
        name: "transaction.remove.expired.transaction.cleanup.interval.ms",
        kind: Kind::Int,
        doc: "Time between two looks for transactional ids to forget.",
        value: |c| millis(c.transactions.id_expiration_check_interval),
    },
    KafkaBrokerSetting {
        name: "transactional.id.expiration.ms",
        kind: Kind::Int,
        doc: "How long an unused transactional id is remembered.",
        value: |c| millis(c.transactions.id_expiration),
    },
];

fn scheme(config: &BrokerConfig) -> &'static str {
    if config.tcp_tls() == TcpTls::Required { "SSL" } else { "PLAINTEXT" }
}
