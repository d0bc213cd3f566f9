//! The life of a listener, as its tasks see it.

use std::future::Future;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// No new connections or requests; those in flight finish.
    Draining,
    /// Everything ends now.
    Aborting,
}

/// One task's view. Only the listener changes the phase, and only forward.
#[derive(Clone)]
pub(crate) struct PhaseWatch(watch::Receiver<Phase>);

impl PhaseWatch {
    pub(crate) const fn new(receiver: watch::Receiver<Phase>) -> Self {
        Self(receiver)
    }

    pub(crate) fn current(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is `phase` or later.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        // A listener that is gone has ended everything.
        let _ = self.0.wait_for(|current| *current >= phase).await;
    }

    /// Waits for a phase later than the one at the call.
    pub(crate) fn changes(mut self) -> impl Future<Output = ()> + Send {
        let seen = self.current();
        async move {
            let _ = self.0.wait_for(|current| *current > seen).await;
            if seen == Phase::Aborting {
                std::future::pending::<()>().await;
            }
        }
    }
}
