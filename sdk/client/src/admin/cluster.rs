//! Brokers and their data directories.

use millrace_protocol::ErrorCode;
use millrace_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use millrace_protocol::messages::{DescribeClusterRequest, DescribeLogDirsRequest};

use super::{Admin, BrokerInfo, ClusterInfo, LogDirInfo, ReplicaSize};
use crate::error::{RequestError, check};

impl Admin {
    pub async fn describe_cluster(&self) -> Result<ClusterInfo, RequestError> {
        let request = DescribeClusterRequest::default();
        let response = self.cluster().ask_any(|broker| {
            let request = request.clone();
            async move { broker.request(request).await }
        });
        let response = response.await?;
        let what = || "the cluster".to_owned();
        check("DescribeCluster", what, response.error_code, response.error_message.as_deref())?;
        let brokers = response.brokers.into_iter().map(|broker| BrokerInfo {
            id: broker.broker_id.0,
            host: broker.host.to_string(),
            port: u16::try_from(broker.port).unwrap_or_default(),
            rack: broker.rack.map(|rack| rack.to_string()),
        });
        Ok(ClusterInfo {
            cluster_id: response.cluster_id.to_string(),
            controller: Some(response.controller_id.0).filter(|id| *id >= 0),
            brokers: brokers.collect(),
        })
    }

    /// Data directories of one broker with the sizes of the replicas in them.
    pub async fn describe_log_dirs(&self, broker: i32) -> Result<Vec<LogDirInfo>, RequestError> {
        let asked = self.cluster().broker(broker).ok_or_else(|| RequestError::Refused {
            api: "DescribeLogDirs",
            what: format!("broker {broker}"),
            code: ErrorCode::BrokerNotAvailable.code(),
            name: "BrokerNotAvailable".to_owned(),
            message: "the cluster has no such broker; describe_cluster lists those it has".to_owned(),
            retriable: false,
        })?;
        let response = asked.request(DescribeLogDirsRequest::default().with_topics(None)).await?;
        check("DescribeLogDirs", || format!("broker {broker}"), response.error_code, None)?;
        Ok(response.results.iter().map(log_dir).collect())
    }
}

fn log_dir(result: &DescribeLogDirsResult) -> LogDirInfo {
    let replicas = result.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| ReplicaSize {
            topic: topic.name.0.to_string(),
            partition: partition.partition_index,
            bytes: u64::try_from(partition.partition_size).unwrap_or_default(),
        })
    });
    LogDirInfo {
        path: result.log_dir.to_string(),
        error: ErrorCode::try_from_code(result.error_code).map(|code| format!("{code:?}")),
        total_bytes: u64::try_from(result.total_bytes).ok(),
        usable_bytes: u64::try_from(result.usable_bytes).ok(),
        replicas: replicas.collect(),
    }
}
