//! Measures how long an instance's future is on a thread, and keeps the engine's clock going meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::engine::Ticker;

/// Time on a thread, in nanoseconds since the instance was started. Read by the guest's deadline callback
/// while the future that it runs in is polled.
#[derive(Debug)]
pub(super) struct Meter {
    created: Instant,
    /// Of the polls that have returned.
    busy: AtomicU64,
    /// When the poll that is under way began.
    polled: AtomicU64,
    /// What `busy` was when the call began.
    call_began: AtomicU64,
}

impl Meter {
    pub fn new() -> Self {
        let zero = AtomicU64::default;
        Self { created: Instant::now(), busy: zero(), polled: zero(), call_began: zero() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn begin_call(&self) {
        self.call_began.store(self.busy.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Time of the call's polls that have returned.
    pub fn call_busy(&self) -> Duration {
        let began = self.call_began.load(Ordering::Relaxed);
        Duration::from_nanos(self.busy.load(Ordering::Relaxed).saturating_sub(began))
    }

    /// The same with the poll that is under way.
    pub fn call_busy_now(&self) -> Duration {
        let poll = self.now().saturating_sub(self.polled.load(Ordering::Relaxed));
        self.call_busy() + Duration::from_nanos(poll)
    }

    fn poll_begins(&self) {
        self.polled.store(self.now(), Ordering::Relaxed);
    }

    fn poll_ends(&self) {
        let poll = self.now().saturating_sub(self.polled.load(Ordering::Relaxed));
        self.busy.fetch_add(poll, Ordering::Relaxed);
    }
}

/// A future that runs a guest.
pub(super) struct Metered<'a, F> {
    future: Pin<Box<F>>,
    meter: Arc<Meter>,
    ticker: &'a Ticker,
}

impl<'a, F: Future> Metered<'a, F> {
    pub fn new(meter: Arc<Meter>, ticker: &'a Ticker, future: F) -> Self {
        Self { future: Box::pin(future), meter, ticker }
    }
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.poll_begins();
        let _running = self.ticker.running();
        let polled = self.future.as_mut().poll(context);
        self.meter.poll_ends();
        polled
    }
}
