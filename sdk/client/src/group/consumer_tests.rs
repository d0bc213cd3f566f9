//! What a KIP-848 member sends and asks for, event by event.

use millrace_base::Random;
use millrace_protocol::messages::consumer_group_heartbeat_response as answer;

use super::*;

fn settings(instance: Option<&str>) -> GroupSettings {
    GroupSettings {
        group: Arc::from("g"),
        instance_id: instance.map(Arc::from),
        rack: None,
        server_assignor: None,
        assignors: Vec::new(),
        session_timeout: Duration::from_secs(45),
        heartbeat_interval: Duration::from_secs(3),
        rebalance_timeout: Duration::from_secs(300),
    }
}

struct Case {
    member: ConsumerMember,
    topic: TopicId,
    now: Instant,
}

impl Case {
    /// A member that has sent its first heartbeat.
    fn joining() -> Self {
        let (topic, now) = (TopicId(Random::seeded(1).uuid()), Instant::now());
        let mut member = ConsumerMember::new(settings(None), Arc::from("m"));
        member.on_names(&[(topic, Arc::from("t"))], now);
        let commands = member.subscribe(Subscription::Topics(vec![Arc::from("t")]), now);
        assert_eq!(shown(&commands), "heartbeat 0 topics=t owned=[]");
        Self { member, topic, now }
    }

    /// A member that owns partitions 0 and 1 in epoch 1, and has said so.
    fn settled() -> Self {
        let mut case = Self::joining();
        assert_eq!(case.answer(1, Some(&[0, 1])), "assign t-0 t-1");
        assert_eq!(case.done(), "heartbeat 1 owned=[0, 1]");
        assert_eq!(case.answer(1, None), "");
        case
    }

    fn answer(&mut self, epoch: i32, target: Option<&[i32]>) -> String {
        let assignment = target.map(|partitions| {
            let topic = answer::TopicPartitions::default()
                .with_topic_id(self.topic.0)
                .with_partitions(partitions.to_vec());
            Assignment::default().with_topic_partitions(vec![topic])
        });
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_epoch(epoch)
            .with_heartbeat_interval_ms(5000)
            .with_assignment(assignment);
        shown(&self.member.on_answer(Ok(Incoming::ConsumerHeartbeat(response)), self.now))
    }

    fn refuse(&mut self, code: ErrorCode) -> String {
        let response = ConsumerGroupHeartbeatResponse::default().with_error_code(code.code());
        shown(&self.member.on_answer(Ok(Incoming::ConsumerHeartbeat(response)), self.now))
    }

    fn done(&mut self) -> String {
        shown(&self.member.on_done(self.now))
    }

    fn after(&mut self, millis: u64) -> String {
        self.now += Duration::from_millis(millis);
        shown(&self.member.on_time(self.now))
    }
}

fn shown(commands: &[Command]) -> String {
    let names = |partitions: &[TopicPartition]| {
        partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let one = |command: &Command| match command {
        Command::Send(Outgoing::ConsumerHeartbeat(request)) => {
            let topics = request.subscribed_topic_names.as_ref().map(|topics| {
                format!(
                    " topics={}",
                    topics.iter().map(|topic| topic.to_string()).collect::<Vec<_>>().join(",")
                )
            });
            let owned = request.topic_partitions.as_ref().map(|topics| {
                format!(
                    " owned={:?}",
                    topics.iter().flat_map(|one| one.partitions.clone()).collect::<Vec<_>>()
                )
            });
            let (topics, owned) = (topics.unwrap_or_default(), owned.unwrap_or_default());
            format!("heartbeat {}{topics}{owned}", request.member_epoch)
        }
        Command::Revoke(partitions) => format!("revoke {}", names(partitions)),
        Command::Assign(partitions) => format!("assign {}", names(partitions)),
        Command::Lose(partitions) => format!("lose {}", names(partitions)),
        Command::NameTopics(topics) => format!("name {}", topics.len()),
        Command::FindCoordinator => "find".to_owned(),
        Command::Fail(error) => format!("fail {error}"),
        other => format!("{other:?}"),
    };
    commands.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[test]
fn heartbeats_carry_nothing_while_nothing_changes() {
    let mut case = Case::settled();
    assert_eq!(case.after(4999), "");
    assert_eq!(case.after(1), "heartbeat 1");
    assert_eq!(case.after(60_000), "", "one is on its way");
    assert_eq!(case.member.identity(), Some((Arc::from("m"), 1)));
}

#[test]
fn what_goes_goes_before_what_comes_and_then_the_group_hears() {
    let mut case = Case::settled();
    assert_eq!(case.after(5000), "heartbeat 1");
    assert_eq!(case.answer(2, Some(&[1, 2])), "revoke t-0");
    // Others may not have it before the application is through.
    assert_eq!(case.after(5000), "heartbeat 2");
    assert_eq!(case.answer(2, None), "");
    assert_eq!(case.done(), "assign t-2");
    assert_eq!(case.done(), "heartbeat 2 owned=[1, 2]");
}

#[test]
fn a_later_target_waits_for_the_step_that_is_under_way() {
    let mut case = Case::settled();
    assert_eq!(case.after(5000), "heartbeat 1");
    assert_eq!(case.answer(2, Some(&[0, 1, 2])), "assign t-2");
    assert_eq!(case.after(5000), "heartbeat 2");
    assert_eq!(case.answer(3, Some(&[0])), "");
    assert_eq!(case.done(), "revoke t-1 t-2");
    assert_eq!(case.done(), "heartbeat 3 owned=[0]");
}

#[test]
fn a_member_that_is_fenced_has_lost_all_and_joins_anew() {
    for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId] {
        let mut case = Case::settled();
        assert_eq!(case.after(5000), "heartbeat 1");
        assert_eq!(case.refuse(code), "lose t-0 t-1; heartbeat 0 topics=t owned=[]");
        assert_eq!(case.member.identity(), None);
    }
}

#[test]
fn after_a_failure_all_is_said_again_and_elsewhere() {
    let mut case = Case::settled();
    assert_eq!(case.after(5000), "heartbeat 1");
    assert_eq!(case.refuse(ErrorCode::NotCoordinator), "find");
    assert_eq!(case.after(99), "");
    assert_eq!(case.after(1), "heartbeat 1 topics=t owned=[0, 1]");
    // The coordinator loads: the next pause is longer.
    assert_eq!(case.refuse(ErrorCode::CoordinatorLoadInProgress), "");
    assert_eq!(case.after(199), "");
    assert_eq!(case.after(1), "heartbeat 1 topics=t owned=[0, 1]");
}

#[test]
fn a_topic_without_a_name_is_asked_for_and_taken_when_it_has_one() {
    let mut case = Case::joining();
    case.member.names.clear();
    assert_eq!(case.answer(1, Some(&[0])), "heartbeat 1 owned=[]; name 1");
    assert_eq!(case.answer(1, None), "name 1");
    let named = case.member.on_names(&[(case.topic, Arc::from("t"))], case.now);
    assert_eq!(shown(&named), "assign t-0");
}

#[test]
fn refusals_that_nothing_helps_against_end_it_with_what_to_do() {
    let mut case = Case::settled();
    assert_eq!(case.after(5000), "heartbeat 1");
    assert!(case.refuse(ErrorCode::FencedInstanceId).contains("a group_instance_id of its own"));
    assert_eq!(case.after(60_000), "");
    assert_eq!(case.member.deadline(), None);
}

#[test]
fn leaving_says_how_and_what_comes_back_late_changes_nothing() {
    let mut case = Case::settled();
    assert_eq!(case.after(5000), "heartbeat 1");
    let leave = case.member.leave().map(Command::Send);
    assert_eq!(shown(&leave.into_iter().collect::<Vec<_>>()), "heartbeat -1");
    assert_eq!(case.answer(2, Some(&[0])), "");
    assert_eq!(case.member.owned(), []);
    let mut fixed = ConsumerMember::new(settings(Some("i")), Arc::from("m"));
    fixed.subscribe(Subscription::Topics(Vec::new()), case.now);
    let leave = fixed.leave().map(Command::Send);
    assert_eq!(shown(&leave.into_iter().collect::<Vec<_>>()), "heartbeat -2");
}
