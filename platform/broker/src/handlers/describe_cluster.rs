//! DescribeCluster (0 to 2): the brokers and who controls them (KIP-700).

use millrace_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use millrace_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::lookup::{NO_BROKER, wire_text};
use super::operations::{ON_CLUSTER, told_if};
use crate::call::Call;

/// From this version on a client says whether it speaks to brokers or controllers (KIP-919).
const HAS_ENDPOINT_TYPE: i16 = 1;
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(call: &Call, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let state = &call.state;
    if call.version >= HAS_ENDPOINT_TYPE && request.endpoint_type != BROKERS {
        let (error, message) = if request.endpoint_type == CONTROLLERS {
            (ErrorCode::MismatchedEndpointType, "this is a broker's address, not a controller's".to_owned())
        } else {
            let message = format!("there is no endpoint type {}", request.endpoint_type);
            (ErrorCode::UnsupportedEndpointType, message)
        };
        return DescribeClusterResponse::default()
            .with_error_code(call.fail(error))
            .with_controller_id(NO_BROKER)
            .with_error_message(wire_text(message));
    }
    let image = state.metadata.image();
    let broker = |broker: &millrace_metadata::BrokerRegistration| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.id.0))
            .with_host(StrBytes::from_string(broker.host.clone()))
            .with_port(broker.port.into())
            .with_rack(broker.rack.clone().map(StrBytes::from_string))
    };
    DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(image.cluster_id().to_owned()))
        .with_controller_id(state.metadata.controller().map_or(NO_BROKER, |id| BrokerId(id.0)))
        .with_brokers(image.brokers().values().map(|known| broker(&known.registration)).collect())
        .with_cluster_authorized_operations(told_if(
            request.include_cluster_authorized_operations,
            ON_CLUSTER,
        ))
}
