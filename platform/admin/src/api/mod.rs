//! REST over plugins: the requests of [`millrace_protocol::plugins`], as JSON under `/v1`.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /v1/plugins` | lists the deployments |
//! | `GET /v1/plugins/{name}` | describes one |
//! | `PUT /v1/plugins/{name}` | makes it, or its next version; `?validate_only=true` only checks |
//! | `DELETE /v1/plugins/{name}` | removes it |
//! | `POST /v1/plugins/{name}/pause`, `/resume` | as they say |
//! | `POST /v1/plugins/{name}/rollback` | runs the version before again, or that of `{"version": n}` |
//! | `POST /v1/plugins/{name}/replay` | sends the dead-letter topic through again, or that of `{"topic": "t"}` |
//! | `POST /v1/modules` | stores a module, its bytes being the body |
//! | `GET /v1/modules/{digest}` | says what a stored module is |
//!
//! A refusal is `{"error": …}` with the status that fits it. Whatever comes in is bounded: in size, by a pace that it
//! must keep, and in requests at a time. Nobody has to authenticate yet, so [`guard`] keeps out pages in the browsers
//! of those who can reach this port.

mod body;
mod deployments;
mod guard;
mod modules;
mod refusal;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use millrace_protocol::plugins::{ManageReply, ManageRequest, PluginService};
use tokio::sync::Semaphore;

use refusal::Refusal;

/// Requests at a time: more than people and their scripts need, few enough to hold their bodies.
const REQUESTS_MAX: usize = 64;
/// Modules on their way at a time, each held in memory until it is whole.
const UPLOADS_MAX: usize = 4;

/// What the handlers share.
#[derive(Clone)]
struct Api {
    service: Option<Arc<dyn PluginService>>,
    /// Names that the broker goes by.
    names: Arc<[String]>,
    requests: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

pub(crate) fn router(service: Option<Arc<dyn PluginService>>, names: Vec<String>) -> Router {
    let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
    let api = Api { service, names: names.into(), requests, uploads: Arc::new(Semaphore::new(UPLOADS_MAX)) };
    let deployment = get(deployments::describe).put(deployments::deploy).delete(deployments::delete);
    Router::new()
        .route("/plugins", get(deployments::list))
        .route("/plugins/{name}", deployment)
        .route("/plugins/{name}/pause", post(deployments::pause))
        .route("/plugins/{name}/resume", post(deployments::resume))
        .route("/plugins/{name}/rollback", post(deployments::rollback))
        .route("/plugins/{name}/replay", post(deployments::replay))
        .route("/modules", post(modules::upload))
        .route("/modules/{digest}", get(modules::inspect))
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
}

async fn not_allowed(method: Method) -> Refusal {
    Refusal::not_allowed(&method)
}

impl Api {
    fn service(&self) -> Result<&dyn PluginService, Refusal> {
        self.service.as_deref().ok_or_else(Refusal::not_served)
    }

    /// Has the service answer; what it says must be what was `expected`.
    async fn manage<T>(
        &self,
        request: ManageRequest,
        expected: impl FnOnce(ManageReply) -> Option<T>,
    ) -> Result<T, Refusal> {
        let reply = self.service()?.manage(request).await?;
        expected(reply).ok_or_else(|| Refusal::internal("the answer belongs to another kind of request"))
    }
}
