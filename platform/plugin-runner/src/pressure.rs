//! Tells workers that hold an instance without using it that others need one.

use tokio::sync::watch;

/// See the module's text. Cheap to ask, whoever waits takes no lock.
pub(crate) struct Pressure(watch::Sender<u64>);

impl Default for Pressure {
    fn default() -> Self {
        Self(watch::channel(0).0)
    }
}

impl Pressure {
    /// Somebody could not start an instance.
    pub fn raise(&self) {
        self.0.send_modify(|times| *times += 1);
    }

    /// Completes when somebody could not start an instance from now on.
    pub async fn raised(&self) {
        let mut times = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = times.changed().await;
    }
}
