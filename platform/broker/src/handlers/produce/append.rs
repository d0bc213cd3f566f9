//! One partition's part of a produce request.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::LeaderEpoch;
use millrace_log::Appended;
use millrace_metadata::Topic;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{Batch, split_batches};
use millrace_protocol::compression::Codec;

use crate::checked_append::{self, Failure};
use crate::dispatch::Call;
use crate::handlers::lookup;
use crate::partition::Partition;

/// From this version on zstd may be used (KIP-110).
const ALLOWS_ZSTD: i16 = 7;

/// Checks and appends `records`. `replicated` tells that the producer wants all replicas to have them.
pub(super) fn append(
    call: &Call,
    topic: &Topic,
    index: i32,
    records: Option<Bytes>,
    replicated: bool,
) -> Result<(Arc<Partition>, Appended), Failure> {
    if lookup::is_written_by_brokers_only(&topic.name) {
        let message = format!("topic '{}' is written by brokers only", topic.name);
        return Err(Failure::because(ErrorCode::InvalidTopicException, message));
    }
    let partition = lookup::led_here(&call.state, topic, index, LeaderEpoch::UNKNOWN)?;
    let max_bytes = partition.role().config.max_message_bytes as usize;
    let batches = split_batches(records.unwrap_or_default(), max_bytes)?;
    check_codecs(&batches, call.version)?;
    let appended = checked_append::append(&partition, &batches, call.state.clock.now_ms(), replicated)?;
    Ok((partition, appended))
}

fn check_codecs(batches: &[Batch], version: i16) -> Result<(), Failure> {
    if version >= ALLOWS_ZSTD {
        return Ok(());
    }
    for batch in batches {
        if batch.header.attributes.codec()? == Codec::Zstd {
            let message = format!("zstd needs Produce version {ALLOWS_ZSTD}, this is {version}");
            return Err(Failure::because(ErrorCode::UnsupportedCompressionType, message));
        }
    }
    Ok(())
}
