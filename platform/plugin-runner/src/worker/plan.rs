//! What a worker is told.

use std::sync::Arc;

use millrace_plugin_host::Deployment;
use millrace_protocol::plugins::{FailurePolicy, StartPosition};

/// A deployment's version, as its workers need it.
#[derive(Clone)]
pub(crate) struct Plan {
    pub name: Arc<str>,
    pub version: u32,
    /// Grows when an operator has halted partitions try again.
    pub resumes: u32,
    pub deployment: Arc<Deployment>,
    pub outputs: Vec<Arc<str>>,
    pub policy: FailurePolicy,
    /// Repetitions of what the outside may take later, before the policy.
    pub retries: u32,
    pub dead_letter: Option<Arc<str>>,
    pub start: StartPosition,
}

impl Plan {
    /// Whether a worker that follows `self` has to do anything about `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.version, self.resumes) == (other.version, other.resumes)
    }
}

/// What to do from the next batch on.
#[derive(Clone)]
pub(crate) enum Order {
    Run(Arc<Plan>),
    /// End, with everything that is done committed.
    Stop,
}
