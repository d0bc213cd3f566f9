//! What a worker is doing, for those who ask.

use millrace_base::Offset;
use millrace_protocol::plugins::PartitionState;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A moment of a worker's.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub state: PartitionState,
    /// The next record to be dealt with; `None` until the worker has found where it begins.
    pub offset: Option<Offset>,
    pub error: Option<String>,
    pub backtrace: Option<String>,
}

/// See the module's text.
pub(crate) struct Status {
    now: Mutex<Snapshot>,
    placed: Notify,
}

impl Default for Status {
    fn default() -> Self {
        let now = Snapshot { state: PartitionState::Idle, offset: None, error: None, backtrace: None };
        Self { now: Mutex::new(now), placed: Notify::new() }
    }
}

impl Status {
    pub fn snapshot(&self) -> Snapshot {
        self.now.lock().clone()
    }

    pub fn offset(&self) -> Option<Offset> {
        self.now.lock().offset
    }

    /// The worker knows where it begins, or has come further.
    pub fn at(&self, offset: Offset) {
        let first = self.now.lock().offset.replace(offset).is_none();
        if first {
            self.placed.notify_waiters();
        }
    }

    /// Works, or waits for work; whatever was wrong is over.
    pub fn set(&self, state: PartitionState) {
        let mut now = self.now.lock();
        now.state = state;
        (now.error, now.backtrace) = (None, None);
    }

    /// Something is wrong.
    pub fn failing(&self, state: PartitionState, error: String, backtrace: Option<String>) {
        let mut now = self.now.lock();
        now.state = state;
        (now.error, now.backtrace) = (Some(error), backtrace);
    }

    /// Waits until the worker knows where it begins.
    pub async fn placed(&self) {
        loop {
            let placed = self.placed.notified();
            if self.offset().is_some() {
                return;
            }
            placed.await;
        }
    }
}
