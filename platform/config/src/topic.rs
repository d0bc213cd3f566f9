//! The effective settings of one topic, typed.

use crate::setting::SettingError;

/// What happens to old records (`cleanup.policy`). Both may be on, never neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Whole segments go when they are too old or the partition too large.
    pub delete: bool,
    /// Only the newest record of each key is kept.
    pub compact: bool,
}

/// Which time a record carries (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// How batches are compressed at rest (`compression.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them: batches are not encoded again.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// All settings of one topic. Sizes are bytes, times milliseconds; `None` means unlimited.
///
/// [`TOPIC_SETTINGS`](crate::TOPIC_SETTINGS) documents each, with its Kafka name, default and whether it takes effect.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    pub cleanup_policy: CleanupPolicy,
    pub compression_type: CompressionType,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    /// Records that are acknowledged before they are on disk are fewer. `Some(1)`, the default: none.
    pub flush_messages: Option<u64>,
    /// How long one of those may wait for the disk before no more are acknowledged before they are there.
    pub flush_ms: Option<u64>,
    pub follower_replication_throttled_replicas: Vec<String>,
    pub leader_replication_throttled_replicas: Vec<String>,
    pub index_interval_bytes: u32,
    /// `None`: as `retention_bytes`.
    pub local_retention_bytes: Option<i64>,
    /// `None`: as `retention_ms`.
    pub local_retention_ms: Option<i64>,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: u32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: u32,
    pub preallocate: bool,
    pub remote_log_copy_disable: bool,
    pub remote_log_delete_on_disable: bool,
    pub remote_storage_enable: bool,
    pub retention_bytes: Option<u64>,
    pub retention_ms: Option<i64>,
    pub segment_bytes: u32,
    pub segment_index_bytes: u32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election_enable: bool,
}

impl TopicConfig {
    /// True when a record must be on disk before it is acknowledged, the default.
    pub fn sync_before_ack(&self) -> bool {
        self.flush_messages == Some(1) || self.flush_ms == Some(0)
    }

    /// What no single setting can check: compaction's lags have to be ordered.
    pub(crate) fn check_relations(&self) -> Result<(), SettingError> {
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            return Err(SettingError::value(
                "min.compaction.lag.ms",
                &self.min_compaction_lag_ms.to_string(),
                format!("at most max.compaction.lag.ms, which is {}", self.max_compaction_lag_ms),
            ));
        }
        Ok(())
    }

    /// A value whose every field the table overwrites.
    pub(crate) fn unset() -> Self {
        Self {
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            compression_type: CompressionType::Producer,
            compression_gzip_level: 0,
            compression_lz4_level: 0,
            compression_zstd_level: 0,
            delete_retention_ms: 0,
            file_delete_delay_ms: 0,
            flush_messages: None,
            flush_ms: None,
            follower_replication_throttled_replicas: Vec::new(),
            leader_replication_throttled_replicas: Vec::new(),
            index_interval_bytes: 0,
            local_retention_bytes: None,
            local_retention_ms: None,
            max_compaction_lag_ms: 0,
            max_message_bytes: 0,
            message_timestamp_after_max_ms: 0,
            message_timestamp_before_max_ms: 0,
            message_timestamp_type: TimestampType::CreateTime,
            min_cleanable_dirty_ratio: 0.0,
            min_compaction_lag_ms: 0,
            min_insync_replicas: 0,
            preallocate: false,
            remote_log_copy_disable: false,
            remote_log_delete_on_disable: false,
            remote_storage_enable: false,
            retention_bytes: None,
            retention_ms: None,
            segment_bytes: 0,
            segment_index_bytes: 0,
            segment_jitter_ms: 0,
            segment_ms: 0,
            unclean_leader_election_enable: false,
        }
    }
}
