//! A session's outputs: which of them their topics would refuse, and how the others get there once each.
//!
//! A step is appended in place for as long as it takes: what went before is not appended again, neither while one
//! of its partitions refuses to take anything nor when only some of it is acknowledged.

use std::sync::Arc;

use millrace_base::TopicPartition;
use millrace_coordinator::{Acknowledged, AppendFailure};
use millrace_plugin_host::packing::OutputBatch;
use millrace_protocol::batch::Batch;
use millrace_protocol::plugins::PartitionState;

use super::guest::Failed;
use super::session::Session;
use super::step::{Output, Target, targets};
use super::{BACKOFF, Trouble};
use crate::route::route;

/// Steps on their way to the disk at most; the next is computed meanwhile.
const STEPS_IN_FLIGHT: usize = 3;

impl Session<'_> {
    /// What a call has given, if the topics take it: a refusal is the fault of the records that it was called with.
    pub(super) fn check_outputs(&self, outputs: Vec<OutputBatch>) -> Result<Vec<Output>, Failed> {
        let mut checked = Vec::with_capacity(outputs.len());
        for output in outputs {
            // The host has checked the index.
            let topic = self.plan.outputs.get(output.output as usize).cloned();
            let topic = topic.ok_or_else(|| Failed::refused("an output that is not deployed".to_owned()))?;
            let placed = self
                .place(&topic, output.batch)
                .map_err(|reason| Failed::refused(format!("topic '{topic}' refuses an output: {reason}")))?;
            checked.extend(placed);
        }
        Ok(checked)
    }

    /// The batch as the topic's partitions will have it, or why they would refuse it. A topic that does not exist
    /// refuses nothing yet.
    pub(super) fn place(&self, name: &Arc<str>, batch: Batch) -> Result<Vec<Output>, String> {
        let image = self.worker.shared.metadata.image();
        let Some(topic) = image.topic_by_name(name) else {
            return Ok(vec![Output { topic: Arc::clone(name), place: None, batch }]);
        };
        let routed = route(batch, topic.partition_count(), self.worker.place.partition);
        let mut placed = Vec::new();
        for (partition, batch) in routed.map_err(|error| error.to_string())? {
            let place = TopicPartition::new(topic.id, partition);
            let taken = self.worker.shared.partitions.check(place, std::slice::from_ref(&batch));
            taken.map_err(|failure| failure.to_string())?;
            placed.push(Output { topic: Arc::clone(name), place: Some(place), batch });
        }
        Ok(placed)
    }

    /// Appends what the step holds, and lets the input be committed up to the present position once it is
    /// acknowledged.
    pub(super) async fn flush(&mut self) -> Result<(), Trouble> {
        let bytes = self.step.bytes();
        let outputs = self.step.take();
        if !outputs.is_empty() {
            self.worker.shared.partitions.admit(bytes).await;
        }
        let appended = self.append(outputs).await?;
        self.flight.push(self.position, self.leader_epoch, appended);
        let mut attempts = 0;
        loop {
            match self.flight.commit(STEPS_IN_FLIGHT).await {
                Ok(committed) => {
                    committed.inspect(|offset| self.worker.status.at(*offset));
                    return Ok(());
                }
                Err(failure) => self.append_again(&failure, &mut attempts).await?,
            }
        }
    }

    /// Waits until all that was done is committed.
    pub(super) async fn land(&mut self) -> Result<(), Trouble> {
        let mut attempts = 0;
        loop {
            match self.flight.land().await {
                Ok(committed) => {
                    committed.inspect(|offset| self.worker.status.at(*offset));
                    return Ok(());
                }
                Err(failure) => self.append_again(&failure, &mut attempts).await?,
            }
        }
    }

    /// After a failed acknowledgement, or a failed commit: what of the steps on their way is not acknowledged is
    /// appended once more, in their order.
    async fn append_again(&mut self, failure: &AppendFailure, attempts: &mut u32) -> Result<(), Trouble> {
        self.wait_to_append(failure.to_string(), attempts).await?;
        for step in 0..self.flight.len() {
            let failed = self.flight.unacknowledged(step).await;
            let outputs = failed.into_iter().flat_map(outputs_of).collect();
            let appended = self.append(outputs).await?;
            self.flight.appended_again(step, appended);
        }
        Ok(())
    }

    /// Appends everything, as often as it takes.
    async fn append(&mut self, outputs: Vec<Output>) -> Result<Vec<(Target, Acknowledged)>, Trouble> {
        let (mut left, mut appended, mut attempts) = (outputs, Vec::new(), 0);
        while let Err(reason) = self.try_append(&mut left, &mut appended)? {
            self.wait_to_append(reason, &mut attempts).await?;
        }
        Ok(appended)
    }

    /// Moves what can be appended from `left` to `appended`. Answers what the rest waits for.
    fn try_append(
        &self,
        left: &mut Vec<Output>,
        appended: &mut Vec<(Target, Acknowledged)>,
    ) -> Result<Result<(), String>, Trouble> {
        let image = self.worker.shared.metadata.image();
        if let Some(output) = left.iter().find(|output| image.topic_by_name(&output.topic).is_none()) {
            let name = &output.topic;
            return Ok(Err(format!("topic '{name}' does not exist: create it, or deploy without it")));
        }
        let mut routed = Vec::with_capacity(left.len());
        for Output { topic: name, place, batch } in std::mem::take(left) {
            let Some(topic) = image.topic_by_name(&name) else { continue };
            // Placed already, unless the topic was made, or made anew, since then.
            if let Some(place) = place.filter(|place| place.topic == topic.id) {
                routed.push((name, place, batch));
                continue;
            }
            for (partition, batch) in route(batch, topic.partition_count(), self.worker.place.partition)? {
                routed.push((Arc::clone(&name), TopicPartition::new(topic.id, partition), batch));
            }
        }
        let mut targets = targets(routed).into_iter();
        while let Some(target) = targets.next() {
            let partitions = &self.worker.shared.partitions;
            match partitions.append(target.place, &target.batches) {
                Ok(acknowledged) => appended.push((target, acknowledged)),
                // The topic was changed since the outputs were checked. Computed again they are checked again, and
                // the policy says what becomes of the record.
                Err(failure)
                    if !failure.retryable() && partitions.check(target.place, &target.batches).is_err() =>
                {
                    return Err(failure.into());
                }
                Err(failure) => {
                    left.extend(outputs_of(target));
                    left.extend(targets.flat_map(outputs_of));
                    return Ok(Err(failure.to_string()));
                }
            }
        }
        Ok(Ok(()))
    }

    async fn wait_to_append(&mut self, reason: String, attempts: &mut u32) -> Result<(), Trouble> {
        if self.worker.has_other_order(&self.plan) {
            return Err(Trouble(format!("interrupted while the outputs could not be appended: {reason}")));
        }
        *attempts += 1;
        self.worker.status.failing(PartitionState::Retrying, reason, None);
        self.worker.pause(BACKOFF.pause(*attempts)).await;
        Ok(())
    }
}

fn outputs_of(target: Target) -> impl Iterator<Item = Output> {
    let Target { topic, place, batches } = target;
    batches.into_iter().map(move |batch| Output { topic: Arc::clone(&topic), place: Some(place), batch })
}
