//! The listener's life: bound before it is announced, stopped within a deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_protocol::plugins::PluginService;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connections::{self, AdminLimits};
use crate::{Readiness, routes};

/// What the paths answer from.
#[derive(Clone)]
pub struct AdminOptions {
    pub registry: Registry,
    /// Asked at each probe; must be quick.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Answers requests about plugins; without it they are refused.
    pub plugins: Option<Arc<dyn PluginService>>,
    /// Names that this broker goes by, besides `localhost`: who manages plugins may call it by these or by an address.
    pub names: Vec<String>,
    pub limits: AdminLimits,
}

/// Why the HTTP side did not start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(
        "listen for HTTP on {address}: {source} (another address can be given with --http or http.address)"
    )]
    Bind { address: SocketAddr, source: io::Error },
}

/// The running HTTP side. Dropping it stops it at once.
#[derive(Debug)]
pub struct AdminServer {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Starts serving on `address`; port 0 picks a free one.
pub async fn serve(address: SocketAddr, options: AdminOptions) -> Result<AdminServer, AdminError> {
    let bind_error = |source| AdminError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind_error)?;
    let local_addr = listener.local_addr().map_err(bind_error)?;
    let (stop, stopped) = watch::channel(false);
    let limits = options.limits;
    let task = tokio::spawn(connections::serve(listener, routes::router(options), limits, stopped));
    Ok(AdminServer { local_addr, stop, task })
}

impl AdminServer {
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections and gives open requests until `deadline` from now.
    pub async fn shutdown(mut self, deadline: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(deadline, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
