//! What can be learned about a deployment.

use serde::{Deserialize, Serialize};

use super::{Definition, Kind, ModuleDigest};

/// Whether a deployment works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeploymentState {
    Running,
    /// By an operator.
    Paused,
    /// At least one partition stopped at a record that the plugin fails on.
    Halted,
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub name: String,
    pub kind: Kind,
    pub state: DeploymentState,
    pub version: u32,
    pub module: ModuleDigest,
    pub topic: String,
    pub outputs: Vec<String>,
    /// Records of the input that are not dealt with yet, over all partitions; 0 for a partitioner.
    pub lag: i64,
}

/// One version of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    pub version: u32,
    pub module: ModuleDigest,
    pub created_ms: i64,
}

/// What one input partition does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionState {
    /// Nothing to do, and no instance.
    Idle,
    Running,
    /// Waits to try again.
    Retrying,
    Paused,
    Halted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionProgress {
    pub partition: i32,
    pub state: PartitionState,
    /// The next record to be dealt with; `None` while what was committed is not read back yet.
    pub offset: Option<i64>,
    /// End of what may be read.
    pub end_offset: i64,
    /// Why it halts or retries.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Where in the plugin the error arose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backtrace: Option<String>,
}

impl PartitionProgress {
    /// Records that are not dealt with yet, as far as it is known.
    pub fn lag(&self) -> Option<i64> {
        self.offset.map(|offset| self.end_offset.saturating_sub(offset).max(0))
    }
}

/// A dead-letter topic on its way through a deployment once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub topic: String,
    /// Grows with every replay of the deployment.
    pub number: u32,
    /// Where each partition ended when it was asked for: the replay goes so far.
    pub until: Vec<i64>,
}

/// Everything about a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    pub name: String,
    pub state: DeploymentState,
    /// The version that runs.
    pub version: u32,
    pub created_ms: i64,
    /// The group under which its offsets are committed.
    pub group: String,
    /// Without the values of secrets.
    pub definition: Definition,
    /// All versions that are kept, the oldest first; `rollback` chooses among them.
    pub versions: Vec<VersionInfo>,
    pub partitions: Vec<PartitionProgress>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replay: Option<Replay>,
    /// Where a replay that is not finished stands; empty once it is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub replay_partitions: Vec<PartitionProgress>,
}
