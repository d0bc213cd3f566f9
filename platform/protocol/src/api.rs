//! The APIs that a broker serves, and their versions.
//!
//! A version is served when Kafka 4.1 serves it as stable and `kafka-protocol` carries it.

use kafka_protocol::messages::ApiKey;

/// One served API. `ApiVersions` advertises `advertised_min..=max`; requests of `min..=max` are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiSpec {
    pub key: ApiKey,
    pub min: i16,
    pub max: i16,
    /// Lower than `min` only for Produce: librdkafka before 2.11 takes a broker without Produce v0 for one
    /// that has no compression codecs (KIP-896).
    pub advertised_min: i16,
}

impl ApiSpec {
    /// Whether a request of `version` is answered.
    pub const fn serves(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

const fn api(key: ApiKey, min: i16, max: i16) -> ApiSpec {
    ApiSpec { key, min, max, advertised_min: min }
}

/// Every served API, by key.
pub const SERVED: &[ApiSpec] = &[
    ApiSpec { key: ApiKey::Produce, min: 3, max: 13, advertised_min: 0 },
    api(ApiKey::Fetch, 4, 18),
    api(ApiKey::ListOffsets, 1, 10),
    api(ApiKey::Metadata, 0, 13),
    api(ApiKey::OffsetCommit, 2, 9),
    api(ApiKey::OffsetFetch, 1, 9),
    api(ApiKey::FindCoordinator, 0, 6),
    api(ApiKey::JoinGroup, 0, 9),
    api(ApiKey::Heartbeat, 0, 4),
    api(ApiKey::LeaveGroup, 0, 5),
    api(ApiKey::SyncGroup, 0, 5),
    api(ApiKey::DescribeGroups, 0, 6),
    api(ApiKey::ListGroups, 0, 5),
    api(ApiKey::ApiVersions, 0, 4),
    api(ApiKey::CreateTopics, 2, 7),
    api(ApiKey::DeleteTopics, 1, 6),
    api(ApiKey::DeleteRecords, 0, 2),
    api(ApiKey::InitProducerId, 0, 5),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4),
    api(ApiKey::AddPartitionsToTxn, 0, 5),
    api(ApiKey::EndTxn, 0, 5),
    api(ApiKey::WriteTxnMarkers, 1, 1),
    api(ApiKey::DescribeConfigs, 1, 4),
    api(ApiKey::AlterConfigs, 0, 2),
    api(ApiKey::DescribeLogDirs, 1, 4),
    api(ApiKey::CreatePartitions, 0, 3),
    api(ApiKey::DeleteGroups, 0, 2),
    api(ApiKey::IncrementalAlterConfigs, 0, 1),
    api(ApiKey::OffsetDelete, 0, 0),
    api(ApiKey::DescribeCluster, 0, 2),
    api(ApiKey::DescribeProducers, 0, 0),
    api(ApiKey::DescribeTransactions, 0, 0),
    api(ApiKey::ListTransactions, 0, 1),
    api(ApiKey::ConsumerGroupHeartbeat, 0, 1),
    api(ApiKey::ConsumerGroupDescribe, 0, 1),
    api(ApiKey::DescribeTopicPartitions, 0, 0),
];

/// What is served under `api_key`, if anything.
pub fn served(api_key: i16) -> Option<&'static ApiSpec> {
    SERVED.binary_search_by_key(&api_key, |spec| spec.key as i16).ok().map(|found| &SERVED[found])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_api_is_found() {
        for spec in SERVED {
            assert_eq!(served(spec.key as i16), Some(spec));
        }
        assert_eq!(served(-1), None);
        assert_eq!(served(9999), None);
    }

    #[test]
    fn every_served_version_is_one_that_the_messages_carry() {
        for spec in SERVED {
            let carried = spec.key.valid_versions();
            assert!(carried.min <= spec.min && spec.max <= carried.max, "{:?}", spec.key);
        }
    }
}
