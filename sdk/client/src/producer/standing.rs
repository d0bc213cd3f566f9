//! Where a transactional producer stands: whether a transaction is open, and what has gone wrong in it. No I/O.
//!
//! What goes wrong first decides: a failure ends what may be done in a transaction but for aborting it, a fatal one
//! ends the producer.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::TransactionError;

#[derive(Debug, Default)]
struct Now {
    open: bool,
    /// The transaction has written something, or may have.
    written: bool,
    failure: Option<TransactionError>,
    /// How the last transaction ended is not known: the coordinator is to end it before the next.
    unsettled: bool,
    fatal: Option<TransactionError>,
}

#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) transactional_id: Arc<str>,
    now: Mutex<Now>,
    /// Rings when something has gone wrong: what waits for acknowledgements need not wait any more.
    pub(crate) failed: Notify,
}

impl Standing {
    pub(crate) fn new(transactional_id: Arc<str>) -> Self {
        Self { transactional_id, now: Mutex::default(), failed: Notify::new() }
    }

    /// Opens a transaction, if none is open. `true` if how the last one ended has to be settled first.
    pub(crate) fn begin(&self) -> Result<bool, TransactionError> {
        let mut now = self.now.lock();
        if let Some(fatal) = &now.fatal {
            return Err(fatal.clone());
        }
        if now.open {
            return Err(TransactionError::AlreadyOpen {
                transactional_id: self.transactional_id.to_string(),
            });
        }
        (now.open, now.written, now.failure) = (true, false, None);
        Ok(now.unsettled)
    }

    pub(crate) fn settled(&self) {
        self.now.lock().unsettled = false;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.now.lock().open
    }

    /// Something is about to be written.
    pub(crate) fn writes(&self) -> Result<(), TransactionError> {
        let mut now = self.now.lock();
        if let Some(error) = now.fatal.as_ref().or(now.failure.as_ref()) {
            return Err(error.clone());
        }
        now.written = true;
        Ok(())
    }

    pub(crate) fn has_written(&self) -> bool {
        self.now.lock().written
    }

    pub(crate) fn failure(&self) -> Option<TransactionError> {
        let now = self.now.lock();
        now.fatal.clone().or_else(|| now.failure.clone())
    }

    /// Outside of a transaction there is nothing to fail: what is late belongs to one that was aborted.
    pub(crate) fn fail(&self, error: TransactionError) {
        let mut now = self.now.lock();
        if error.is_fatal() {
            now.fatal.get_or_insert(error);
        } else if now.open {
            now.failure.get_or_insert(error);
        }
        drop(now);
        self.failed.notify_waiters();
    }

    pub(crate) fn end(&self, unsettled: bool) {
        let mut now = self.now.lock();
        now.open = false;
        now.unsettled |= unsettled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &str) -> TransactionError {
        TransactionError::Failed { transactional_id: "x".to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn the_first_failure_ends_a_transaction_and_the_next_one_is_free_of_it() {
        let standing = Standing::new(Arc::from("x"));
        assert!(!standing.begin().unwrap());
        assert!(matches!(standing.begin(), Err(TransactionError::AlreadyOpen { .. })));
        assert!(!standing.has_written());
        standing.writes().unwrap();
        assert!(standing.has_written());
        standing.fail(failure("first"));
        standing.fail(failure("second"));
        assert!(standing.writes().unwrap_err().to_string().contains("first"));
        standing.end(true);
        standing.fail(failure("late"));
        assert!(standing.begin().unwrap(), "the last one is not settled");
        standing.settled();
        assert!(standing.failure().is_none());
        standing.writes().unwrap();
    }

    #[test]
    fn a_fenced_producer_stays_fenced() {
        let standing = Standing::new(Arc::from("x"));
        standing.begin().unwrap();
        standing.fail(TransactionError::Fenced { transactional_id: "x".to_owned() });
        standing.end(false);
        assert!(matches!(standing.begin(), Err(TransactionError::Fenced { .. })));
    }
}
