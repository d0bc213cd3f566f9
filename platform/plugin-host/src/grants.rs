//! What a deployment may reach: each thing by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::imports::postgres::Database;
use crate::module::{Capability, ModuleError, ModuleInfo};

/// A value that appears in no listing and no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub const fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the guest that it was granted to.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Hosts that HTTP requests may go to, written `[http://|https://]host[:port]`. A host may begin with `*.`
/// for all names below it; without a port it is the scheme's own. A name does not open loopback, link-local and
/// metadata addresses, wherever it leads, but for `localhost`; those are granted by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    scheme: Option<String>,
    host: String,
    port: Option<u16>,
}

/// A text that names no hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no host; write [http://|https://]host[:port], where the host may begin with `*.`")]
pub struct NotATarget(String);

impl FromStr for HttpTarget {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let wrong = || NotATarget(text.to_owned());
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme.to_owned()), rest),
            Some(_) => return Err(wrong()),
            None => (None, text),
        };
        // The last colon of an IPv6 address in brackets is not a port's.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().map_err(|_| wrong())?)),
            _ => (rest, None),
        };
        let name = host.strip_prefix("*.").unwrap_or(host);
        if name.is_empty() || name.contains(['*', '/', '@', ' ', '?', '#']) {
            return Err(wrong());
        }
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl HttpTarget {
    /// Whether a request to `host` may be sent; `port` is `None` where the request names none.
    pub(crate) fn allows(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let own = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        let host = host.to_ascii_lowercase();
        let same_host = match self.host.strip_prefix('*') {
            // What is left begins with a dot, so that `*.a.b` is not `ba.b`.
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => host == self.host,
        };
        same_host
            && self.scheme.as_deref().is_none_or(|wanted| wanted == scheme)
            && port.unwrap_or(own) == self.port.unwrap_or(own)
    }
}

/// Which capabilities something is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CapabilitySet(u8);

impl CapabilitySet {
    pub const COUNT: usize = 1 << Capability::ALL.len();

    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// A number below [`Self::COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().fold(0, |set, capability| set | 1 << capability as u8))
    }
}

/// What a deployment grants.
#[derive(Clone, Default)]
pub struct Grants {
    pub http: Vec<HttpTarget>,
    pub secrets: BTreeMap<String, Secret>,
    /// Databases by the name that the guest uses.
    pub postgres: BTreeMap<String, Arc<dyn Database>>,
    /// Capabilities that may be imported although nothing of them is named.
    pub allowed: BTreeSet<Capability>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("http", &self.http)
            .field("secrets", &self.secrets.keys())
            .field("postgres", &self.postgres.keys())
            .field("allowed", &self.allowed)
            .finish()
    }
}

impl Grants {
    /// Whether a module may import `capability`.
    pub fn grants(&self, capability: Capability) -> bool {
        let named = match capability {
            Capability::Http => !self.http.is_empty(),
            Capability::Secrets => !self.secrets.is_empty(),
            Capability::Postgres => !self.postgres.is_empty(),
        };
        named || self.allowed.contains(&capability)
    }

    pub(crate) fn capabilities(&self) -> CapabilitySet {
        Capability::ALL.into_iter().filter(|capability| self.grants(*capability)).collect()
    }

    /// Refuses a module that asks for what is not granted.
    pub fn check(&self, module: &ModuleInfo) -> Result<(), ModuleError> {
        match module.requests.iter().find(|request| !self.grants(request.capability)) {
            None => Ok(()),
            Some(request) => Err(ModuleError::NotGranted {
                import: request.import.clone(),
                capability: request.capability,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_exactly_what_it_says() {
        let allows = |target: &str, scheme: &str, host: &str, port| {
            target.parse::<HttpTarget>().unwrap().allows(scheme, host, port)
        };
        assert!(allows("example.com", "https", "Example.COM", None));
        assert!(allows("example.com", "http", "example.com", Some(80)));
        assert!(!allows("example.com", "https", "example.com", Some(8443)));
        assert!(allows("example.com:8443", "https", "example.com", Some(8443)));
        assert!(!allows("example.com:8443", "https", "example.com", None));
        assert!(!allows("https://example.com", "http", "example.com", None));
        assert!(allows("*.example.com", "https", "a.b.example.com", None));
        assert!(!allows("*.example.com", "https", "example.com", None));
        assert!(!allows("*.example.com", "https", "badexample.com", None));
        assert!(!allows("*.example.com", "https", ".example.com", None));
        assert!(allows("[::1]:9200", "http", "[::1]", Some(9200)));
        assert!(!allows("example.com", "ftp", "example.com", None));
        for wrong in ["", "*", "*.", "a/b", "ftp://a", "user@a", "a:b", "a:99999", "a.*.b"] {
            assert!(wrong.parse::<HttpTarget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secrets = BTreeMap::from([("token".to_owned(), Secret::new("hunter2".to_owned()))]);
        let grants = Grants { secrets, ..Grants::default() };
        let printed = format!("{grants:?} {:?}", grants.secrets);
        assert!(printed.contains("token") && !printed.contains("hunter2"), "{printed}");
    }
}
