//! Advances the engine's epoch while guests run, and sleeps while none does.
//!
//! A guest whose epoch deadline has passed calls back into the host, which stops it or lets it go on. A
//! broker whose plugins are idle wakes for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use wasmtime::{Engine, EngineWeak};

use crate::limits::EPOCH_TICK;

/// Ticks without a running guest before the thread sleeps: waking it costs a system call, which a plugin
/// that runs now and then shall not pay each time.
const LINGER_TICKS: u32 = 50;

pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    running: AtomicUsize,
    /// Whether the thread sleeps until it is woken.
    parked: AtomicBool,
    stopped: AtomicBool,
}

impl Ticker {
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let (own, engine) = (Arc::clone(&shared), engine.weak());
        let thread = thread::Builder::new().name("plugin-epoch".to_owned());
        let thread = thread.spawn(move || own.run(&engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Counts a guest as running until what is returned is dropped.
    pub fn running(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(&self.shared)
    }

    #[cold]
    fn wake(&self) {
        if self.shared.parked.swap(false, Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }

    /// Whether the thread sleeps.
    #[cfg(test)]
    pub fn is_parked(&self) -> bool {
        self.shared.parked.load(Ordering::SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only counts; it cannot have panicked.
            let _ = thread.join();
        }
    }
}

pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn run(&self, engine: &EngineWeak) {
        let mut idle_ticks = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            if self.running.load(Ordering::SeqCst) > 0 {
                idle_ticks = 0;
            } else {
                idle_ticks += 1;
            }
            if idle_ticks > LINGER_TICKS {
                self.sleep();
                idle_ticks = 0;
                continue;
            }
            thread::park_timeout(EPOCH_TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    }

    fn sleep(&self) {
        self.parked.store(true, Ordering::SeqCst);
        // Whoever starts a guest from here on sees the flag; whoever has before is seen here.
        while self.running.load(Ordering::SeqCst) == 0
            && self.parked.load(Ordering::SeqCst)
            && !self.stopped.load(Ordering::SeqCst)
        {
            thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn eventually(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "it has not come true in ten seconds");
            thread::yield_now();
        }
    }

    #[test]
    fn the_thread_sleeps_while_nothing_runs_and_wakes_for_the_next() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        eventually(|| ticker.is_parked());
        let running = ticker.running();
        eventually(|| !ticker.is_parked());
        drop(running);
        eventually(|| ticker.is_parked());
    }
}
