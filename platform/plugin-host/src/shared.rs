//! What all deployments of a host share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use millrace_base::Clock;

use crate::engine::PluginEngine;
use crate::imports::http::HttpClient;
use crate::imports::log::LogSink;
use crate::library::Library;

pub(crate) struct HostShared {
    pub engine: PluginEngine,
    pub library: Library,
    pub log: Arc<dyn LogSink>,
    pub clock: Arc<dyn Clock>,
    pub http: OnceLock<HttpClient>,
    pub starts: AtomicU64,
}

impl HostShared {
    pub const fn engine(&self) -> &PluginEngine {
        &self.engine
    }

    pub const fn library(&self) -> &Library {
        &self.library
    }

    pub fn log_sink(&self) -> Arc<dyn LogSink> {
        Arc::clone(&self.log)
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The client that all deployments share, made for the first that is granted any host.
    pub fn http_client(&self) -> HttpClient {
        self.http.get_or_init(HttpClient::new).clone()
    }

    pub fn count_start(&self) {
        self.starts.fetch_add(1, Ordering::Relaxed);
    }
}
