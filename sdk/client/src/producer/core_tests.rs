//! The rules of [`super`], one by one.

use super::*;

const IDENTITY: Identity = Identity { producer_id: 7, epoch: 0 };
const BACKOFF: Duration = Duration::from_millis(100);

struct Bench {
    core: Core<u32>,
    now: Instant,
    identity: Option<Identity>,
}

impl Bench {
    fn new() -> Self {
        Self { core: Core::new(5, BACKOFF), now: Instant::now(), identity: Some(IDENTITY) }
    }

    fn send(&mut self, batch: u32, count: i32) -> (FlightId, Stamp) {
        assert!(self.core.can_admit());
        self.core.on_send(batch, count, self.now + Duration::from_secs(10), self.identity)
    }

    fn answer(&mut self, id: FlightId, answer: Answer) -> Vec<Command<u32>> {
        self.core.on_answer(id, answer, self.now)
    }

    /// All that may be sent again once the back-off has passed.
    fn resent(&mut self) -> Vec<(u32, i32)> {
        self.now += Duration::from_secs(2);
        let mut sent = Vec::new();
        while let Some((_, stamp, batch)) = self.core.next_resend(self.now) {
            sent.push((batch, stamp.base_sequence));
        }
        sent
    }
}

fn again() -> Answer {
    Answer::Again { reason: "not now".to_owned(), stale_metadata: false }
}

fn broken() -> Answer {
    Answer::SequenceBroken { reason: "out of order".to_owned() }
}

fn stored(batch: u32, base_offset: i64) -> Command<u32> {
    Command::Complete { batch, outcome: Outcome::Stored { base_offset } }
}

fn asks_identity(commands: &[Command<u32>]) -> bool {
    commands.iter().any(|command| matches!(command, Command::NewIdentity { .. }))
}

#[test]
fn sequences_count_records_and_wrap_around() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(1, 10).1, Stamp { identity: Some(IDENTITY), base_sequence: 0 });
    assert_eq!(bench.send(2, 5).1.base_sequence, 10);
    assert_eq!(bench.send(3, 1).1.base_sequence, 15);
    assert_eq!(advance(i32::MAX, 1), 0);
    assert_eq!(advance(i32::MAX - 1, 5), 3);
}

#[test]
fn without_identity_there_are_no_sequences() {
    let mut bench = Bench { identity: None, ..Bench::new() };
    assert_eq!(bench.send(1, 10).1, Stamp { identity: None, base_sequence: -1 });
    let (id, _) = bench.send(2, 1);
    assert!(!asks_identity(&bench.answer(id, broken())));
}

#[test]
fn at_most_so_many_are_in_flight() {
    let mut bench = Bench::new();
    let first = bench.send(0, 1).0;
    for batch in 1..5 {
        let _ = bench.send(batch, 1);
    }
    assert!(!bench.core.can_admit());
    assert_eq!(bench.answer(first, Answer::Stored { base_offset: 40 }), [stored(0, 40)]);
    assert!(bench.core.can_admit());
}

#[test]
fn nothing_overtakes_a_batch_that_is_sent_again() {
    let mut bench = Bench::new();
    let ids = [bench.send(1, 2).0, bench.send(2, 3).0, bench.send(3, 4).0];
    let commands = bench.answer(ids[0], again());
    assert_eq!(commands, [Command::WakeAt(bench.now + BACKOFF)]);
    assert!(!bench.core.can_admit(), "nothing new before the retry");
    assert!(bench.core.next_resend(bench.now + BACKOFF).is_none(), "two are not answered yet");
    // The broker refuses the followers because of the gap: no reason for a new epoch.
    assert!(!asks_identity(&bench.answer(ids[1], broken())));
    assert!(!asks_identity(&bench.answer(ids[2], broken())));
    assert!(bench.core.next_resend(bench.now).is_none(), "not before the back-off");
    assert_eq!(bench.resent(), [(1, 0), (2, 2), (3, 5)]);
    assert!(bench.core.can_admit());
    assert_eq!(bench.answer(ids[0], Answer::Stored { base_offset: 9 }), [stored(1, 9)]);
}

#[test]
fn a_lost_connection_sends_everything_again_in_order() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..3).map(|batch| bench.send(batch, 1).0).collect();
    for id in ids {
        let lost = Answer::Again { reason: "connection lost".to_owned(), stale_metadata: true };
        assert!(bench.answer(id, lost).contains(&Command::RefreshMetadata));
    }
    assert_eq!(bench.resent(), [(0, 0), (1, 1), (2, 2)]);
}

#[test]
fn a_retry_that_fails_again_backs_off_longer() {
    let mut bench = Bench::new();
    let id = bench.send(1, 1).0;
    let _ = bench.answer(id, again());
    assert_eq!(bench.resent(), [(1, 0)]);
    assert_eq!(bench.answer(id, again()), [Command::WakeAt(bench.now + 2 * BACKOFF)]);
}

#[test]
fn a_broken_sequence_at_the_head_starts_a_new_epoch_from_zero() {
    let mut bench = Bench::new();
    let ids = [bench.send(1, 2).0, bench.send(2, 3).0];
    assert!(!asks_identity(&bench.answer(ids[0], broken())), "one is still in flight");
    assert!(bench.answer(ids[1], broken()).contains(&Command::NewIdentity { after: IDENTITY }));
    assert_eq!(bench.resent(), [], "not before the new identity");
    assert!(!bench.core.can_admit());
    let newer = Identity { epoch: 1, ..IDENTITY };
    bench.core.on_identity(newer);
    bench.identity = Some(newer);
    assert_eq!(bench.resent(), [(1, 0), (2, 2)]);
    assert_eq!(bench.send(3, 1).1, Stamp { identity: Some(newer), base_sequence: 5 });
}

#[test]
fn another_partitions_new_epoch_is_taken_over_when_nothing_is_in_flight() {
    let mut bench = Bench::new();
    let first = bench.send(1, 2).0;
    let newer = Identity { epoch: 1, ..IDENTITY };
    bench.identity = Some(newer);
    let (second, stamp) = bench.send(2, 1);
    assert_eq!(stamp, Stamp { identity: Some(IDENTITY), base_sequence: 2 });
    let _ = bench.answer(first, Answer::Stored { base_offset: 0 });
    let _ = bench.answer(second, Answer::Stored { base_offset: 2 });
    assert_eq!(bench.send(3, 1).1, Stamp { identity: Some(newer), base_sequence: 0 });
}

#[test]
fn a_rejected_last_batch_gives_its_numbers_back() {
    let mut bench = Bench::new();
    let id = bench.send(1, 4).0;
    let commands = bench.answer(id, Answer::Rejected);
    assert_eq!(commands, [Command::Complete { batch: 1, outcome: Outcome::Rejected }]);
    assert_eq!(bench.send(2, 1).1.base_sequence, 0);
}

#[test]
fn a_rejected_batch_with_followers_starts_a_new_epoch() {
    let mut bench = Bench::new();
    let ids = [bench.send(1, 4).0, bench.send(2, 1).0];
    assert!(!asks_identity(&bench.answer(ids[0], Answer::Rejected)));
    assert!(asks_identity(&bench.answer(ids[1], broken())));
    bench.core.on_identity(Identity { epoch: 1, ..IDENTITY });
    assert_eq!(bench.resent(), [(2, 0)]);
}

#[test]
fn a_batch_that_waited_too_long_is_given_up_and_leaves_no_gap() {
    let mut bench = Bench::new();
    let id = bench.send(1, 4).0;
    let _ = bench.answer(id, again());
    bench.now += Duration::from_secs(11);
    let commands = bench.core.on_time(bench.now);
    let expired = Outcome::Expired { reason: "not now".to_owned() };
    assert!(commands.contains(&Command::Complete { batch: 1, outcome: expired }));
    assert!(asks_identity(&commands), "the broker may have counted it");
    assert!(!bench.core.can_admit());
    bench.core.on_identity(Identity { epoch: 1, ..IDENTITY });
    assert!(bench.core.can_admit());
}

#[test]
fn an_answer_after_all_was_resolved_is_ignored() {
    let mut bench = Bench::new();
    let id = bench.send(1, 1).0;
    let _ = bench.answer(id, Answer::Stored { base_offset: 0 });
    assert_eq!(bench.answer(id, again()), []);
}

fn lost() -> Answer {
    Answer::Again { reason: "connection lost".to_owned(), stale_metadata: true }
}

fn expired(batch: u32) -> Command<u32> {
    Command::Complete { batch, outcome: Outcome::Expired { reason: "connection lost".to_owned() } }
}

/// Two batches sent whose answers are lost; the first one's time is over, the second one's is not.
fn first_of_two_expires() -> (Bench, FlightId) {
    let mut bench = Bench::new();
    let first = bench.send(1, 4).0;
    bench.now += Duration::from_secs(8);
    let second = bench.send(2, 3).0;
    let _ = bench.answer(first, lost());
    let _ = bench.answer(second, lost());
    bench.now += Duration::from_secs(3);
    assert_eq!(bench.core.on_time(bench.now), [expired(1)], "no new identity while the second may be stored");
    assert!(!bench.core.can_admit(), "nothing new before it is known");
    bench.core.on_identity(Identity { epoch: 1, ..IDENTITY });
    assert_eq!(bench.resent(), [(2, 4)], "under the number that the broker may have stored");
    (bench, second)
}

#[test]
fn behind_an_expired_batch_one_that_was_stored_is_found_under_its_number() {
    let (mut bench, second) = first_of_two_expires();
    let commands = bench.answer(second, Answer::Stored { base_offset: 4 });
    assert_eq!(commands, [stored(2, 4), Command::NewIdentity { after: IDENTITY }]);
    assert!(!bench.core.can_admit());
    let newer = Identity { epoch: 1, ..IDENTITY };
    bench.core.on_identity(newer);
    bench.identity = Some(newer);
    assert_eq!(bench.send(3, 1).1, Stamp { identity: Some(newer), base_sequence: 0 });
}

#[test]
fn behind_an_expired_batch_one_that_was_not_stored_is_numbered_anew_only_then() {
    let (mut bench, second) = first_of_two_expires();
    assert!(asks_identity(&bench.answer(second, broken())));
    assert_eq!(bench.resent(), []);
    bench.core.on_identity(Identity { epoch: 1, ..IDENTITY });
    assert_eq!(bench.resent(), [(2, 0)]);
}

#[test]
fn behind_a_broken_head_an_unanswered_batch_keeps_its_number_until_it_is_refused() {
    let mut bench = Bench::new();
    let ids = [bench.send(1, 2).0, bench.send(2, 3).0];
    assert!(!asks_identity(&bench.answer(ids[0], broken())));
    assert!(!asks_identity(&bench.answer(ids[1], lost())), "the second may be stored");
    assert_eq!(bench.resent(), [(1, 0), (2, 2)], "in order, with the old numbers");
    assert!(!asks_identity(&bench.answer(ids[0], broken())));
    assert!(asks_identity(&bench.answer(ids[1], broken())));
}

#[test]
fn out_of_order_behind_an_unanswered_batch_is_no_reason_for_a_new_epoch() {
    let mut bench = Bench::new();
    let ids = [bench.send(1, 2).0, bench.send(2, 3).0];
    assert!(!asks_identity(&bench.answer(ids[1], broken())));
    assert_eq!(bench.answer(ids[0], Answer::Stored { base_offset: 0 }), [stored(1, 0)]);
    assert_eq!(bench.resent(), [(2, 2)]);
}

#[test]
fn what_was_sent_is_taken_once_all_is_answered_and_its_numbers_are_not_used_again() {
    let mut bench = Bench::new();
    let deadline = bench.now + Duration::from_secs(10);
    let (first, second) = (bench.send(1, 1).0, bench.send(2, 1).0);
    bench.answer(first, again());
    assert_eq!(bench.core.take_sent(), [], "the second is in flight");
    bench.answer(second, again());
    assert_eq!(bench.core.take_sent(), [(1, deadline), (2, deadline)]);
    assert!(bench.core.is_idle() && !bench.core.can_admit());
    assert!(asks_identity(&bench.core.on_time(bench.now)));
    bench.identity = Some(Identity { epoch: 1, ..IDENTITY });
    bench.core.on_identity(Identity { epoch: 1, ..IDENTITY });
    assert_eq!(bench.send(3, 1).1, Stamp { identity: bench.identity, base_sequence: 0 });
}

#[test]
fn a_duplicate_is_stored_only_if_an_earlier_attempt_may_have_stored_it() {
    let mut bench = Bench::new();
    let duplicate = || Answer::Duplicate { reason: "duplicate".to_owned() };
    let first = bench.send(1, 2).0;
    assert!(asks_identity(&bench.answer(first, duplicate())), "never sent before: not ours");
    bench.core.on_identity(Identity { epoch: 1, ..IDENTITY });
    assert_eq!(bench.resent(), [(1, 0)]);
    let _ = bench.answer(first, lost());
    assert_eq!(bench.resent(), [(1, 0)]);
    assert_eq!(bench.answer(first, duplicate()), [stored(1, -1)]);
}

#[test]
fn the_parts_of_a_batch_that_is_too_large_share_its_numbers_and_its_place() {
    let mut bench = Bench::new();
    let ids = [bench.send(1, 4).0, bench.send(2, 3).0];
    assert_eq!(bench.core.on_split(ids[0], vec![(10, 1), (11, 3)], bench.now), Some(vec![]));
    assert!(!bench.core.can_admit());
    assert!(!asks_identity(&bench.answer(ids[1], broken())), "behind the gap that the refused one left");
    assert_eq!(bench.resent(), [(10, 0), (11, 1), (2, 4)]);
}

#[test]
fn no_more_parts_are_on_their_way_than_the_broker_remembers_batches() {
    let mut bench = Bench::new();
    let whole = bench.send(1, 12).0;
    let parts = (0..6).map(|part| (part, 2)).collect();
    assert_eq!(bench.core.on_split(whole, parts, bench.now), Some(vec![]));
    assert_eq!(bench.resent(), [(0, 0), (1, 2), (2, 4), (3, 6), (4, 8)]);
}

#[test]
fn a_batch_that_may_be_stored_is_not_split() {
    let mut bench = Bench::new();
    let whole = bench.send(1, 4).0;
    let _ = bench.answer(whole, lost());
    assert_eq!(bench.resent(), [(1, 0)]);
    assert_eq!(bench.core.on_split(whole, vec![(10, 2), (11, 2)], bench.now), None);
}

#[test]
fn what_is_given_up_goes_no_second_time_and_its_numbers_are_not_used_again() {
    let mut bench = Bench::new();
    let (first, _) = bench.send(1, 1);
    let (second, _) = bench.send(2, 1);
    assert_eq!(bench.answer(second, again()).len(), 1, "to be woken for the retry");
    let refused = Command::Complete { batch: 2, outcome: Outcome::Rejected };
    assert_eq!(bench.core.give_up(bench.now), vec![refused]);
    // The answer to what is in flight decides, and if it is none there is no other attempt.
    let commands = bench.answer(first, lost());
    assert!(matches!(&commands[1..2], [Command::WakeAt(_)] | [Command::Complete { .. }]), "{commands:?}");
    assert!(bench.core.is_idle());
    assert!(asks_identity(&commands));
    assert!(!bench.core.can_admit());
    bench.core.on_identity(Identity { epoch: 1, ..IDENTITY });
    bench.identity = Some(Identity { epoch: 1, ..IDENTITY });
    assert_eq!(bench.send(3, 1).1, Stamp { identity: bench.identity, base_sequence: 0 });
}
