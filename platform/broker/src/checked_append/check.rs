//! The checks of one batch, and what the broker changes of it: the header's maximum timestamp where it is not
//! that of the records, and the codec where the topic has one of its own.
//!
//! The rules are those of Kafka's `LogValidator`, but for two: records are numbered one after the other in
//! uncompressed batches, too, and a client's `LogAppendTime` is refused whatever the topic's type is.

use millrace_base::limits::BATCH_BYTES_MAX;
use millrace_config::{CompressionType, TimestampType, TopicConfig};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{self, Batch, BatchHeader, Demands, Examined, RecordFault};
use millrace_protocol::compression::Codec;

use super::{Failure, Origin};

/// The batch as it is to be appended to a topic with these settings.
pub(super) fn check(
    batch: &Batch,
    config: &TopicConfig,
    now_ms: i64,
    origin: Origin,
) -> Result<Batch, Failure> {
    if origin == Origin::Broker && header_tells_all(&batch.header, config, now_ms) {
        return Ok(batch.clone());
    }
    batch.verify()?;
    let attributes = batch.header.attributes;
    let create_time = config.message_timestamp_type == TimestampType::CreateTime;
    let timestamps = now_ms.saturating_sub(config.message_timestamp_before_max_ms)
        ..=now_ms.saturating_add(config.message_timestamp_after_max_ms);
    let found = batch.examine(&Demands {
        // What readers expand a batch to: beyond, nobody could consume it.
        max_expanded: BATCH_BYTES_MAX,
        keys: config.cleanup_policy.compact,
        timestamps: create_time.then_some(timestamps),
    })?;
    if attributes.timestamp_type() == batch::TimestampType::LogAppendTime {
        let message = "the batch's timestamp type is LogAppendTime, which only a broker may set";
        return Err(Failure::because(ErrorCode::InvalidTimestamp, message));
    }
    if found.fault_count > 0 {
        return Err(refused(&found, config, now_ms));
    }
    let mut batch = batch.clone();
    batch.header.correct_max_timestamp(found.max_timestamp);
    match own_codec(config) {
        Some((codec, level)) if codec != attributes.codec()? => {
            Ok(batch.recode(codec, level, found.expanded_bytes, config.max_message_bytes as usize)?)
        }
        _ => Ok(batch),
    }
}

/// Whether a header that is believed tells that the batch is taken as it is: the topic asks for nothing that only the
/// records show.
fn header_tells_all(header: &BatchHeader, config: &TopicConfig, now_ms: i64) -> bool {
    let in_time = match config.message_timestamp_type {
        TimestampType::LogAppendTime => true,
        TimestampType::CreateTime => {
            let latest = now_ms.saturating_add(config.message_timestamp_after_max_ms);
            config.message_timestamp_before_max_ms == i64::MAX && header.max_timestamp <= latest
        }
    };
    in_time && !config.cleanup_policy.compact && own_codec(config).is_none()
}

/// The codec that the topic stores, if it is not the producer's choice, and its level.
fn own_codec(config: &TopicConfig) -> Option<(Codec, Option<i32>)> {
    match config.compression_type {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => Some((Codec::None, None)),
        CompressionType::Gzip => {
            Some((Codec::Gzip, Some(config.compression_gzip_level).filter(|level| *level > 0)))
        }
        CompressionType::Snappy => Some((Codec::Snappy, None)),
        CompressionType::Lz4 => Some((Codec::Lz4, None)),
        CompressionType::Zstd => Some((Codec::Zstd, Some(config.compression_zstd_level))),
    }
}

/// As in Kafka, a wrong timestamp anywhere gives the code.
fn refused(found: &Examined, config: &TopicConfig, now_ms: i64) -> Failure {
    let late = found.faults.iter().find_map(|(index, fault)| match fault {
        RecordFault::Timestamp(timestamp_ms) => Some((index, timestamp_ms)),
        RecordFault::KeyMissing => None,
    });
    let count = found.fault_count;
    let (code, message) = match late {
        Some((index, timestamp_ms)) => (
            ErrorCode::InvalidTimestamp,
            format!(
                "{count} records of the batch are refused; record {index} has timestamp {timestamp_ms}, and the \
                 broker's time is {now_ms}: message.timestamp.before.max.ms is {}, \
                 message.timestamp.after.max.ms {}",
                config.message_timestamp_before_max_ms, config.message_timestamp_after_max_ms
            ),
        ),
        None => (
            ErrorCode::InvalidRecord,
            format!("{count} records of the batch have no key; the topic is compacted"),
        ),
    };
    let records = found.faults.iter().map(|(index, fault)| match fault {
        RecordFault::KeyMissing => (*index, "a record of a compacted topic needs a key"),
        RecordFault::Timestamp(_) => {
            (*index, "its timestamp is further from the broker's time than the topic allows")
        }
    });
    Failure { records: records.collect(), ..Failure::because(code, message) }
}

#[cfg(test)]
mod tests {
    use millrace_protocol::batch::{BatchBuilder, ProducerState};

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    /// A batch of the broker's own, without a key.
    fn header(timestamp_ms: i64) -> BatchHeader {
        let mut builder = BatchBuilder::default();
        builder.append(timestamp_ms, None, Some(b"v"), &[]);
        Batch::parse(builder.finish(Codec::None, ProducerState::NONE).unwrap()).unwrap().header
    }

    #[test]
    fn records_are_looked_at_where_the_topic_asks_for_what_no_header_tells() {
        let tells = |timestamp_ms, change: fn(&mut TopicConfig)| {
            let mut config = TopicConfig::default();
            change(&mut config);
            header_tells_all(&header(timestamp_ms), &config, NOW_MS)
        };
        const HOUR_MS: i64 = 3_600_000;
        assert!(tells(NOW_MS, |_| {}) && tells(NOW_MS + HOUR_MS, |_| {}));
        assert!(!tells(NOW_MS + HOUR_MS + 1, |_| {}), "too late");
        assert!(tells(NOW_MS + HOUR_MS + 1, |config| config.message_timestamp_type =
            TimestampType::LogAppendTime));
        assert!(!tells(NOW_MS, |config| config.message_timestamp_before_max_ms = HOUR_MS));
        assert!(!tells(NOW_MS, |config| config.cleanup_policy.compact = true), "keys are needed");
        assert!(
            !tells(NOW_MS, |config| config.compression_type = CompressionType::Zstd),
            "it is encoded anew"
        );
    }
}
