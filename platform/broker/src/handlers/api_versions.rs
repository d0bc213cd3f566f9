//! ApiVersions (0 to 4): which APIs and versions are served here (KIP-35, KIP-511).

use millrace_protocol::ErrorCode;
use millrace_protocol::StrBytes;
use millrace_protocol::api::SERVED;
use millrace_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use millrace_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use crate::call::Call;

/// From this version on the answer tells what brokers can do and have agreed to do (KIP-584).
const TELLS_FEATURES: i16 = 3;
/// From this version on a feature may be supported from level 0 on.
const TELLS_LEVEL_0: i16 = 4;
/// What the metadata can say, from 3.3 to 4.1 by Kafka's count.
const METADATA_VERSION: &str = "metadata.version";
const METADATA_LEVELS: (i16, i16) = (7, 27);
/// Transactions as of KIP-890, each with an epoch of its own.
const TRANSACTION_VERSION: &str = "transaction.version";
const TRANSACTION_LEVELS: (i16, i16) = (0, 2);
/// From this version on clients name their software.
const NAMES_SOFTWARE: i16 = 3;

pub(crate) async fn handle(call: &Call, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = [&request.client_software_name, &request.client_software_version];
    if call.version >= NAMES_SOFTWARE && !named.iter().all(|name| is_software_name(name)) {
        return ApiVersionsResponse::default().with_error_code(call.fail(ErrorCode::InvalidRequest));
    }
    let response = ApiVersionsResponse::default().with_api_keys(served());
    if call.version < TELLS_FEATURES {
        return response;
    }
    let features = [(METADATA_VERSION, METADATA_LEVELS), (TRANSACTION_VERSION, TRANSACTION_LEVELS)];
    let supported = features.iter().filter(|(_, (min, _))| *min > 0 || call.version >= TELLS_LEVEL_0);
    let supported = supported.map(|(name, (min, max))| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(name))
            .with_min_version(*min)
            .with_max_version(*max)
    });
    let finalized = features.iter().map(|(name, (_, max))| {
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str(name))
            .with_min_version_level(*max)
            .with_max_version_level(*max)
    });
    let epoch = i64::try_from(call.state.metadata.image().applied_index()).unwrap_or(i64::MAX);
    response
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(epoch)
}

/// The answer to a version that is not served, itself of version 0: the client looks up a better one in it.
pub(crate) fn unsupported_version(call: &Call) -> ApiVersionsResponse {
    let code = call.fail(ErrorCode::UnsupportedVersion);
    ApiVersionsResponse::default().with_error_code(code).with_api_keys(served())
}

fn served() -> Vec<ApiVersion> {
    let version = |spec: &millrace_protocol::api::ApiSpec| {
        ApiVersion::default()
            .with_api_key(spec.key as i16)
            .with_min_version(spec.advertised_min)
            .with_max_version(spec.max)
    };
    SERVED.iter().map(version).collect()
}

/// Kafka's rule: letters and digits, with dots and dashes between them.
fn is_software_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(|byte| inner(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kafkas_rule() {
        for name in ["apache-kafka-java", "librdkafka", "4.1.0", "v", "a--b"] {
            assert!(is_software_name(name), "{name}");
        }
        for name in ["", "-a", "a.", "a b", "ä", "a_b"] {
            assert!(!is_software_name(name), "{name}");
        }
    }
}
