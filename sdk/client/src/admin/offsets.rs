//! Looking up offsets and deleting records, at the partitions' leaders.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use millrace_protocol::messages::{BrokerId, DeleteRecordsRequest, ListOffsetsRequest};

use super::{Admin, ListedOffset, OffsetSpec, only, topic_name};
use crate::cluster::{Broker, Cluster};
use crate::error::{RequestError, check};

impl Admin {
    /// Deletes the records of a partition before `before` (-1: all that are committed); returns the new first
    /// offset.
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        before: i64,
    ) -> Result<i64, RequestError> {
        let wanted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
        let wanted = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![wanted]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(self.timeout_ms());
        let leader = self.cluster().leader(topic, partition).await?;
        let response = leader.request(request).await?;
        let result = only("DeleteRecords", &only("DeleteRecords", &response.topics)?.partitions)?;
        check("DeleteRecords", || format!("{topic}-{partition}"), result.error_code, None)?;
        Ok(result.low_watermark)
    }

    /// Looks up one offset in each of `partitions`, in their order.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<Vec<ListedOffset>, RequestError> {
        list_offsets(self.cluster(), topic, partitions, spec, false).await
    }
}

/// The lookup behind [`Admin::list_offsets`] and a consumer's positions. `committed` leaves out what open
/// transactions hold back.
pub(crate) async fn list_offsets(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
    spec: OffsetSpec,
    committed: bool,
) -> Result<Vec<ListedOffset>, RequestError> {
    let mut by_leader: BTreeMap<i32, (Arc<Broker>, Vec<i32>)> = BTreeMap::new();
    for &partition in partitions {
        let leader = cluster.leader(topic, partition).await?;
        by_leader.entry(leader.id).or_insert_with(|| (leader, Vec::new())).1.push(partition);
    }
    let mut found = BTreeMap::new();
    for (leader, asked) in by_leader.values() {
        let request = request(topic, asked, spec, committed);
        let response = leader.request(request).await?;
        for result in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let what = || format!("{topic}-{}", result.partition_index);
            check("ListOffsets", what, result.error_code, None)?;
            found.insert(result.partition_index, listed(result));
        }
    }
    let missing = |partition: &i32| RequestError::Malformed {
        api: "ListOffsets",
        broker: "the leader".to_owned(),
        reason: format!("no offset for {topic}-{partition}"),
    };
    partitions
        .iter()
        .map(|partition| found.get(partition).copied().ok_or_else(|| missing(partition)))
        .collect()
}

fn request(topic: &str, partitions: &[i32], spec: OffsetSpec, committed: bool) -> ListOffsetsRequest {
    let timestamp = match spec {
        OffsetSpec::Latest => -1,
        OffsetSpec::Earliest => -2,
        OffsetSpec::MaxTimestamp => -3,
        OffsetSpec::Timestamp(timestamp) => timestamp,
    };
    let partition =
        |index: &i32| ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.iter().map(partition).collect());
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(committed))
        .with_topics(vec![topic])
}

fn listed(result: &ListOffsetsPartitionResponse) -> ListedOffset {
    ListedOffset {
        partition: result.partition_index,
        offset: Some(result.offset).filter(|offset| *offset >= 0),
        timestamp: Some(result.timestamp).filter(|timestamp| *timestamp >= 0),
        leader_epoch: result.leader_epoch,
    }
}
