//! What is said about plugins: modules, deployments, and the requests that manage and use them.
//!
//! Kafka has no such requests. These travel under private API keys ([`crate::private`]) on the same frames, and
//! as JSON over HTTP: one set of types for the client, the command line, REST and the broker. Who answers them
//! stands behind [`PluginService`].
//!
//! Version rule: a field or a variant may be added; unknown fields of a definition are errors, so that a typing
//! mistake is not silently ignored.

mod definition;
mod describe;
mod frames;
mod grants;
mod manage;
mod module;
mod service;

pub use definition::{
    Backoff, DEPLOYMENT_NAME_LEN_MAX, Definition, DefinitionError, FailurePolicy, LimitOverrides, LogLevel,
    RETRIES, StartPosition, check_deployment_name,
};
pub use describe::{
    DeploymentState, Description, PartitionProgress, PartitionState, Replay, Summary, VersionInfo,
};
pub use frames::{ModuleChunk, PartitionRecords, PluginFrameError, from_json, json};
pub use grants::{GrantDefinitions, SecretText};
pub use manage::{ErrorKind, ManageReply, ManageRequest, PluginError, UploadReply};
pub use module::{Capability, Kind, ModuleDigest, ModuleInfo, NotADigest, Request};
pub use service::PluginService;
