//! Ends transactions in the partitions that this broker leads.

use std::sync::{Arc, Weak};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_base::LeaderEpoch;
use millrace_coordinator::{MarkerFailure, Markers};
use millrace_log::AppendOrigin;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::TransactionMarker;

use crate::error_map::ToErrorCode;
use crate::handlers::lookup;
use crate::partition::{PendingAcks, Safe};
use crate::state::State;

/// For a coordinator on this broker. There is no other broker yet that could lead a partition.
pub(crate) struct LocalMarkers(pub(crate) Weak<State>);

impl Markers for LocalMarkers {
    fn write(
        &self,
        topic: &str,
        partition: i32,
        marker: TransactionMarker,
    ) -> BoxFuture<'static, Result<(), MarkerFailure>> {
        let (state, topic) = (self.0.clone(), topic.to_owned());
        async move {
            let state = state.upgrade();
            let state = state.ok_or_else(|| MarkerFailure::Passing("the broker has stopped".to_owned()))?;
            write(&state, &topic, partition, marker).await.map_err(|(_, failure)| failure)
        }
        .boxed()
    }
}

/// Completes when the marker is on all in-sync replicas.
pub(crate) async fn write(
    state: &Arc<State>,
    topic: &str,
    partition: i32,
    marker: TransactionMarker,
) -> Result<(), (ErrorCode, MarkerFailure)> {
    let image = state.metadata.image();
    let named = || format!("end a transaction of producer {} in {topic}-{partition}", marker.producer_id);
    let failure = |code: ErrorCode| {
        let reason = format!("{}: {code:?}", named());
        match code {
            // The topic was deleted, or another transaction has ended this one.
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::TransactionCoordinatorFenced => (code, MarkerFailure::Needless(reason)),
            code => (code, MarkerFailure::Passing(reason)),
        }
    };
    let found = lookup::by_name(&image, topic).map_err(failure)?;
    let led = lookup::led_here(state, found, partition, LeaderEpoch::UNKNOWN).map_err(failure)?;
    let epoch = led.leading(LeaderEpoch::UNKNOWN).map_err(failure)?;
    let batch = marker.batch(state.clock.now_ms());
    let batch = batch.map_err(|_| failure(ErrorCode::UnknownServerError))?;
    let appended = led.append(epoch, &[batch], AppendOrigin::Coordinator(marker));
    let appended = appended.map_err(|error| failure(error.to_error_code()))?;
    let acks = PendingAcks::new(1);
    led.acknowledge_at((epoch, appended.last_offset + 1), Safe::Replicated, &acks, 0);
    acks.wait().await;
    acks.outcome(0).and_then(ErrorCode::try_from_code).map_or(Ok(()), |code| Err(failure(code)))
}
