//! What a leader does upon each event, command by command.

mod support;

use millrace_base::LeaderEpoch;
use millrace_replication::Command::{
    BeginEpoch, Fail, FollowEpoch, ProposeIsr, PublishHighWatermark, WakeAt,
};
use millrace_replication::{
    Command, Divergence, History as _, Identity, IsrAnswer, IsrProposal, Refused, ReplicaFetch, RoleKind,
    Served, Waiters, divergence, shared_end,
};
use support::{LAG_MAX_MS, Log, RETRY_MS, Subject, alone, assignment, broker, identity};

const TICK: Command = WakeAt(LAG_MAX_MS / 2);

fn epoch(epoch: i32) -> LeaderEpoch {
    LeaderEpoch(epoch)
}

/// Broker 1 leads epoch 1, all replicas are in sync and have the 10 records that are committed.
fn leader() -> Subject {
    let mut subject = Subject::new(Log::of(&[(0, 10)]));
    assert_eq!(subject.assign(assignment(1, 1, 1, &[1, 2, 3])), [BeginEpoch(epoch(1)), TICK]);
    assert_eq!(subject.fetch(2, 10), []);
    assert_eq!(subject.fetch(3, 10), [PublishHighWatermark(10)]);
    subject
}

fn proposal(partition_epoch: i32, isr: &[i32]) -> IsrProposal {
    let isr = isr.iter().map(|id| (broker(*id), identity(*id).broker_epoch)).collect();
    IsrProposal { leader_epoch: epoch(1), partition_epoch, isr }
}

fn propose(partition_epoch: i32, isr: &[i32]) -> Command {
    ProposeIsr(proposal(partition_epoch, isr))
}

fn committed(partition_epoch: i32, isr: &[i32]) -> IsrAnswer {
    IsrAnswer::Committed { isr: isr.iter().map(|id| broker(*id)).collect(), partition_epoch }
}

/// Broker 3 came back with nothing.
fn come_back_empty(subject: &mut Subject) -> Vec<Command> {
    let fetch = ReplicaFetch {
        replica: broker(3),
        identity: Identity { directory: 33, broker_epoch: 31 },
        leader_epoch: epoch(1),
        offset: 0,
        last_fetched_epoch: LeaderEpoch::UNKNOWN,
    };
    let (served, commands) = subject.fetch_as(fetch);
    assert_eq!(served, Ok(Served::Records), "it may catch up");
    commands
}

#[test]
fn alone_everything_durable_is_committed_and_nothing_else_happens() {
    let mut subject = Subject::new(Log::of(&[(0, 10)]));
    assert_eq!(subject.assign(alone(1)), [BeginEpoch(epoch(1)), PublishHighWatermark(10)]);
    assert_eq!(subject.append(1, 5), Ok(()));
    assert_eq!(subject.sync(), [PublishHighWatermark(15)]);
    assert_eq!(subject.sync(), []);
    assert_eq!(subject.at(1_000_000), []);
}

#[test]
fn a_sync_alone_allocates_nothing() {
    let mut subject = Subject::new(Log::default());
    subject.assign(alone(1));
    let mut out = Vec::with_capacity(1);
    for end in 1..100 {
        subject.replica.on_append(epoch(1), end, true).unwrap();
        subject.replica.on_durable(end, &subject.log, &mut out);
        assert_eq!(out, [PublishHighWatermark(end)]);
        assert_eq!(out.capacity(), 1);
        out.clear();
    }
}

#[test]
fn the_high_watermark_is_what_the_slowest_in_sync_has() {
    let mut subject = leader();
    subject.append(1, 10).unwrap();
    assert_eq!(subject.sync(), []);
    assert_eq!(subject.fetch(2, 20), []);
    assert_eq!(subject.fetch(3, 14), [PublishHighWatermark(14)]);
    assert_eq!(subject.fetch(3, 20), [PublishHighWatermark(20)]);
}

#[test]
fn it_never_passes_the_leaders_own_disk() {
    let mut subject = leader();
    subject.append(1, 10).unwrap();
    assert_eq!(subject.fetch(2, 20), []);
    assert_eq!(subject.fetch(3, 20), []);
    assert_eq!(subject.sync(), [PublishHighWatermark(20)]);
}

#[test]
fn in_a_new_epoch_it_rests_until_all_have_what_the_epoch_began_with() {
    let mut subject = Subject::with_checkpoint(Log::of(&[(0, 10)]), 4);
    subject.assign(assignment(1, 1, 1, &[1, 2]));
    assert_eq!(subject.high_watermark(), 4);
    assert_eq!(subject.fetch(2, 8), [], "of 10");
    assert_eq!(subject.fetch(2, 10), [PublishHighWatermark(10)]);
}

#[test]
fn requests_are_fenced_by_epoch() {
    let mut subject = leader();
    let fenced = Refused::FencedEpoch { given: epoch(0), current: epoch(1) };
    let unknown = Refused::UnknownEpoch { given: epoch(2), current: epoch(1) };
    for (asked, expected) in [(-1, Ok(())), (0, Err(fenced)), (1, Ok(())), (2, Err(unknown))] {
        assert_eq!(subject.replica.standing().check_leader(epoch(asked)), expected, "epoch {asked}");
    }
    let fetch = |leader_epoch, broker_epoch, replica| ReplicaFetch {
        replica: broker(replica),
        identity: Identity { broker_epoch, ..identity(2) },
        leader_epoch: epoch(leader_epoch),
        offset: 10,
        last_fetched_epoch: epoch(0),
    };
    for (asked, expected) in [
        (fetch(0, 20, 2), fenced),
        (fetch(2, 20, 2), unknown),
        (fetch(-1, 20, 2), Refused::FencedEpoch { given: epoch(-1), current: epoch(1) }),
        (fetch(1, 19, 2), Refused::StaleBroker { given: 19, current: 20 }),
        (fetch(1, 20, 4), Refused::UnknownReplica(broker(4))),
    ] {
        assert_eq!(subject.fetch_as(asked), (Err(expected), vec![]));
    }
}

#[test]
fn a_follower_with_another_history_is_told_and_does_not_count() {
    let mut subject = Subject::new(Log::of(&[(0, 10), (3, 5)]));
    subject.assign(assignment(1, 4, 1, &[1, 2]));
    let fetch = |offset, last| ReplicaFetch {
        replica: broker(2),
        identity: identity(2),
        leader_epoch: epoch(4),
        offset,
        last_fetched_epoch: epoch(last),
    };
    for (offset, last, diverging) in [(12, 0, (0, 10)), (20, 3, (3, 15)), (13, 2, (0, 10)), (13, 1, (0, 10))]
    {
        let (epoch, end) = diverging;
        let expected = Served::Diverging(Divergence { epoch: LeaderEpoch(epoch), end });
        assert_eq!(subject.fetch_as(fetch(offset, last)), (Ok(expected), vec![]), "{offset} of {last}");
    }
    let unknown = Refused::UnknownHistory(epoch(5));
    assert_eq!(subject.fetch_as(fetch(15, 5)), (Err(unknown), vec![]));
    assert_eq!(subject.fetch_as(fetch(15, 3)), (Ok(Served::Records), vec![PublishHighWatermark(15)]));
    let parts = |last, offset| divergence(&subject.log, epoch(last), offset);
    assert_eq!(parts(-1, 99), Ok(None), "who does not tell is believed");
    let told = shared_end(&subject.log, epoch(2));
    assert_eq!(Ok(told), parts(2, 13), "both ways of asking give one answer");
}

#[test]
fn an_offset_outside_the_log_is_refused() {
    let mut subject = leader();
    let fetch = |offset| ReplicaFetch {
        replica: broker(2),
        identity: identity(2),
        leader_epoch: epoch(1),
        offset,
        last_fetched_epoch: LeaderEpoch::UNKNOWN,
    };
    let refused = Refused::OutOfRange { offset: 11, start: 0, end: 10 };
    assert_eq!(subject.fetch_as(fetch(11)).0, Err(refused));
}

#[test]
fn who_lags_is_proposed_out_and_counts_until_the_answer() {
    let mut subject = leader();
    subject.append(1, 10).unwrap();
    subject.sync();
    subject.now_ms = 20_000;
    subject.fetch(2, 20);
    assert_eq!(subject.at(LAG_MAX_MS), [WakeAt(LAG_MAX_MS * 3 / 2)], "not longer than allowed");
    assert_eq!(subject.at(LAG_MAX_MS * 3 / 2), [propose(1, &[1, 2]), WakeAt(LAG_MAX_MS * 2)]);
    assert_eq!(subject.high_watermark(), 10);
    assert_eq!(subject.isr_answer(&proposal(1, &[1, 2]), committed(2, &[1, 2])), [PublishHighWatermark(20)]);
}

#[test]
fn who_has_everything_does_not_lag_however_long_it_is_silent() {
    let mut subject = leader();
    assert_eq!(subject.at(LAG_MAX_MS * 10), [WakeAt(LAG_MAX_MS * 21 / 2)]);
}

#[test]
fn a_follower_under_load_has_caught_up_by_where_the_end_was_at_its_last_fetch() {
    let mut subject = leader();
    for round in 1..20 {
        subject.now_ms = round * LAG_MAX_MS / 4;
        subject.append(1, 10).unwrap();
        // Each always one append behind.
        subject.fetch(2, round * 10);
        subject.fetch(3, round * 10);
        let commands = subject.at(subject.now_ms);
        assert!(!commands.iter().any(|command| matches!(command, ProposeIsr(_))), "{commands:?}");
    }
}

#[test]
fn a_follower_that_has_caught_up_is_proposed_and_counts_at_once() {
    let mut subject = Subject::with_checkpoint(Log::of(&[(0, 10)]), 10);
    subject.assign(assignment(1, 1, 1, &[1, 2]));
    subject.append(1, 10).unwrap();
    subject.sync();
    assert_eq!(subject.fetch(2, 15), [PublishHighWatermark(15)]);
    assert_eq!(subject.fetch(3, 14), [], "below the high watermark");
    assert_eq!(subject.fetch(3, 16), [propose(1, &[1, 2, 3])]);
    assert_eq!(subject.fetch(2, 20), [PublishHighWatermark(16)], "broker 3 counts already");
    assert_eq!(subject.isr_answer(&proposal(1, &[1, 2, 3]), committed(2, &[1, 2, 3])), []);
    assert_eq!(subject.fetch(3, 20), [PublishHighWatermark(20)]);
}

#[test]
fn a_follower_below_the_beginning_of_the_epoch_has_not_caught_up() {
    let mut subject = Subject::with_checkpoint(Log::of(&[(0, 10)]), 4);
    subject.assign(assignment(1, 1, 1, &[1, 2]));
    assert_eq!(
        subject.fetch(3, 6),
        [],
        "beyond the high watermark, but records of earlier epochs are missing"
    );
    assert_eq!(subject.fetch(3, 10), [propose(1, &[1, 2, 3])]);
}

#[test]
fn one_that_the_metadata_take_for_another_is_not_let_in() {
    let mut subject = Subject::new(Log::of(&[(0, 10)]));
    subject.assign(assignment(1, 1, 1, &[1, 2]));
    let again = Identity { broker_epoch: 31, ..identity(3) };
    let fetch = ReplicaFetch {
        replica: broker(3),
        identity: again,
        leader_epoch: epoch(1),
        offset: 10,
        last_fetched_epoch: epoch(0),
    };
    assert_eq!(subject.fetch_as(fetch).1, [], "it has registered anew, which is not known here");
    let mut known = assignment(1, 1, 1, &[1, 2]);
    known.replicas[2].identity = again;
    assert_eq!(subject.assign(known), []);
    let isr = vec![(broker(1), 10), (broker(2), 20), (broker(3), 31)];
    let expected = IsrProposal { leader_epoch: epoch(1), partition_epoch: 1, isr };
    assert_eq!(subject.fetch_as(fetch).1, [ProposeIsr(expected)]);
}

#[test]
fn one_that_came_back_empty_is_out_at_once_and_never_counts_again_until_it_is() {
    let mut subject = leader();
    subject.append(1, 10).unwrap();
    subject.sync();
    assert_eq!(come_back_empty(&mut subject), [propose(1, &[1, 2])]);
    assert_eq!(subject.fetch(2, 20), []);
    let caught_up = ReplicaFetch {
        replica: broker(3),
        identity: Identity { directory: 33, broker_epoch: 31 },
        leader_epoch: epoch(1),
        offset: 20,
        last_fetched_epoch: epoch(1),
    };
    assert_eq!(subject.fetch_as(caught_up).1, [], "quick as it was, it is not trusted");
    assert_eq!(subject.isr_answer(&proposal(1, &[1, 2]), committed(2, &[1, 2])), [PublishHighWatermark(20)]);
}

#[test]
fn one_that_has_less_than_it_acknowledged_is_out() {
    let mut subject = leader();
    assert_eq!(subject.fetch(3, 9), [propose(1, &[1, 2])]);
    let mut subject = Subject::with_checkpoint(Log::of(&[(0, 10)]), 8);
    subject.assign(assignment(1, 1, 1, &[1, 2, 3]));
    assert_eq!(subject.fetch(3, 7), [propose(1, &[1, 2])], "acknowledged to an earlier leader");
}

#[test]
fn a_proposal_without_an_answer_stands_and_is_made_again() {
    let mut subject = leader();
    let propose_out = come_back_empty(&mut subject);
    let asked = proposal(1, &[1, 2]);
    assert_eq!(propose_out, [ProposeIsr(asked.clone())]);
    assert_eq!(subject.isr_answer(&asked, IsrAnswer::Unknown), [WakeAt(RETRY_MS)]);
    assert_eq!(subject.at(RETRY_MS), [ProposeIsr(asked.clone()), WakeAt(RETRY_MS + LAG_MAX_MS / 2)]);
    // The first of the two has been applied after all: the second is too late, and the image tells.
    assert_eq!(subject.isr_answer(&asked, IsrAnswer::Outdated), []);
    assert_eq!(subject.assign(assignment(1, 1, 2, &[1, 2])), []);
    assert_eq!(subject.replica.assignment().isr, [broker(1), broker(2)]);
    assert_eq!(subject.isr_answer(&asked, committed(9, &[1])), [], "an answer of the past");
}

#[test]
fn a_proposal_that_was_rejected_counts_no_longer() {
    let mut subject = Subject::with_checkpoint(Log::of(&[(0, 10)]), 10);
    subject.assign(assignment(1, 1, 1, &[1]));
    subject.append(1, 10).unwrap();
    assert_eq!(subject.fetch(2, 10), [propose(1, &[1, 2])]);
    assert_eq!(subject.sync(), [], "broker 2 counts");
    assert_eq!(subject.isr_answer(&proposal(1, &[1, 2]), IsrAnswer::Rejected), [PublishHighWatermark(20)]);
}

#[test]
fn metadata_older_than_a_committed_proposal_change_nothing() {
    let mut subject = leader();
    come_back_empty(&mut subject);
    subject.isr_answer(&proposal(1, &[1, 2]), committed(2, &[1, 2]));
    assert_eq!(subject.assign(assignment(1, 1, 1, &[1, 2, 3])), []);
    assert_eq!(subject.replica.assignment().isr, [broker(1), broker(2)]);
}

#[test]
fn below_the_least_number_in_sync_who_waits_is_failed_and_the_high_watermark_rests() {
    let mut subject = leader();
    let under = |partition_epoch, isr: &[i32]| {
        let mut assignment = assignment(1, 1, partition_epoch, isr);
        assignment.min_insync_replicas = 2;
        assignment
    };
    assert_eq!(subject.assign(under(1, &[1, 2, 3])), []);
    subject.append(1, 10).unwrap();
    let why = Refused::NotEnoughReplicasAfterAppend { in_sync: 1, least: 2 };
    assert_eq!(subject.assign(under(2, &[1])), [Fail { who: Waiters::Replicated, why }]);
    assert_eq!(subject.sync(), []);
    let refused = Refused::NotEnoughReplicas { in_sync: 1, least: 2 };
    assert_eq!(subject.replica.standing().check_in_sync(), Err(refused));
    assert_eq!(subject.append(1, 1), Err(why), "it raced with the change");
    let end = subject.log.log_end();
    assert_eq!(subject.replica.on_append(epoch(1), end, false), Ok(()));
    assert_eq!(subject.fetch(2, 20), [propose(2, &[1, 2])]);
    assert_eq!(subject.isr_answer(&proposal(2, &[1, 2]), committed(3, &[1, 2])), [PublishHighWatermark(20)]);
}

#[test]
fn a_topic_with_fewer_replicas_than_it_asks_for_can_be_written_to() {
    let mut subject = Subject::new(Log::default());
    let assignment = millrace_replication::Assignment { min_insync_replicas: 2, ..alone(1) };
    subject.assign(assignment);
    assert_eq!(subject.replica.standing().check_in_sync(), Ok(()));
}

#[test]
fn who_waits_is_failed_when_leadership_is_lost_and_so_is_an_append_that_comes_late() {
    for next in [assignment(2, 2, 2, &[1, 2]), assignment(0, 2, 2, &[1])] {
        let mut subject = leader();
        subject.append(1, 1).unwrap();
        let commands = subject.assign(next);
        let fail = Fail { who: Waiters::All, why: Refused::NotLeader };
        assert_eq!(commands[..2], [FollowEpoch(epoch(2)), fail]);
        assert_eq!(subject.append(1, 1), Err(Refused::NotLeader));
        assert_eq!(subject.replica.standing().check_leader(epoch(-1)), Err(Refused::NotLeader));
        // It leads again: what was appended before may have been truncated in between.
        subject.assign(assignment(1, 3, 3, &[1, 2]));
        assert_eq!(subject.replica.role(), RoleKind::Leader);
        assert_eq!(subject.replica.on_append(epoch(1), 12, true), Err(Refused::NotLeader));
        assert_eq!(subject.replica.on_append(epoch(3), 13, true), Ok(()));
    }
}

#[test]
fn a_leader_that_goes_on_in_a_new_epoch_keeps_who_waits_and_hears_its_followers_anew() {
    let mut subject = leader();
    subject.append(1, 5).unwrap();
    assert_eq!(subject.assign(assignment(1, 2, 2, &[1, 2, 3])), [BeginEpoch(epoch(2)), TICK]);
    let end = subject.log.log_end();
    assert_eq!(subject.replica.on_append(epoch(1), end, true), Ok(()), "it has led all the time");
    assert_eq!(subject.sync(), []);
    assert_eq!(subject.fetch(2, 15), []);
    assert_eq!(subject.fetch(3, 15), [PublishHighWatermark(15)]);
}
