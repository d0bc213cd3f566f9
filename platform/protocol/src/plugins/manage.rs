//! Requests about deployments and their answers: JSON, over QUIC and over HTTP alike.

use serde::{Deserialize, Serialize};

use super::{Definition, Description, ModuleDigest, ModuleInfo, Summary};

/// Asks for one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum ManageRequest {
    /// What an uploaded module is and asks for.
    Inspect {
        module: ModuleDigest,
    },
    /// Makes the deployment, or its next version. The module is uploaded already.
    Deploy {
        name: String,
        definition: Box<Definition>,
        /// Only checks that it could be done.
        #[serde(default)]
        validate_only: bool,
    },
    List,
    Describe {
        name: String,
    },
    Pause {
        name: String,
    },
    /// Ends a pause, and has halted partitions try again.
    Resume {
        name: String,
    },
    /// Runs an earlier version again; without a number the one before the present.
    Rollback {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    },
    /// Sends a dead-letter topic through the deployment; without a name the one of its policy.
    Replay {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
    },
    /// Removes the deployment and its committed offsets.
    Delete {
        name: String,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManageReply {
    Module(ModuleInfo),
    Deployments(Vec<Summary>),
    /// The deployment as it is after the change; after a trial (`validate_only`), as it would be.
    Deployment(Box<Description>),
    Deleted,
}

/// The answer to a piece of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UploadReply {
    /// Send the bytes from here on.
    Continue { offset: u64 },
    /// All of it is stored durably.
    Stored(ModuleInfo),
}

/// What sort of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request is wrong; the same again will be refused again.
    Invalid,
    NotFound,
    /// It does not fit the present state of the cluster.
    Conflict,
    /// The plugin failed.
    Failed,
    /// Something is out of order here; later it may work.
    Unavailable,
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    pub kind: ErrorKind,
    /// Names the thing, the value, the limit and the way out.
    pub message: String,
}

impl PluginError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }
}
