//! What the replies of all connections hold in memory until their peers have read them.
//!
//! A short request can have a long answer, so a peer that does not read holds much for little. While replies hold as
//! much as they should, a pipeline gets no further one before the last, and peers that do not go on reading are given up
//! sooner than otherwise. While they hold four times as much no request is started at all. What one will be answered
//! with is not known before, so the last may go beyond.

use std::sync::Arc;
use std::time::Duration;

use millrace_base::{Payload, Piece};
use prometheus::IntGauge;

/// Where requests wait, as a multiple of where memory is short: honest peers need not notice that others do not read.
const FULL: i64 = 4;
/// How often those who wait look again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The budget. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ReplyMemory(Arc<Inner>);

struct Inner {
    held: IntGauge,
    most: i64,
}

impl ReplyMemory {
    pub(crate) fn new(most: usize, held: IntGauge) -> Self {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Self(Arc::new(Inner { held, most }))
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.0.held.add(bytes as i64);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.held.sub(bytes as i64);
    }

    pub(crate) fn is_short(&self) -> bool {
        self.0.held.get() >= self.0.most
    }

    fn is_full(&self) -> bool {
        self.0.held.get() >= self.0.most.saturating_mul(FULL)
    }

    /// Waits while replies hold so much that nobody may ask for more.
    pub(crate) async fn room(&self) {
        while self.is_full() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// The bytes of a payload that are in memory, as opposed to in files.
pub(crate) fn in_memory(payload: &Payload) -> usize {
    let bytes = |piece: &Piece| if matches!(piece, Piece::Bytes(_)) { piece.len() } else { 0 };
    payload.pieces().iter().map(bytes).sum()
}
