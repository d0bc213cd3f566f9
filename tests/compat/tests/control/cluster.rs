//! What is asked about the cluster: versions, brokers, coordinators, producers' ids.

use millrace_compat_tests::control::Pair;
use millrace_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, FindCoordinatorRequest, InitProducerIdRequest,
    MetadataRequest, ProducerId,
};

use crate::support::text;

pub fn compare(pair: &mut Pair) {
    for (name, version) in [("control", "1.0"), ("", ""), ("-a", "1"), ("a b", "1"), ("ok", "1_0")] {
        pair.compare_all(&format!("software '{name}' '{version}'"), |_, api_version| {
            if api_version < 3 {
                return ApiVersionsRequest::default();
            }
            ApiVersionsRequest::default()
                .with_client_software_name(text(name))
                .with_client_software_version(text(version))
        });
    }
    for with_operations in [false, true] {
        pair.compare_all(&format!("operations {with_operations}"), |_, _| {
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(with_operations)
        });
        pair.compare_all(&format!("no topics, operations {with_operations}"), |_, version| {
            let request = MetadataRequest::default().with_topics(Some(Vec::new()));
            if (8..=10).contains(&version) {
                return request.with_include_cluster_authorized_operations(with_operations);
            }
            request
        });
    }
    for kind in [1, 2, 3] {
        pair.compare_all(&format!("endpoints of type {kind}"), |_, version| {
            let request = DescribeClusterRequest::default();
            if version == 0 { request } else { request.with_endpoint_type(kind) }
        });
    }
    for (kind, keys) in [(3, vec!["g"]), (-1, vec!["g"]), (0, vec![]), (1, vec![""]), (2, vec!["g"])] {
        pair.compare_all(&format!("coordinator of type {kind} {keys:?}"), |_, version| {
            let request = FindCoordinatorRequest::default();
            let request = if version >= 1 { request.with_key_type(kind) } else { request };
            if version >= 4 {
                return request.with_coordinator_keys(keys.iter().map(|key| text(key)).collect());
            }
            request.with_key(text(keys.first().copied().unwrap_or_default()))
        });
    }
    for (id, epoch) in [(-1, -1), (-1, 5), (7, -1), (-5, -5)] {
        pair.compare_all(&format!("producer {id} epoch {epoch}"), |_, version| {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(1_000);
            if version < 3 {
                return request;
            }
            request.with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
        });
    }
}
