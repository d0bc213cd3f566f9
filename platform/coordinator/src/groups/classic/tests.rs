//! Groups with exact answers, records and moments: what Kafka's coordinator does in the same histories.

use std::time::{Duration, Instant};

use millrace_base::Random;

use super::live::{Live, Step};
use super::*;

const DELAY: Duration = Duration::from_secs(3);
const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

struct Bench {
    live: Live,
    settings: ClassicSettings,
    random: Random,
    began: Instant,
    now: Duration,
    waiter: Waiter,
    record: Option<Arc<GroupRecord>>,
}

/// What came of a step.
#[derive(Debug, Default)]
struct Outcome {
    joined: Vec<(Waiter, JoinAnswer)>,
    synced: Vec<(Waiter, SyncAnswer)>,
    stores: Vec<(i32, GroupRecord, Purpose)>,
}

impl Outcome {
    fn of(commands: Vec<Command>) -> Self {
        let mut outcome = Self::default();
        for command in commands {
            match command {
                Command::Joined(waiter, answer) => outcome.joined.push((waiter, *answer)),
                Command::Synced(waiter, answer) => outcome.synced.push((waiter, answer)),
                Command::Store { generation, record, purpose, .. } => {
                    outcome.stores.push((generation, record, purpose));
                }
            }
        }
        outcome
    }

    fn only_joined(mut self) -> JoinAnswer {
        assert_eq!(self.joined.len(), 1, "{self:?}");
        self.joined.remove(0).1
    }

    fn is_silent(&self) -> bool {
        self.joined.is_empty() && self.synced.is_empty() && self.stores.is_empty()
    }
}

impl Bench {
    fn new() -> Self {
        let settings = ClassicSettings {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(1_800),
            initial_rebalance_delay: DELAY,
            members_max: 10,
        };
        Self {
            live: Live::default(),
            settings,
            random: Random::seeded(1),
            began: Instant::now(),
            now: Duration::ZERO,
            waiter: 0,
            record: None,
        }
    }

    fn step<R>(&mut self, act: impl FnOnce(&mut Live, Option<&Arc<GroupRecord>>, Step<'_>) -> R) -> R {
        let now = Now { instant: self.began + self.now, wall_ms: self.now.as_millis() as i64 };
        let step = Step { settings: &self.settings, random: &self.random, now };
        act(&mut self.live, self.record.as_ref(), step)
    }

    fn join(&mut self, request: &JoinRequest) -> Outcome {
        self.waiter += 1;
        let waiter = self.waiter;
        Outcome::of(self.step(|live, record, step| live.on_join(request, waiter, record, usize::MAX, step)))
    }

    fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &[u8])]) -> Outcome {
        self.waiter += 1;
        let assignments = assignments.iter().map(|(id, assigned)| ((*id).to_owned(), assigned.to_vec()));
        let request = SyncRequest {
            group: "g".into(),
            member: name(member),
            generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        let waiter = self.waiter;
        Outcome::of(self.step(|live, record, step| live.on_sync(request, waiter, record, usize::MAX, step)))
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        self.step(|live, record, step| live.on_heartbeat("g", &name(member), generation, record, step))
    }

    fn commit(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        self.step(|live, record, step| live.on_commit("g", &name(member), generation, record, step))
    }

    fn leave(&mut self, member: MemberName) -> (Result<(), GroupError>, Outcome) {
        let (mut left, commands) =
            self.step(|live, record, step| live.on_leave("g", &[member], record, step));
        (left.remove(0), Outcome::of(commands))
    }

    fn pass(&mut self, time: Duration) -> Outcome {
        self.now += time;
        Outcome::of(self.step(|live, _, step| live.on_time(step)))
    }

    fn stored(&mut self, store: (i32, GroupRecord, Purpose), outcome: Result<(), GroupError>) -> Outcome {
        let (generation, record, purpose) = store;
        if outcome.is_ok() {
            self.record = Some(Arc::new(record));
        }
        Outcome::of(self.step(|live, _, step| live.on_stored("g", generation, purpose, outcome, step)))
    }

    /// Joins as a client does that learns its id first; the id.
    fn enter(&mut self) -> (String, Outcome) {
        let refused = self.join(&request("")).only_joined().unwrap_err();
        assert_eq!(refused.error, GroupError::MemberIdRequired);
        let outcome = self.join(&request(&refused.member));
        (refused.member, outcome)
    }

    /// A group of two members in its first, stable generation: the leader's id, and the other's.
    fn two(&mut self) -> (String, String) {
        let (first, waits) = self.enter();
        assert!(waits.is_silent());
        let (second, waits) = self.enter();
        assert!(waits.is_silent());
        assert!(self.pass(DELAY).is_silent(), "somebody joined meanwhile: once more");
        let told = self.pass(DELAY);
        assert_eq!(told.joined.len(), 2);
        assert!(self.sync(&second, 1, &[]).is_silent());
        let mut assigned = self.sync(&first, 1, &[(&first, b"one"), (&second, b"two")]);
        assert!(assigned.synced.is_empty(), "it is not stored yet");
        let told = self.stored(assigned.stores.remove(0), Ok(()));
        assert_eq!(told.synced.len(), 2);
        (first, second)
    }
}

fn request(member: &str) -> JoinRequest {
    JoinRequest {
        group: "g".into(),
        member: member.into(),
        instance: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        session_timeout_ms: SESSION.as_millis() as i32,
        rebalance_timeout_ms: REBALANCE.as_millis() as i32,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", b"r"), protocol("sticky", b"s")],
        takes_member_id: true,
        may_skip_assignment: true,
    }
}

fn fixed(instance: &str) -> JoinRequest {
    JoinRequest { instance: Some(instance.into()), ..request("") }
}

fn protocol(name: &str, metadata: &[u8]) -> MemberProtocol {
    MemberProtocol { name: name.into(), metadata: metadata.to_vec() }
}

fn name(id: &str) -> MemberName {
    MemberName { id: id.into(), instance: None }
}

#[test]
fn the_first_members_wait_for_others_and_settle() {
    let mut bench = Bench::new();
    let (first, waits) = bench.enter();
    assert!(first.starts_with("c-") && waits.is_silent());
    assert!(bench.pass(DELAY - Duration::from_millis(1)).is_silent());
    let joined = bench.pass(Duration::from_millis(1)).only_joined().unwrap();
    let expected = Joined {
        member: first.clone(),
        generation: 1,
        protocol_type: "consumer".into(),
        protocol: "range".into(),
        leader: first.clone(),
        skip_assignment: false,
        members: vec![JoinedMember { id: first.clone(), instance: None, metadata: b"r".to_vec() }],
    };
    assert_eq!(joined, expected);
    assert_eq!(bench.commit(&first, 1), Err(GroupError::RebalanceInProgress));
    let mut assigned = bench.sync(&first, 1, &[(&first, b"all")]);
    let (generation, record, purpose) = assigned.stores.remove(0);
    assert_eq!((generation, &purpose), (1, &Purpose::Assign));
    assert_eq!(record.members[0].assignment, b"all");
    assert_eq!((record.protocol.as_deref(), record.leader.as_deref()), (Some("range"), Some(first.as_str())));
    let told = bench.stored((generation, record, purpose), Ok(()));
    let synced =
        Synced { protocol_type: "consumer".into(), protocol: "range".into(), assignment: b"all".to_vec() };
    assert_eq!(told.synced, [(bench.waiter, Ok(synced))]);
    assert_eq!(bench.heartbeat(&first, 1), Ok(()));
    assert_eq!(bench.commit(&first, 1), Ok(()));
}

#[test]
fn another_member_begins_another_generation() {
    let mut bench = Bench::new();
    let (first, second) = bench.two();
    let (third, waits) = bench.enter();
    assert!(waits.is_silent());
    assert_eq!(bench.heartbeat(&first, 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(bench.commit(&second, 1), Ok(()), "what it has read it may still say");
    assert!(bench.join(&request(&first)).is_silent());
    let told = bench.join(&request(&second));
    let generations: Vec<i32> =
        told.joined.iter().map(|(_, answer)| answer.as_ref().unwrap().generation).collect();
    assert_eq!(generations, [2, 2, 2]);
    let of_leader = told.joined.iter().find_map(|(_, answer)| {
        answer.as_ref().ok().filter(|joined| joined.member == first).map(|joined| joined.members.len())
    });
    assert_eq!(of_leader, Some(3));
    assert_eq!(bench.heartbeat(&third, 1), Err(GroupError::IllegalGeneration));
    assert_eq!(bench.heartbeat(&third, 2), Ok(()));
}

#[test]
fn who_does_not_join_in_time_is_left_behind() {
    let mut bench = Bench::new();
    let (first, second) = bench.two();
    let (_, waits) = bench.enter();
    assert!(waits.is_silent());
    assert!(bench.join(&request(&second)).is_silent());
    // The first one says that it lives and does not join.
    for _ in 0..(REBALANCE.as_secs() / 5 - 1) {
        assert!(bench.pass(Duration::from_secs(5)).is_silent());
        assert_eq!(bench.heartbeat(&first, 1), Err(GroupError::RebalanceInProgress));
    }
    let told = bench.pass(Duration::from_secs(5));
    assert_eq!(told.joined.len(), 2);
    assert_eq!(bench.heartbeat(&first, 2), Err(GroupError::UnknownMember));
    let leaders: Vec<_> =
        told.joined.iter().map(|(_, answer)| answer.as_ref().unwrap().leader.clone()).collect();
    assert!(!leaders.contains(&first));
}

#[test]
fn a_silent_member_is_missed_and_the_last_one_empties_the_group() {
    let mut bench = Bench::new();
    let (first, second) = bench.two();
    assert!(bench.pass(SESSION / 2).is_silent());
    assert_eq!(bench.heartbeat(&first, 1), Ok(()));
    assert!(bench.pass(SESSION / 2).is_silent(), "the others are to join again");
    assert_eq!(bench.heartbeat(&second, 1), Err(GroupError::UnknownMember));
    let alone = bench.join(&request(&first)).only_joined().unwrap();
    assert_eq!((alone.generation, alone.members.len()), (2, 1));
    let (left, mut emptied) = bench.leave(name(&first));
    assert_eq!(left, Ok(()));
    let (generation, record, purpose) = emptied.stores.remove(0);
    assert_eq!((generation, &purpose, record.members.len()), (3, &Purpose::Empty, 0));
    assert_eq!((record.protocol.as_deref(), record.leader.as_deref()), (None, None));
    assert!(bench.live.find("g").is_some(), "its record still says otherwise");
    bench.stored((generation, record, purpose), Ok(()));
    assert!(bench.live.find("g").is_none());
    assert_eq!((bench.live.bytes(), bench.live.next_deadline()), (0, None));
    // The group goes on from there.
    let (_, waits) = bench.enter();
    assert!(waits.is_silent());
    assert_eq!(bench.pass(DELAY).only_joined().unwrap().generation, 4);
}

#[test]
fn a_member_that_brings_nothing_new_is_told_what_is() {
    let mut bench = Bench::new();
    let (first, second) = bench.two();
    let joined = bench.join(&request(&second)).only_joined().unwrap();
    assert_eq!((joined.generation, joined.members.len(), joined.leader), (1, 0, first.clone()));
    // The leader joins again to assign anew.
    assert!(bench.join(&request(&first)).is_silent());
    assert_eq!(bench.heartbeat(&second, 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn an_assignment_that_is_not_stored_is_not_told() {
    let mut bench = Bench::new();
    let (first, _) = bench.two();
    assert!(bench.join(&request(&first)).is_silent());
    let second = bench.live.find("g").unwrap().members.keys().find(|id| **id != first).unwrap().clone();
    assert_eq!(bench.join(&request(&second)).joined.len(), 2);
    assert!(bench.sync(&second, 2, &[]).is_silent());
    let mut assigned = bench.sync(&first, 2, &[(&first, b"x")]);
    let told = bench.stored(assigned.stores.remove(0), Err(GroupError::NotAvailable("disk".into())));
    let answers: Vec<_> = told.synced.into_iter().map(|(_, answer)| answer).collect();
    assert_eq!(answers, vec![Err(GroupError::NotAvailable("disk".into())); 2]);
    assert_eq!(bench.heartbeat(&first, 2), Err(GroupError::RebalanceInProgress));
}

#[test]
fn who_never_asks_for_its_assignment_is_removed() {
    let mut bench = Bench::new();
    let (first, second) = bench.two();
    assert!(bench.join(&request(&first)).is_silent());
    assert_eq!(bench.join(&request(&second)).joined.len(), 2);
    let mut assigned = bench.sync(&first, 2, &[]);
    bench.stored(assigned.stores.remove(0), Ok(()));
    for _ in 0..(REBALANCE.as_secs() / 5) {
        assert_eq!((bench.heartbeat(&first, 2), bench.heartbeat(&second, 2)), (Ok(()), Ok(())));
        assert!(bench.pass(Duration::from_secs(5)).is_silent());
    }
    assert_eq!(bench.heartbeat(&second, 2), Err(GroupError::UnknownMember));
    assert_eq!(bench.heartbeat(&first, 2), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_former_self() {
    let mut bench = Bench::new();
    assert!(bench.join(&fixed("i")).is_silent());
    let joined = bench.pass(DELAY).only_joined().unwrap();
    let old = joined.member;
    assert!(old.starts_with("i-"));
    let mut assigned = bench.sync(&old, 1, &[(&old, b"all")]);
    bench.stored(assigned.stores.remove(0), Ok(()));
    let mut back = bench.join(&fixed("i"));
    assert!(back.joined.is_empty(), "its new id is not stored yet");
    let store = back.stores.remove(0);
    assert_ne!(store.1.members[0].id, old);
    assert_eq!(store.1.members[0].assignment, b"all");
    let joined = bench.stored(store, Ok(())).only_joined().unwrap();
    assert_eq!((joined.generation, joined.skip_assignment), (1, true));
    assert_eq!(joined.leader, joined.member);
    let as_instance = |id: &str| MemberName { id: id.into(), instance: Some("i".into()) };
    let beat = bench.step(|live, record, step| live.on_heartbeat("g", &as_instance(&old), 1, record, step));
    assert_eq!(beat, Err(GroupError::FencedInstance));
    let beat = bench
        .step(|live, record, step| live.on_heartbeat("g", &as_instance(&joined.member), 1, record, step));
    assert_eq!(beat, Ok(()));
    // An admin client removes it by its instance.
    assert_eq!(bench.leave(MemberName { id: String::new(), instance: Some("i".into()) }).0, Ok(()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut bench = Bench::new();
    let unknown = bench.join(&request("nobody")).only_joined().unwrap_err();
    assert_eq!((unknown.error, unknown.member.as_str()), (GroupError::UnknownMember, "nobody"));
    let short = JoinRequest { session_timeout_ms: 5_999, ..request("") };
    assert_eq!(bench.join(&short).only_joined().unwrap_err().error, GroupError::InvalidSessionTimeout);
    let none = JoinRequest { protocols: Vec::new(), ..request("") };
    assert_eq!(bench.join(&none).only_joined().unwrap_err().error, GroupError::InconsistentProtocol);
    let (first, _) = bench.two();
    let other = JoinRequest { protocol_type: "connect".into(), ..request("") };
    assert_eq!(bench.join(&other).only_joined().unwrap_err().error, GroupError::InconsistentProtocol);
    let other = JoinRequest { protocols: vec![protocol("mine", b"")], ..request("") };
    assert_eq!(bench.join(&other).only_joined().unwrap_err().error, GroupError::InconsistentProtocol);
    assert_eq!(bench.commit("", -1), Err(GroupError::UnknownMember), "the group has members");
    assert_eq!(bench.commit(&first, 0), Err(GroupError::IllegalGeneration));
    assert_eq!(bench.commit("nobody", 1), Err(GroupError::UnknownMember));
    bench.settings.members_max = 2;
    let full = bench.join(&request("")).only_joined().unwrap_err();
    assert_eq!((full.error, full.member.as_str()), (GroupError::GroupMaxSizeReached, ""));
}

#[test]
fn an_id_that_nobody_comes_back_with_is_forgotten() {
    let mut bench = Bench::new();
    let refused = bench.join(&request("")).only_joined().unwrap_err();
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    assert!(bench.pass(SESSION).is_silent());
    assert!(bench.live.find("g").is_none());
    assert_eq!(
        bench.join(&request(&refused.member)).only_joined().unwrap_err().error,
        GroupError::UnknownMember
    );
}

#[test]
fn a_group_that_is_read_back_goes_on() {
    let mut bench = Bench::new();
    let (first, second) = bench.two();
    let record = bench.record.clone().unwrap();
    let waits = bench.enter();
    assert!(waits.1.is_silent());
    let live = std::mem::take(&mut bench.live);
    let told = Outcome::of(live.resign());
    assert_eq!(told.only_joined().unwrap_err().error, GroupError::NotCoordinator);
    let groups = [("g".to_owned(), record)];
    bench.live =
        bench.step(|_, _, step| Live::restored(groups.iter().map(|(id, record)| (id, record)), step));
    assert_eq!((bench.heartbeat(&first, 1), bench.commit(&second, 1)), (Ok(()), Ok(())));
    assert_eq!(bench.sync(&second, 1, &[]).synced[0].1.as_ref().unwrap().assignment, b"two");
    assert!(bench.pass(SESSION - Duration::from_millis(1)).is_silent());
    let emptied = bench.pass(Duration::from_millis(1));
    assert_eq!(emptied.stores[0].2, Purpose::Empty, "their time ran from then on");
}
