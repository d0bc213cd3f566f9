//! What a deployment is granted, as it is written down. Secrets show their names only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Capability;

/// A value that is never printed. It is written out in what is stored and sent, and taken out of every
/// description with [`GrantDefinitions::redacted`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

/// What stands in a description in the place of a secret.
pub(super) const REDACTED: &str = "***";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrantDefinitions {
    /// Hosts, each `[http://|https://]host[:port]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
    /// Secrets by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretText>,
    /// Connection strings (`postgres://user:password@host/database`) by the name that the plugin uses.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub postgres: BTreeMap<String, SecretText>,
    /// Capabilities that a module may import although nothing of them is granted by name: it finds nothing.
    /// For plugins that use one only if they are configured to.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed: BTreeSet<Capability>,
}

impl GrantDefinitions {
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.secrets.is_empty() && self.postgres.is_empty() && self.allowed.is_empty()
    }

    /// Whether a module may import `capability`.
    pub fn grants(&self, capability: Capability) -> bool {
        let named = match capability {
            Capability::Http => !self.http.is_empty(),
            Capability::Secrets => !self.secrets.is_empty(),
            Capability::Postgres => !self.postgres.is_empty(),
        };
        named || self.allowed.contains(&capability)
    }

    /// The name of a value that was taken out by [`Self::redacted`].
    pub(super) fn redacted_name(&self) -> Option<&str> {
        let mut values = self.secrets.iter().chain(&self.postgres);
        values.find(|(_, value)| value.0 == REDACTED).map(|(name, _)| name.as_str())
    }

    /// The same with every secret value replaced.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let hide = |values: &BTreeMap<String, SecretText>| {
            values.keys().map(|name| (name.clone(), SecretText(REDACTED.to_owned()))).collect()
        };
        Self {
            http: self.http.clone(),
            secrets: hide(&self.secrets),
            postgres: hide(&self.postgres),
            allowed: self.allowed.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_grant_names_its_secrets_and_tells_none() {
        let mut grants = GrantDefinitions::default();
        grants.secrets.insert("token".into(), SecretText("hunter2".into()));
        grants.postgres.insert("main".into(), SecretText("postgres://u:hunter2@h/d".into()));
        let json = serde_json::to_string(&grants.redacted()).unwrap();
        assert!(json.contains("token") && json.contains("main") && !json.contains("hunter2"), "{json}");
        assert!(!format!("{grants:?}").contains("hunter2"));
    }
}
