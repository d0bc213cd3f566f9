//! Measures how much processor time an instance's future takes, and keeps the engine's clock going meanwhile.
//!
//! It is the thread's processor time, not the wall's: on a loaded machine a guest that waits for its turn is
//! not one that runs too long. Reading it takes a system call, two for each poll.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::engine::Ticker;

/// Processor time in nanoseconds. Read by the guest's deadline callback while the future that it runs in is
/// polled, on the same thread.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Of the polls that have returned.
    busy: AtomicU64,
    /// The thread's when the poll that is under way began.
    polled: AtomicU64,
    /// What `busy` was when the call began.
    call_began: AtomicU64,
}

impl Meter {
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
        let poll = thread_time().saturating_sub(self.polled.load(Ordering::Relaxed));
        self.call_busy() + Duration::from_nanos(poll)
    }

    fn poll_begins(&self) {
        self.polled.store(thread_time(), Ordering::Relaxed);
    }

    fn poll_ends(&self) {
        let poll = thread_time().saturating_sub(self.polled.load(Ordering::Relaxed));
        self.busy.fetch_add(poll, Ordering::Relaxed);
    }
}

/// Processor time of the calling thread.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = Duration::try_from(time).map_or(0, |time| time.as_nanos());
    u64::try_from(nanos).unwrap_or(u64::MAX)
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
