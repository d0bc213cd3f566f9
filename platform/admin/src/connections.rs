//! Connections of the HTTP side. They share descriptors with the log, so there are so many and no more, and none stays
//! without a use.
//!
//! | wait | what bounds it |
//! |---|---|
//! | for a request's head, and between two requests | [`AdminLimits::head_timeout`] |
//! | for a body | a pace, see [`api`](crate::api) |
//! | for the peer to read an answer | [`AdminLimits::stall_timeout`] without a byte read |
//! | for a place among [`AdminLimits::connections_max`] | the connection that has been without a request for the longest makes room |
//!
//! So whoever opens connections and says nothing on them holds up nobody, probes least of all.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::stream::Unstalled;

/// What the HTTP side can be made to hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct AdminLimits {
    /// Open connections: more than the probes, scrapers and people that one broker has.
    pub connections_max: usize,
    /// From the beginning of a connection, or the end of a request, to the end of the next one's head.
    pub head_timeout: Duration,
    /// Without a byte of an answer taken by the peer.
    pub stall_timeout: Duration,
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            head_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Pause after a failed accept: it fails when descriptors or memory are short, and goes on failing until some are freed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Failures of accept are reported once in this many, each being worth a line only as a group.
const ACCEPT_ERRORS_PER_LINE: u64 = 200;

/// Accepts and serves until `stopped`, and ends with the last request.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: AdminLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Places::new(limits.connections_max);
    let mut connections = JoinSet::new();
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = is_true(&mut stopped) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                if failures % ACCEPT_ERRORS_PER_LINE == 0 {
                    tracing::warn!(%error, "cannot accept HTTP connections, trying again");
                }
                failures += 1;
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let place = tokio::select! {
            place = places.take() => place,
            () = is_true(&mut stopped) => break,
        };
        connections.spawn(serve_one(stream, router.clone(), limits, place, stopped.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until it is told so, or by nobody any more.
async fn is_true(told: &mut watch::Receiver<bool>) {
    // A sender that is gone tells the same.
    let _ = told.wait_for(|told| *told).await;
}

async fn serve_one(
    stream: TcpStream,
    router: Router,
    limits: AdminLimits,
    place: Place,
    mut stopped: watch::Receiver<bool>,
) {
    let resting = Arc::new(Resting::begin(place));
    let unwanted = Arc::clone(&resting.leave);
    let service = Counted { inner: TowerToHyperService::new(router), resting };
    let io = TokioIo::new(Unstalled::new(stream, limits.stall_timeout));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(io, service)
    );
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an HTTP connection ended");
                }
                return;
            }
            () = unwanted.notified() => return,
            () = is_true(&mut stopped), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The router, which tells when a request is worked on.
struct Counted {
    inner: TowerToHyperService<Router>,
    resting: Arc<Resting>,
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.resting.works();
        let (answer, resting) = (self.inner.call(request), Arc::clone(&self.resting));
        Box::pin(async move {
            let answer = answer.await;
            resting.rests();
            answer
        })
    }
}

/// The places of all connections, and who is without a request.
struct Places {
    free: Arc<Semaphore>,
    queue: Arc<Mutex<Queue>>,
}

/// Connections without a request, the longest first.
#[derive(Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// One connection's place.
struct Place {
    _permit: OwnedSemaphorePermit,
    queue: Arc<Mutex<Queue>>,
}

impl Places {
    fn new(connections_max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(connections_max)), queue: Arc::default() }
    }

    /// A place as soon as there is one. Where there is none, the connection that has rested for the longest leaves.
    async fn take(&self) -> Place {
        if self.free.available_permits() == 0
            && let Some((_, longest)) = self.queue.lock().waiting.pop_first()
        {
            longest.notify_one();
        }
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Place { _permit: permit.expect("the semaphore is never closed"), queue: Arc::clone(&self.queue) }
    }
}

/// One connection's part in the queue.
struct Resting {
    place: Place,
    /// Told when the place is wanted for another.
    leave: Arc<Notify>,
    position: Mutex<Option<u64>>,
}

impl Resting {
    fn begin(place: Place) -> Self {
        let resting = Self { place, leave: Arc::default(), position: Mutex::default() };
        resting.rests();
        resting
    }

    /// Without a request from now on.
    fn rests(&self) {
        let mut queue = self.place.queue.lock();
        let position = queue.next;
        queue.next += 1;
        queue.waiting.insert(position, Arc::clone(&self.leave));
        drop(queue);
        *self.position.lock() = Some(position);
    }

    /// Not to be disturbed from now on.
    fn works(&self) {
        if let Some(position) = self.position.lock().take() {
            self.place.queue.lock().waiting.remove(&position);
        }
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        self.works();
    }
}
