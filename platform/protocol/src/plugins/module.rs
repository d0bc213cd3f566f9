//! Modules: their identity, what they are, and what they ask for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A module's identity: the SHA-256 of its bytes as they were uploaded. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleDigest(pub [u8; 32]);

impl ModuleDigest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a module's digest is a SHA-256 in 64 hexadecimal digits")]
pub struct NotADigest;

impl FromStr for ModuleDigest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(NotADigest);
        }
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = str::from_utf8(digits).map_err(|_| NotADigest)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotADigest)?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for ModuleDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModuleDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a module is for: the world of the contract that it implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Partitioner,
    Transform,
    Sink,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Partitioner, Self::Transform, Self::Sink];

    /// The world's name in the contract.
    pub const fn world(self) -> &'static str {
        match self {
            Self::Partitioner => "partitioner",
            Self::Transform => "transform",
            Self::Sink => "sink",
        }
    }

    /// The export that takes the batches; no two kinds share it.
    pub const fn export(self) -> &'static str {
        match self {
            Self::Partitioner => "partition",
            Self::Transform => "transform",
            Self::Sink => "deliver",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.world())
    }
}

/// What a deployment must grant before its module may import it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// HTTP requests to hosts that are named.
    Http,
    /// Secrets that are named.
    Secrets,
    /// PostgreSQL databases that are named.
    Postgres,
}

impl Capability {
    pub const ALL: [Self; 3] = [Self::Http, Self::Secrets, Self::Postgres];

    /// The name that `inspect`, `deploy` and the error messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Secrets => "secrets",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A capability that a module asks for, and the import that does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub capability: Capability,
    pub import: String,
}

/// What is known of a module without running it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    pub digest: ModuleDigest,
    pub kind: Kind,
    /// Version of `millrace:plugin` that it was built for; `None` if nothing in it says so.
    pub contract: Option<String>,
    /// What must be granted, with the imports that ask for it.
    pub requests: Vec<Request>,
    /// All imports, as the module names them.
    pub imports: Vec<String>,
    /// All exports.
    pub exports: Vec<String>,
    pub size_bytes: u64,
    /// A core module, of which the host makes a component.
    pub is_core_module: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_what_it_writes() {
        let digest = ModuleDigest::of(b"");
        let text = digest.to_string();
        assert_eq!(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!("e3".parse::<ModuleDigest>(), Err(NotADigest));
        assert_eq!(text.replace('b', "x").parse::<ModuleDigest>(), Err(NotADigest));
    }
}
