//! Which version of an API to speak: the highest that both sides know.

use std::collections::HashMap;

use millrace_protocol::messages::{ApiKey, ApiVersionsResponse};

/// The last version of AddPartitionsToTxn that is a client's; later ones are spoken between brokers.
const ADD_PARTITIONS_TO_TXN_MAX: i16 = 3;

/// The feature that says how transactions are done (KIP-890).
const TRANSACTION_VERSION: &str = "transaction.version";

/// What one broker serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    ranges: HashMap<i16, (i16, i16)>,
    transaction_version: i16,
}

impl Versions {
    pub(crate) fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        let mut features = response.finalized_features.iter();
        let transactions = features.find(|feature| &*feature.name == TRANSACTION_VERSION);
        let transaction_version = transactions.map_or(0, |feature| feature.max_version_level);
        Self { ranges: ranges.collect(), transaction_version }
    }

    /// How the cluster does transactions, by its feature `transaction.version`; 0 where it does not say.
    pub(crate) const fn transaction_version(&self) -> i16 {
        self.transaction_version
    }

    /// Whether the broker serves `key` at all in a version that this client speaks.
    pub(crate) fn serves(&self, key: ApiKey) -> bool {
        self.pick(key).is_ok()
    }

    /// The version to use, or a description of why there is none.
    pub(crate) fn pick(&self, key: ApiKey) -> Result<i16, String> {
        let mut ours = key.valid_versions();
        if key == ApiKey::AddPartitionsToTxn {
            ours.max = ours.max.min(ADD_PARTITIONS_TO_TXN_MAX);
        }
        let Some((min, max)) = self.ranges.get(&(key as i16)).copied() else {
            return Err("the broker does not list it".to_owned());
        };
        let version = max.min(ours.max);
        if version < min || version < ours.min {
            return Err(format!("broker {min} to {max}, client {} to {}", ours.min, ours.max));
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use millrace_protocol::messages::api_versions_response::ApiVersion;

    use super::*;

    fn broker_serving(key: ApiKey, min: i16, max: i16) -> Versions {
        let api = ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max);
        Versions::from_response(&ApiVersionsResponse::default().with_api_keys(vec![api]))
    }

    #[test]
    fn the_highest_common_version_is_spoken() {
        let ours = ApiKey::Produce.valid_versions();
        assert_eq!(broker_serving(ApiKey::Produce, 0, 9).pick(ApiKey::Produce), Ok(9));
        assert_eq!(broker_serving(ApiKey::Produce, 0, 99).pick(ApiKey::Produce), Ok(ours.max));
    }

    #[test]
    fn no_common_version_is_said_so() {
        assert!(broker_serving(ApiKey::Produce, 0, 2).pick(ApiKey::Produce).is_err());
        assert!(broker_serving(ApiKey::Produce, 98, 99).pick(ApiKey::Produce).is_err());
        assert!(broker_serving(ApiKey::Produce, 0, 9).pick(ApiKey::Fetch).is_err());
    }

    #[test]
    fn what_brokers_say_among_themselves_is_not_spoken() {
        let key = ApiKey::AddPartitionsToTxn;
        assert_eq!(broker_serving(key, 0, 5).pick(key), Ok(ADD_PARTITIONS_TO_TXN_MAX));
    }
}
