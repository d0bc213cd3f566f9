//! Who goes when, among the requests of one stream that must not overtake each other.

use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// Gives out turns in the order in which they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last: Option<oneshot::Receiver<()>>,
}

/// Comes when the turn before it has been used or dropped.
#[derive(Debug)]
pub(super) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Its drop is what the next turn waits for.
    _held: Option<oneshot::Sender<()>>,
}

impl Turns {
    pub(super) fn next(&mut self) -> Turn {
        let (held, ended) = oneshot::channel();
        Turn { before: self.last.replace(ended), _held: Some(held) }
    }
}

impl Turn {
    /// A turn of its own, before and after nobody.
    pub(super) const fn now() -> Self {
        Self { before: None, _held: None }
    }

    /// Does `work` when its turn has come.
    pub(super) async fn then<T>(self, work: impl FnOnce() -> BoxFuture<'static, T>) -> T {
        if let Some(before) = self.before {
            // An error is what is waited for: nothing is ever sent.
            let _ = before.await;
        }
        work().await
    }
}
