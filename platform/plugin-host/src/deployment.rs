//! A deployment: a module with its grants, limits and place. Idle, it is no more than this description.

use std::sync::Arc;

use millrace_base::Clock;
use wasmtime::component::InstancePre;

use crate::grants::Grants;
use crate::imports::http::Egress;
use crate::imports::linker;
use crate::imports::log::{GuestLog, LogAllowance, LogLevel};
use crate::library::{LoadError, Loaded};
use crate::limits::CallLimits;
use crate::module::{Kind, ModuleDigest};
use crate::packing::OutputLimits;
use crate::run::State;
use crate::shared::HostShared;

/// What a deployment is made of.
#[derive(Clone, Debug)]
pub struct DeploymentSpec {
    pub name: String,
    /// Grows with each change; an operator's number, told to the guest.
    pub version: u32,
    pub module: ModuleDigest,
    pub kind: Kind,
    /// The input topic.
    pub topic: String,
    /// The output topics of a transform, in the order of their indexes.
    pub outputs: Vec<String>,
    pub config: Vec<(String, String)>,
    pub grants: Grants,
    pub limits: CallLimits,
    /// Lines below it are not kept.
    pub log_level: LogLevel,
}

/// A deployment on this host; see [`crate::PluginHost::deployment`].
pub struct Deployment {
    spec: DeploymentSpec,
    host: Arc<HostShared>,
    log_name: Arc<str>,
    log_allowance: Arc<LogAllowance>,
    allowed_http: Arc<[crate::HttpTarget]>,
    seed: u128,
}

impl Deployment {
    pub(crate) fn new(spec: DeploymentSpec, host: Arc<HostShared>) -> Self {
        let mut seed = [0; 16];
        // The module and its input decide, not the deployment's name: a replay may have another.
        seed.copy_from_slice(&spec.module.0[..16]);
        Self {
            log_name: spec.name.as_str().into(),
            log_allowance: Arc::new(LogAllowance::new(spec.limits.log_lines_per_second)),
            allowed_http: spec.grants.http.as_slice().into(),
            seed: u128::from_le_bytes(seed),
            spec,
            host,
        }
    }

    pub const fn spec(&self) -> &DeploymentSpec {
        &self.spec
    }

    pub const fn kind(&self) -> Kind {
        self.spec.kind
    }

    pub const fn module(&self) -> ModuleDigest {
        self.spec.module
    }

    pub const fn limits(&self) -> &CallLimits {
        &self.spec.limits
    }

    /// Log lines that were dropped since the last one that was kept.
    pub fn log_lines_dropped(&self) -> u64 {
        self.log_allowance.dropped()
    }

    pub(crate) const fn grants(&self) -> &Grants {
        &self.spec.grants
    }

    pub(crate) const fn host(&self) -> &Arc<HostShared> {
        &self.host
    }

    pub(crate) const fn seed(&self) -> u128 {
        self.seed
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.host.clock()
    }

    pub(crate) fn output_limits(&self) -> OutputLimits {
        let limits = &self.spec.limits;
        OutputLimits {
            outputs: u32::try_from(self.spec.outputs.len()).unwrap_or(u32::MAX),
            bytes: limits.output_bytes,
            records: limits.output_records,
            block_bytes: limits.block_bytes,
        }
    }

    pub(crate) fn guest_log(&self, partition: u32) -> GuestLog {
        GuestLog {
            sink: self.host.log_sink(),
            allowance: Arc::clone(&self.log_allowance),
            deployment: Arc::clone(&self.log_name),
            version: self.spec.version,
            partition,
            level: self.spec.log_level,
        }
    }

    pub(crate) fn egress(&self) -> Egress {
        let client = (!self.allowed_http.is_empty()).then(|| self.host.http_client());
        Egress { client, allowed: Arc::clone(&self.allowed_http) }
    }

    pub(crate) fn link<'a>(&self, loaded: &'a Loaded) -> Result<&'a InstancePre<State>, LoadError> {
        let capabilities = self.spec.grants.capabilities();
        loaded.link(capabilities, || linker(&self.host.engine().engine, capabilities))
    }
}
