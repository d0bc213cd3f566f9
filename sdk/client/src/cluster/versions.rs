//! Which version of an API to speak: the highest that both sides know.

use std::collections::HashMap;

use millrace_protocol::api::served;
use millrace_protocol::messages::{ApiKey, ApiVersionsResponse};

/// What one broker serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    ranges: HashMap<i16, (i16, i16)>,
}

impl Versions {
    pub(crate) fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        Self { ranges: ranges.collect() }
    }

    /// The version to use, or a description of why there is none.
    pub(crate) fn pick(&self, key: ApiKey) -> Result<i16, String> {
        let Some(ours) = served(key as i16) else {
            return Err("not in this client".to_owned());
        };
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
        let ours = served(ApiKey::Produce as i16).unwrap();
        assert_eq!(broker_serving(ApiKey::Produce, 0, 9).pick(ApiKey::Produce), Ok(9));
        assert_eq!(broker_serving(ApiKey::Produce, 0, 99).pick(ApiKey::Produce), Ok(ours.max));
    }

    #[test]
    fn no_common_version_is_said_so() {
        assert!(broker_serving(ApiKey::Produce, 0, 2).pick(ApiKey::Produce).is_err());
        assert!(broker_serving(ApiKey::Produce, 98, 99).pick(ApiKey::Produce).is_err());
        assert!(broker_serving(ApiKey::Produce, 0, 9).pick(ApiKey::Fetch).is_err());
    }
}
