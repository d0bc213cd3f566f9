//! What a follower does upon each event, command by command.

mod support;

use millrace_base::{LeaderEpoch, Offset};
use millrace_replication::Command::{
    AppendFetched, FetchFrom, FollowEpoch, PublishHighWatermark, RaiseLogStart, Reset, Truncate, WakeAt,
};
use millrace_replication::{Command, Divergence, FetchAnswer, FetchOutcome, RoleKind};
use support::{Log, RETRY_MS, Subject, assignment, broker};

/// A fetch from broker 2, which leads in epoch 5.
fn fetch(offset: Offset, last: i32) -> Command {
    FetchFrom {
        leader: broker(2),
        leader_epoch: LeaderEpoch(5),
        offset,
        last_fetched_epoch: LeaderEpoch(last),
    }
}

/// Broker 1 follows with this log.
fn follower(log: Log) -> Subject {
    let mut subject = Subject::new(log);
    let commands = subject.assign(assignment(2, 5, 1, &[1, 2]));
    assert_eq!(commands[0], FollowEpoch(LeaderEpoch(5)));
    subject
}

fn records(end: Offset, high_watermark: Offset) -> FetchOutcome {
    FetchOutcome::Records { end, high_watermark, log_start: 0 }
}

fn diverging(epoch: i32, end: Offset) -> FetchOutcome {
    FetchOutcome::Diverging(Divergence { epoch: LeaderEpoch(epoch), end })
}

#[test]
fn it_fetches_from_its_end_and_tells_the_epoch_of_its_last_record() {
    for (log, expected) in [
        (Log::default(), fetch(0, -1)),
        (Log::of(&[(0, 10)]), fetch(10, 0)),
        (Log::of(&[(0, 10), (3, 2), (4, 0)]), fetch(12, 3)),
    ] {
        let mut subject = Subject::new(log);
        assert_eq!(subject.assign(assignment(2, 5, 1, &[1, 2])), [FollowEpoch(LeaderEpoch(5)), expected]);
        assert_eq!(subject.assign(assignment(2, 5, 2, &[1, 2, 3])), [], "the round goes on");
    }
}

#[test]
fn it_fetches_on_when_what_it_has_is_durable() {
    let mut subject = follower(Log::of(&[(0, 10)]));
    assert_eq!(subject.answer(records(15, 12)), [AppendFetched]);
    assert_eq!(subject.appended(5, 5), [PublishHighWatermark(10)], "11 and 12 are not durable here");
    assert_eq!(subject.sync(), [PublishHighWatermark(12), fetch(15, 5)]);
    assert_eq!(subject.answer(records(15, 15)), [PublishHighWatermark(15), fetch(15, 5)]);
}

#[test]
fn what_it_appended_as_a_leader_is_synced_first() {
    let mut log = Log::of(&[(0, 10)]);
    log.append(4, 3);
    let mut subject = Subject::new(log);
    assert_eq!(subject.assign(assignment(2, 5, 1, &[1, 2])), [FollowEpoch(LeaderEpoch(5))]);
    assert_eq!(subject.sync(), [fetch(13, 4)]);
}

#[test]
fn it_cuts_where_the_histories_part_and_asks_again() {
    let log = || Log::of(&[(0, 10), (2, 5), (4, 5)]);
    for (outcome, to, last) in [
        // The leader's epoch ended earlier than this log's.
        (diverging(4, 17), 17, 4),
        // The leader has no record of epoch 4: back to the end of epoch 2, here or there.
        (diverging(2, 12), 12, 2),
        (diverging(2, 99), 15, 2),
        // Nor one of epoch 2: it names one that this log does not know.
        (diverging(1, 11), 10, 0),
        (diverging(0, 7), 7, 0),
        (diverging(0, 0), 0, -1),
    ] {
        let mut subject = follower(log());
        assert_eq!(subject.answer(outcome), [Truncate { to }], "{outcome:?}");
        assert_eq!(subject.cut_to(to), [fetch(to, last)], "{outcome:?}");
    }
}

#[test]
fn an_answer_that_cuts_nothing_is_not_asked_for_in_a_circle() {
    let mut subject = follower(Log::of(&[(0, 10)]));
    assert_eq!(subject.answer(diverging(0, 12)), [WakeAt(RETRY_MS)]);
    assert_eq!(subject.at(RETRY_MS - 1), []);
    assert_eq!(subject.at(RETRY_MS), [fetch(10, 0)]);
}

#[test]
fn behind_what_its_leader_has_it_begins_anew() {
    let mut subject = follower(Log::of(&[(0, 10)]));
    let outcome = FetchOutcome::OutOfRange { log_start: 50, log_end: 90 };
    assert_eq!(subject.answer(outcome), [Reset { start: 50 }]);
    subject.log.reset(50);
    assert_eq!(subject.cut_to(50), [PublishHighWatermark(50), fetch(50, -1)]);
}

#[test]
fn beyond_what_its_leader_has_it_cuts() {
    let mut subject = follower(Log::of(&[(0, 10)]));
    let outcome = FetchOutcome::OutOfRange { log_start: 0, log_end: 8 };
    assert_eq!(subject.answer(outcome), [Truncate { to: 8 }]);
    assert_eq!(subject.cut_to(7), [fetch(7, 0)], "8 is in the middle of a batch");
}

#[test]
fn only_a_cut_below_it_takes_the_high_watermark_back() {
    let mut subject = Subject::with_checkpoint(Log::of(&[(0, 10), (4, 5)]), 13);
    subject.assign(assignment(2, 5, 1, &[2]));
    assert_eq!(subject.answer(diverging(0, 10)), [Truncate { to: 10 }]);
    assert_eq!(subject.cut_to(10), [PublishHighWatermark(10), fetch(10, 0)]);
}

#[test]
fn a_cut_that_failed_is_asked_for_anew_and_one_of_the_past_brings_no_fetch() {
    let mut subject = follower(Log::of(&[(0, 10), (4, 5)]));
    assert_eq!(subject.answer(diverging(0, 10)), [Truncate { to: 10 }]);
    assert_eq!(subject.cut(None), [WakeAt(RETRY_MS)]);
    assert_eq!(subject.at(RETRY_MS), [fetch(15, 4)]);
    assert_eq!(subject.answer(diverging(0, 10)), [Truncate { to: 10 }]);
    subject.assign(assignment(0, 6, 2, &[2]));
    assert_eq!(subject.cut_to(10), []);
    assert_eq!(subject.replica.pointers().log_end, 10);
}

#[test]
fn a_restart_takes_the_high_watermark_that_was_kept_as_far_as_the_log_goes() {
    for (kept, expected) in [(0, 0), (7, 7), (10, 10), (99, 10)] {
        let subject = Subject::with_checkpoint(Log::of(&[(0, 10)]), kept);
        assert_eq!(subject.high_watermark(), expected);
    }
}

#[test]
fn it_deletes_what_its_leader_has_deleted_as_far_as_that_is_committed_here() {
    let mut subject = follower(Log::of(&[(0, 10)]));
    let outcome = FetchOutcome::Records { end: 10, high_watermark: 6, log_start: 8 };
    assert_eq!(subject.answer(outcome), [PublishHighWatermark(6), RaiseLogStart { to: 6 }, fetch(10, 0)]);
}

#[test]
fn a_fetch_or_an_append_that_failed_is_tried_again_later() {
    let mut subject = follower(Log::of(&[(0, 10)]));
    assert_eq!(subject.answer(FetchOutcome::Failed), [WakeAt(RETRY_MS)]);
    assert_eq!(subject.at(RETRY_MS), [fetch(10, 0)]);
    assert_eq!(subject.answer(records(12, 0)), [AppendFetched]);
    assert_eq!(subject.answer(records(12, 0)), [], "an answer comes once");
    assert_eq!(subject.answer(FetchOutcome::Failed), [WakeAt(RETRY_MS * 2)]);
}

#[test]
fn answers_of_the_past_are_nothing() {
    let mut subject = follower(Log::of(&[(0, 10)]));
    let mut out = Vec::new();
    for (epoch, offset) in [(4, 10), (5, 9)] {
        let answer =
            FetchAnswer { leader_epoch: LeaderEpoch(epoch), offset, outcome: records(offset + 5, 5) };
        subject.replica.on_fetch_answer(&answer, &subject.log, 0, &mut out);
    }
    assert_eq!(out, []);
    subject.assign(assignment(0, 6, 2, &[2]));
    assert_eq!(subject.replica.role(), RoleKind::Waiting);
    assert_eq!(subject.answer(records(15, 5)), []);
    assert_eq!(subject.at(1_000_000), []);
}
