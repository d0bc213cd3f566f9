//! API keys that Kafka does not use and Millrace has for its own requests.
//!
//! Kafka numbers its APIs from zero upward and is below 100; this range is far enough away never to meet it.
//! The frames and headers are Kafka's (request header v2, response header v1), the bodies are those of
//! [`crate::plugins`]. They are not listed in ApiVersions, whose readers need not know them.

use std::ops::RangeInclusive;

/// Keys of Millrace's own APIs.
pub const PRIVATE_API_KEYS: RangeInclusive<i16> = 15_000..=15_999;

/// The version of all of them so far.
pub const PRIVATE_VERSION: i16 = 0;

/// Tag of a topic in a Metadata response: the name of the deployment that partitions it.
pub const PARTITIONER_TAG: i32 = 15_000;

/// A request of Millrace's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum PrivateApi {
    /// A [`crate::plugins::ManageRequest`] and its reply.
    ManagePlugins = 15_000,
    /// A [`crate::plugins::ModuleChunk`] and its reply.
    UploadModule = 15_001,
    /// A [`crate::plugins::PartitionRecords`] and its answer.
    PartitionRecords = 15_002,
}

impl PrivateApi {
    pub const ALL: [Self; 3] = [Self::ManagePlugins, Self::UploadModule, Self::PartitionRecords];

    pub fn from_key(api_key: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| *api as i16 == api_key)
    }

    pub const fn key(self) -> i16 {
        self as i16
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::ManagePlugins => "ManagePlugins",
            Self::UploadModule => "UploadModule",
            Self::PartitionRecords => "PartitionRecords",
        }
    }
}

/// Whether `api_key` belongs to Millrace and not to Kafka.
pub const fn is_private(api_key: i16) -> bool {
    api_key >= *PRIVATE_API_KEYS.start() && api_key <= *PRIVATE_API_KEYS.end()
}
