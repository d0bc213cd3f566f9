//! Who leads a partition since when, and waiting for another to do.

use std::sync::Weak;

use millrace_base::{LeaderEpoch, TopicPartition};

use crate::state::State;

/// The epoch in which this broker leads the partition.
pub(super) fn leadership(state: &State, id: TopicPartition) -> Option<LeaderEpoch> {
    let partition = state.partitions.find(id.topic, id.partition)?;
    partition.leading(LeaderEpoch::UNKNOWN).ok()
}

/// Completes when that is another than `seen`. A broker that is gone leads nothing.
pub(super) async fn beyond(
    state: Weak<State>,
    id: TopicPartition,
    seen: Option<LeaderEpoch>,
) -> Option<LeaderEpoch> {
    let Some(mut applied) = state.upgrade().map(|state| state.partitions.applied()) else {
        return gone(seen).await;
    };
    loop {
        // Before the look, so that nothing that happens between the two is missed.
        applied.borrow_and_update();
        let now = state.upgrade().and_then(|state| leadership(&state, id));
        if now != seen {
            return now;
        }
        if applied.changed().await.is_err() {
            return gone(seen).await;
        }
    }
}

async fn gone(seen: Option<LeaderEpoch>) -> Option<LeaderEpoch> {
    if seen.is_none() {
        std::future::pending::<()>().await;
    }
    None
}
