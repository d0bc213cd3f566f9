//! Modules that no deployment needs any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::Deployment;
use millrace_protocol::plugins::ModuleDigest;
use parking_lot::Mutex;

use super::Service;

/// A module without a deployment is kept for so long after its upload, for the deployment to come.
const UPLOADED_KEPT: Duration = Duration::from_secs(60 * 60);

/// Modules that must stay for now, and for how many.
#[derive(Default)]
pub(super) struct Pins(Mutex<HashMap<ModuleDigest, usize>>);

/// Keeps a module while it lives.
pub(super) struct Pin {
    pins: Arc<Pins>,
    module: ModuleDigest,
}

impl Pins {
    pub fn pin(self: &Arc<Self>, module: ModuleDigest) -> Pin {
        *self.0.lock().entry(module).or_default() += 1;
        Pin { pins: Arc::clone(self), module }
    }

    fn holds(&self, module: ModuleDigest) -> bool {
        self.0.lock().contains_key(&module)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        if let Some(count) = pins.get_mut(&self.module) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.module);
            }
        }
    }
}

impl Service {
    /// Removes all modules that nothing names and that were not uploaded of late. What cannot be removed is
    /// left for the next time.
    pub async fn collect_garbage(&self) {
        let stored = match self.parts.modules.stored().await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, "modules that no deployment needs are not looked for");
                return;
            }
        };
        let oldest_kept_ms = self.parts.clock.now_ms() - UPLOADED_KEPT.as_millis() as i64;
        let old = stored.into_iter().filter(|module| module.uploaded_ms <= oldest_kept_ms);
        self.remove_unneeded(old.map(|module| module.digest).collect()).await;
    }

    /// Removes the modules of a deployment that is gone, but for those that were uploaded again since for
    /// another.
    pub(super) async fn remove_modules_of(&self, deployment: &Deployment) {
        let mut deployed: HashMap<ModuleDigest, i64> = HashMap::new();
        for version in &deployment.versions {
            let last = deployed.entry(version.definition.module).or_insert(version.created_ms);
            *last = version.created_ms.max(*last);
        }
        let Ok(stored) = self.parts.modules.stored().await else { return };
        let unneeded = stored
            .into_iter()
            .filter(|module| deployed.get(&module.digest).is_some_and(|at| module.uploaded_ms <= *at));
        self.remove_unneeded(unneeded.map(|module| module.digest).collect()).await;
    }

    async fn remove_unneeded(&self, modules: Vec<ModuleDigest>) {
        let image = self.parts.metadata.image();
        let versions = image.deployments().flat_map(|deployment| &deployment.versions);
        let named: HashSet<ModuleDigest> = versions.map(|version| version.definition.module).collect();
        for module in modules {
            if named.contains(&module) || self.pins.holds(module) {
                continue;
            }
            if let Err(error) = self.parts.modules.remove(module).await {
                tracing::warn!(%module, %error, "remove a module that no deployment needs");
            }
            self.forget_compiled(module).await;
        }
    }

    async fn forget_compiled(&self, module: ModuleDigest) {
        let host = match (self.parts.host)() {
            Ok(host) => host,
            Err(error) => {
                tracing::warn!(%module, %error, "remove a module's compiled code");
                return;
            }
        };
        match tokio::task::spawn_blocking(move || host.forget(module)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%module, %error, "remove a module's compiled code"),
            Err(error) => tracing::warn!(%module, %error, "remove a module's compiled code"),
        }
    }
}
