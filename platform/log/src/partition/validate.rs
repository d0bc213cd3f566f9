//! Whether a partition's positions are in their order; what tests and the simulator ask after every step.

use super::PartitionLog;
use super::state::State;
use crate::error::Disorder;
use crate::segment::follows_on;
use crate::transactions::are_sound;

impl PartitionLog {
    /// Checks the order of the log's positions that the crate's page names, and that all that is kept of it agrees
    /// with them. For tests: it holds up appends and commits of the partition.
    pub fn validate(&self) -> Result<(), Disorder> {
        let appender = self.appender.lock();
        let state = self.state.lock();
        let is_strict = self.config.read().as_ref().is_none_or(|config| config.sync_before_ack());
        let (start, high_watermark) = (self.log_start_offset(), self.high_watermark());
        let (durable_end, end) = (self.durable_end_offset(), self.log_end_offset());
        let first = state.segments.front().map_or(0, |segment| segment.base);
        let checks = [
            (first <= start, "it starts before its first segment"),
            (start <= high_watermark, "the high watermark is below its start"),
            // What a relaxed flush policy has acknowledged early is committed, but not durable.
            (high_watermark <= durable_end || !is_strict, "the high watermark is above what is durable"),
            (high_watermark <= end, "the high watermark is above its end"),
            (durable_end <= end, "more is durable than there is"),
            (end == state.end.offset && state.end == appender.end, "its end is at two places"),
            (durable_end == state.committed.offset, "what is durable ends at two places"),
            (positions_are_ordered(&state), "commits or segment writes have passed its end"),
            (segments_are_sound(&state), "its segments do not follow each other"),
            (batches_are_sound(&state), "the batches in memory do not follow each other"),
            (appender.history.epochs.are_sound(end), "leader epochs are outside its records"),
            (appender.history.producers.are_sound(end), "producers' batches are outside its records"),
            (are_sound(&appender.history.aborted, end), "aborted transactions are outside its records"),
            (start <= self.last_stable_offset(), "the last stable offset is below its start"),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, what)) => {
                let positions = format!("{start}, {high_watermark}, {durable_end}, {end}");
                Err(Disorder { tp: self.tp, what, positions })
            }
        }
    }
}

fn positions_are_ordered(state: &State) -> bool {
    let end = state.end;
    let before = |place: super::LogPosition| {
        place.total <= end.total
            && place.cuts == end.cuts
            && (place.segment, place.position) <= (end.segment, end.position)
    };
    let in_flight = state.in_flight.is_none_or(|target| {
        before(target) && target.total >= state.committed.total && target.offset >= state.committed.offset
    });
    before(state.committed) && before(state.flushed) && in_flight
}

fn segments_are_sound(state: &State) -> bool {
    let ascending = state.segments.iter().is_sorted_by(|one, next| one.base < next.base);
    let active = state.segments.back();
    ascending
        && active.is_some_and(|active| (active.base, active.len) == (state.end.segment, state.end.position))
}

fn batches_are_sound(state: &State) -> bool {
    state.segments.iter().enumerate().all(|(number, segment)| {
        let batches = &segment.tail.batches;
        let follow = batches
            .iter()
            .is_sorted_by(|one, next| one.next_offset() <= next.base_offset && one.position < next.position);
        let end = state.segment_end(number);
        let last = batches.back();
        follow && last.is_none_or(|last| follows_on(last.next_offset(), end) && last.position < segment.len)
    })
}
