//! Kafka 4.1's topic settings, every one of them, with Kafka's names, kinds, ranges and defaults, and a topic's
//! configuration made of them.
//!
//! One default differs: `flush.messages` is 1, since an acknowledged record is a durable one here.

use std::collections::BTreeMap;

use Effect::{Accepted, Applied};
use Kind::{Boolean, Double, Int, List, Long, String};
use millrace_base::limits::{BATCH_BYTES_MAX, MIB, SEGMENT_BYTES_MAX};

use crate::setting::{Check, Effect, Kind, Setting, SettingError, find};
use crate::topic::{CleanupPolicy, CompressionType, TimestampType, TopicConfig};

const NOT_NEGATIVE: Check = Check::Range(0, i64::MAX);

const DELETED_AT_ONCE: Effect = Accepted("files go at once; who reads one at that time reads it to its end");
const LZ4_LEVEL: Effect = Accepted("the encoder has one level, the quickest");
const PREALLOCATE: Effect = Accepted("the write-ahead log is preallocated, segments need not be");
const THROTTLE: Effect = Accepted("replication is not throttled");
const TIERED: Effect = Accepted("tiered storage is not built yet: segments stay local");
const UNCLEAN: Effect = Accepted("only in-sync replicas are elected");

/// The table, in the order of the names.
pub const TOPIC_SETTINGS: &[Setting<TopicConfig>] = &[
    Setting {
        name: "cleanup.policy",
        kind: List,
        default: "delete",
        check: Check::SomeOf(&["delete", "compact"]),
        effect: Applied,
        doc: "What happens to old records: `delete` drops segments by age and size, `compact` keeps the newest record of each key. Both may be given. With `compact` every record has a key, and one without a value (a tombstone) deletes its key.",
        assign: |c, v| {
            c.cleanup_policy = CleanupPolicy {
                delete: v.list().iter().any(|p| p == "delete"),
                compact: v.list().iter().any(|p| p == "compact"),
            };
        },
    },
    Setting {
        name: "compression.gzip.level",
        kind: Int,
        default: "-1",
        check: Check::Rule(
            |v| v.integer() == -1 || (1..=9).contains(&v.integer()),
            "-1 or a whole number from 1 to 9",
        ),
        effect: Applied,
        doc: "Level for `compression.type=gzip`; -1 is 6.",
        assign: |c, v| {
            c.compression_gzip_level = v.int();
        },
    },
    Setting {
        name: "compression.lz4.level",
        kind: Int,
        default: "9",
        check: Check::Range(1, 17),
        effect: LZ4_LEVEL,
        doc: "Level for `compression.type=lz4`.",
        assign: |c, v| {
            c.compression_lz4_level = v.int();
        },
    },
    Setting {
        name: "compression.type",
        kind: String,
        default: "producer",
        check: Check::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        effect: Applied,
        doc: "How batches are compressed at rest. `producer`: as their producer compressed them; any other has the broker encode those anew that are not so, which costs its processors.",
        assign: |c, v| {
            c.compression_type = match v.text() {
                "uncompressed" => CompressionType::Uncompressed,
                "gzip" => CompressionType::Gzip,
                "snappy" => CompressionType::Snappy,
                "lz4" => CompressionType::Lz4,
                "zstd" => CompressionType::Zstd,
                _ => CompressionType::Producer,
            };
        },
    },
    Setting {
        name: "compression.zstd.level",
        kind: Int,
        default: "3",
        check: Check::Range(-131_072, 22),
        effect: Applied,
        doc: "Level for `compression.type=zstd`.",
        assign: |c, v| {
            c.compression_zstd_level = v.int();
        },
    },
    Setting {
        name: "delete.retention.ms",
        kind: Long,
        default: "86400000",
        check: NOT_NEGATIVE,
        effect: Applied,
        doc: "How long a compacted topic keeps tombstones, and the markers of transactions of which nothing is left, from the first compaction on that has seen them: a reader that takes no longer to reach the end from the beginning misses no deletion.",
        assign: |c, v| {
            c.delete_retention_ms = v.integer();
        },
    },
    Setting {
        name: "file.delete.delay.ms",
        kind: Long,
        default: "60000",
        check: NOT_NEGATIVE,
        effect: DELETED_AT_ONCE,
        doc: "Time between dropping a segment and removing its files.",
        assign: |c, v| {
            c.file_delete_delay_ms = v.integer();
        },
    },
    Setting {
        name: "flush.messages",
        kind: Long,
        default: "1",
        check: Check::Range(1, i64::MAX),
        effect: Applied,
        doc: "Records that are not on disk yet and are acknowledged all the same are fewer than this; a power failure can take them back. With 1, the default, every record is on disk before it is acknowledged. 9223372036854775807 means any number. Records are written to the disk at once in any case.",
        assign: |c, v| {
            c.flush_messages = v.unless_max();
        },
    },
    Setting {
        name: "flush.ms",
        kind: Long,
        default: "9223372036854775807",
        check: NOT_NEGATIVE,
        effect: Applied,
        doc: "Where `flush.messages` lets records be acknowledged before they are on disk: once one has waited for the disk for so long, none is until it is there. 9223372036854775807 means however long it takes.",
        assign: |c, v| {
            c.flush_ms = v.unless_max();
        },
    },
    Setting {
        name: "follower.replication.throttled.replicas",
        kind: List,
        default: "",
        check: Check::Any,
        effect: THROTTLE,
        doc: "Replicas whose followers are throttled.",
        assign: |c, v| {
            c.follower_replication_throttled_replicas = v.list().to_vec();
        },
    },
    Setting {
        name: "index.interval.bytes",
        kind: Int,
        default: "4096",
        check: Check::Range(0, i32::MAX as i64),
        effect: Applied,
        doc: "Bytes of records between two entries of the offset index, at least: indexes are kept in memory, and less than 65536 counts as 65536, which a disk reads in microseconds.",
        assign: |c, v| {
            c.index_interval_bytes = v.small();
        },
    },
    Setting {
        name: "leader.replication.throttled.replicas",
        kind: List,
        default: "",
        check: Check::Any,
        effect: THROTTLE,
        doc: "Replicas whose leaders are throttled.",
        assign: |c, v| {
            c.leader_replication_throttled_replicas = v.list().to_vec();
        },
    },
    Setting {
        name: "local.retention.bytes",
        kind: Long,
        default: "-2",
        check: Check::Range(-2, i64::MAX),
        effect: TIERED,
        doc: "Size that local segments may reach once they are offloaded; -2 means `retention.bytes`.",
        assign: |c, v| {
            c.local_retention_bytes = Some(v.integer()).filter(|n| *n != -2);
        },
    },
    Setting {
        name: "local.retention.ms",
        kind: Long,
        default: "-2",
        check: Check::Range(-2, i64::MAX),
        effect: TIERED,
        doc: "Age that local segments may reach once they are offloaded; -2 means `retention.ms`.",
        assign: |c, v| {
            c.local_retention_ms = Some(v.integer()).filter(|n| *n != -2);
        },
    },
    Setting {
        name: "max.compaction.lag.ms",
        kind: Long,
        default: "9223372036854775807",
        check: Check::Range(1, i64::MAX),
        effect: Applied,
        doc: "Age from which a record is compacted whatever `min.cleanable.dirty.ratio` says. Segments are ended early for it.",
        assign: |c, v| {
            c.max_compaction_lag_ms = v.integer();
        },
    },
    Setting {
        name: "max.message.bytes",
        kind: Int,
        default: "1048588",
        check: Check::Range(0, BATCH_BYTES_MAX as i64),
        effect: Applied,
        doc: "Largest record batch accepted, as compressed by its producer.",
        assign: |c, v| {
            c.max_message_bytes = v.small();
        },
    },
    Setting {
        name: "message.timestamp.after.max.ms",
        kind: Long,
        default: "3600000",
        check: NOT_NEGATIVE,
        effect: Applied,
        doc: "How far ahead of the broker's clock a record's own time may be.",
        assign: |c, v| {
            c.message_timestamp_after_max_ms = v.integer();
        },
    },
    Setting {
        name: "message.timestamp.before.max.ms",
        kind: Long,
        default: "9223372036854775807",
        check: NOT_NEGATIVE,
        effect: Applied,
        doc: "How far behind the broker's clock a record's own time may be.",
        assign: |c, v| {
            c.message_timestamp_before_max_ms = v.integer();
        },
    },
    Setting {
        name: "message.timestamp.type",
        kind: String,
        default: "CreateTime",
        check: Check::OneOf(&["CreateTime", "LogAppendTime"]),
        effect: Applied,
        doc: "Whether a record carries its producer's time or the time of its append.",
        assign: |c, v| {
            c.message_timestamp_type = if v.text() == "LogAppendTime" {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            };
        },
    },
    Setting {
        name: "min.cleanable.dirty.ratio",
        kind: Double,
        default: "0.5",
        check: Check::Ratio(0.0, 1.0),
        effect: Applied,
        doc: "Share of bytes that were not compacted yet, above which a partition is. The lower it is, the fewer records there are that have a newer one of their key, and the more often all the rest is written anew.",
        assign: |c, v| {
            c.min_cleanable_dirty_ratio = v.double();
        },
    },
    Setting {
        name: "min.compaction.lag.ms",
        kind: Long,
        default: "0",
        check: NOT_NEGATIVE,
        effect: Applied,
        doc: "Age before which no record is compacted, so that readers that are not further behind see each one.",
        assign: |c, v| {
            c.min_compaction_lag_ms = v.integer();
        },
    },
    Setting {
        name: "min.insync.replicas",
        kind: Int,
        default: "1",
        check: Check::Range(1, i32::MAX as i64),
        effect: Applied,
        doc: "In-sync replicas without which a produce request with `acks=all` is refused.",
        assign: |c, v| {
            c.min_insync_replicas = v.small();
        },
    },
    Setting {
        name: "preallocate",
        kind: Boolean,
        default: "false",
        check: Check::Any,
        effect: PREALLOCATE,
        doc: "Whether a segment's file is allocated in full when it is created.",
        assign: |c, v| {
            c.preallocate = v.boolean();
        },
    },
    Setting {
        name: "remote.log.copy.disable",
        kind: Boolean,
        default: "false",
        check: Check::Any,
        effect: TIERED,
        doc: "Stops offloading while what is offloaded stays readable.",
        assign: |c, v| {
            c.remote_log_copy_disable = v.boolean();
        },
    },
    Setting {
        name: "remote.log.delete.on.disable",
        kind: Boolean,
        default: "false",
        check: Check::Any,
        effect: TIERED,
        doc: "Drops offloaded records when offloading is turned off.",
        assign: |c, v| {
            c.remote_log_delete_on_disable = v.boolean();
        },
    },
    Setting {
        name: "remote.storage.enable",
        kind: Boolean,
        default: "false",
        check: Check::Any,
        effect: TIERED,
        doc: "Offloads closed segments to object storage.",
        assign: |c, v| {
            c.remote_storage_enable = v.boolean();
        },
    },
    Setting {
        name: "retention.bytes",
        kind: Long,
        default: "-1",
        check: Check::Range(-1, i64::MAX),
        effect: Applied,
        doc: "Size at which a partition drops its oldest segments; -1 means never.",
        assign: |c, v| {
            c.retention_bytes = v.unless_negative().map(i64::unsigned_abs);
        },
    },
    Setting {
        name: "retention.ms",
        kind: Long,
        default: "604800000",
        check: Check::Range(-1, i64::MAX),
        effect: Applied,
        doc: "Age at which a partition drops a segment; -1 means never.",
        assign: |c, v| {
            c.retention_ms = v.unless_negative();
        },
    },
    Setting {
        name: "segment.bytes",
        kind: Int,
        default: "1073741824",
        check: Check::Range(MIB as i64, SEGMENT_BYTES_MAX as i64),
        effect: Applied,
        doc: "Size at which a segment is closed and the next one begun. No batch can be larger.",
        assign: |c, v| {
            c.segment_bytes = v.small();
        },
    },
    Setting {
        name: "segment.index.bytes",
        kind: Int,
        default: "10485760",
        check: Check::Range(4, i32::MAX as i64),
        effect: Applied,
        doc: "Size of a segment's index, 16 bytes an entry, at which the segment is closed.",
        assign: |c, v| {
            c.segment_index_bytes = v.small();
        },
    },
    Setting {
        name: "segment.jitter.ms",
        kind: Long,
        default: "0",
        check: NOT_NEGATIVE,
        effect: Applied,
        doc: "Largest random time taken off `segment.ms`, so that segments do not all close at once.",
        assign: |c, v| {
            c.segment_jitter_ms = v.integer();
        },
    },
    Setting {
        name: "segment.ms",
        kind: Long,
        default: "604800000",
        check: Check::Range(1, i64::MAX),
        effect: Applied,
        doc: "Age at which a segment is closed even if it is not full, so that retention can drop it.",
        assign: |c, v| {
            c.segment_ms = v.integer();
        },
    },
    Setting {
        name: "unclean.leader.election.enable",
        kind: Boolean,
        default: "false",
        check: Check::Any,
        effect: UNCLEAN,
        doc: "Whether a replica outside the in-sync set may lead, losing records.",
        assign: |c, v| {
            c.unclean_leader_election_enable = v.boolean();
        },
    },
];

impl Default for TopicConfig {
    fn default() -> Self {
        let mut config = Self::unset();
        for setting in TOPIC_SETTINGS {
            let value = setting.parse(setting.default).expect("a test parses every default of the table");
            (setting.assign)(&mut config, &value);
        }
        config
    }
}

impl TopicConfig {
    /// The settings of a topic that has `overrides` (Kafka names) on top of the broker's `defaults`.
    pub fn from_overrides(
        defaults: &Self,
        overrides: &BTreeMap<std::string::String, std::string::String>,
    ) -> Result<Self, SettingError> {
        let mut config = defaults.clone();
        for (name, text) in overrides {
            let setting = find(TOPIC_SETTINGS, name)?;
            (setting.assign)(&mut config, &setting.parse(text)?);
        }
        config.check_relations()?;
        Ok(config)
    }
}

/// Checks one override by itself: the name is known and the value allowed.
pub fn validate_override(name: &str, value: &str) -> Result<(), SettingError> {
    find(TOPIC_SETTINGS, name)?.parse(value).map(|_| ())
}

/// The setting of that name, if there is one.
pub fn topic_setting(name: &str) -> Option<&'static Setting<TopicConfig>> {
    TOPIC_SETTINGS.iter().find(|setting| setting.name == name)
}
