//! What a classic member sends and asks for, event by event.

use millrace_protocol::messages::join_group_response::JoinGroupResponseMember;

use super::*;

struct Case {
    member: ClassicMember,
    now: Instant,
}

impl Case {
    /// A member of id `m` that has sent its join.
    fn joining(assignors: &[Assignor]) -> Self {
        let settings = GroupSettings {
            group: Arc::from("g"),
            instance_id: None,
            rack: None,
            server_assignor: None,
            assignors: assignors.to_vec(),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
        };
        let mut case = Self { member: ClassicMember::new(settings), now: Instant::now() };
        let commands = case.member.subscribe(Subscription::Topics(vec![Arc::from("t")]), case.now);
        assert_eq!(shown(&commands), "join '' owned=[] generation=-1");
        let required = JoinGroupResponse::default()
            .with_error_code(ErrorCode::MemberIdRequired.code())
            .with_member_id(text("m"));
        assert_eq!(case.answer(Incoming::Join(required)), "join 'm' owned=[] generation=-1");
        case
    }

    /// One that follows and owns partitions 0 and 1 in generation 1.
    fn settled(assignors: &[Assignor]) -> Self {
        let mut case = Self::joining(assignors);
        assert_eq!(case.joined(1), "sync 1 []");
        assert_eq!(case.synced(&[0, 1]), "assign t-0 t-1");
        assert_eq!(case.done(), "");
        case
    }

    fn answer(&mut self, answer: Incoming) -> String {
        shown(&self.member.on_answer(Ok(answer), self.now))
    }

    fn joined(&mut self, generation: i32) -> String {
        let response = JoinGroupResponse::default()
            .with_generation_id(generation)
            .with_leader(text("other"))
            .with_member_id(text("m"))
            .with_protocol_name(Some(text(self.member.settings.assignors[0].name())));
        self.answer(Incoming::Join(response))
    }

    fn synced(&mut self, partitions: &[i32]) -> String {
        let partitions = partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect();
        let response = SyncGroupResponse::default().with_assignment(encode_assignment(&partitions));
        self.answer(Incoming::Sync(response))
    }

    fn heartbeat(&mut self, code: Option<ErrorCode>) -> String {
        let code = code.map_or(0, |code| code.code());
        self.answer(Incoming::Heartbeat(HeartbeatResponse::default().with_error_code(code)))
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
        Command::Send(Outgoing::Join(request)) => {
            let member = decode_subscription(request.protocols[0].metadata.clone()).unwrap();
            let owned: Vec<i32> = member.owned.iter().map(|one| one.partition).collect();
            format!("join '{}' owned={owned:?} generation={}", &*request.member_id, member.generation)
        }
        Command::Send(Outgoing::Sync(request)) => {
            let assignment = |one: &SyncGroupRequestAssignment| {
                let partitions = decode_assignment(one.assignment.clone()).unwrap();
                format!("{}: {}", &*one.member_id, names(&partitions.into_iter().collect::<Vec<_>>()))
            };
            let assignments: Vec<String> = request.assignments.iter().map(assignment).collect();
            format!("sync {} [{}]", request.generation_id, assignments.join(", "))
        }
        Command::Send(Outgoing::Heartbeat(request)) => format!("heartbeat {}", request.generation_id),
        Command::Send(Outgoing::Leave(request)) => format!("leave {}", &*request.members[0].member_id),
        Command::Revoke(partitions) => format!("revoke {}", names(partitions)),
        Command::Assign(partitions) => format!("assign {}", names(partitions)),
        Command::Lose(partitions) => format!("lose {}", names(partitions)),
        Command::CountPartitions(topics) => format!("count {}", topics.join(" ")),
        Command::FindCoordinator => "find".to_owned(),
        Command::Fail(error) => format!("fail {error}"),
        other => format!("{other:?}"),
    };
    commands.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_member_is_kept_by_heartbeats() {
    let mut case = Case::settled(&[Assignor::Range]);
    assert_eq!(case.after(2999), "");
    assert_eq!(case.after(1), "heartbeat 1");
    assert_eq!(case.heartbeat(None), "");
    assert_eq!(case.member.identity(), Some((Arc::from("m"), 1)));
}

#[test]
fn an_eager_member_gives_up_all_before_it_joins_again() {
    let mut case = Case::settled(&[Assignor::Range, Assignor::CooperativeSticky]);
    assert_eq!(case.after(3000), "heartbeat 1");
    assert_eq!(case.heartbeat(Some(ErrorCode::RebalanceInProgress)), "revoke t-0 t-1");
    // The application takes its time, and the member stays one.
    assert_eq!(case.after(3000), "heartbeat 1");
    assert_eq!(case.done(), "");
    assert_eq!(case.heartbeat(Some(ErrorCode::RebalanceInProgress)), "join 'm' owned=[] generation=1");
    assert_eq!(case.joined(2), "sync 2 []");
    assert_eq!(case.synced(&[1]), "assign t-1");
}

#[test]
fn a_cooperative_member_gives_up_what_is_taken_away_and_joins_again_for_others() {
    let mut case = Case::settled(&[Assignor::CooperativeSticky]);
    assert_eq!(case.after(3000), "heartbeat 1");
    let rejoined = case.heartbeat(Some(ErrorCode::RebalanceInProgress));
    assert_eq!(rejoined, "join 'm' owned=[0, 1] generation=1");
    assert_eq!(case.joined(2), "sync 2 []");
    assert_eq!(case.synced(&[0, 2]), "revoke t-1");
    assert_eq!(case.done(), "assign t-2");
    assert_eq!(case.done(), "join 'm' owned=[0, 2] generation=2");
}

#[test]
fn the_leader_assigns_when_it_knows_how_many_partitions_there_are() {
    let mut case = Case::joining(&[Assignor::Range]);
    let metadata = encode_subscription(
        &MemberSubscription { topics: [Arc::from("t")].into(), ..MemberSubscription::default() },
        None,
    );
    let member = |id: &str| {
        JoinGroupResponseMember::default().with_member_id(text(id)).with_metadata(metadata.clone())
    };
    let response = JoinGroupResponse::default()
        .with_generation_id(4)
        .with_leader(text("m"))
        .with_member_id(text("m"))
        .with_protocol_name(Some(text("range")))
        .with_members(vec![member("m"), member("n")]);
    assert_eq!(case.answer(Incoming::Join(response)), "count t");
    let count = |count: i32| BTreeMap::from([(Arc::from("t"), count)]);
    let commands = case.member.on_counts(&count(3), case.now);
    assert_eq!(shown(&commands), "sync 4 [m: t-0 t-1, n: t-2]");
    assert_eq!(case.synced(&[0, 1]), "assign t-0 t-1");
    assert_eq!(case.done(), "");
    assert_eq!(shown(&case.member.on_counts(&count(3), case.now)), "");
    // The topic has got more partitions.
    assert_eq!(shown(&case.member.on_counts(&count(4), case.now)), "revoke t-0 t-1");
}

#[test]
fn who_is_not_known_any_more_has_lost_all_and_is_new() {
    let mut case = Case::settled(&[Assignor::Range]);
    assert_eq!(case.after(3000), "heartbeat 1");
    let lost = case.heartbeat(Some(ErrorCode::UnknownMemberId));
    assert_eq!(lost, "lose t-0 t-1; join '' owned=[] generation=-1");
    let mut case = Case::settled(&[Assignor::Range]);
    assert_eq!(case.after(3000), "heartbeat 1");
    let lost = case.heartbeat(Some(ErrorCode::IllegalGeneration));
    assert_eq!(lost, "lose t-0 t-1; join 'm' owned=[] generation=-1");
}

#[test]
fn an_interrupted_sync_is_a_reason_to_join_again_after_a_pause() {
    let mut case = Case::joining(&[Assignor::Range]);
    assert_eq!(case.joined(1), "sync 1 []");
    let lost = SyncGroupResponse::default().with_error_code(ErrorCode::NotCoordinator.code());
    assert_eq!(case.answer(Incoming::Sync(lost)), "find");
    assert_eq!(case.after(99), "");
    assert_eq!(case.after(1), "join 'm' owned=[] generation=1");
}

#[test]
fn a_pattern_is_refused_with_the_way_out() {
    let mut case = Case::settled(&[Assignor::Range]);
    let commands = case.member.subscribe(Subscription::Pattern(Arc::from("t.*")), case.now);
    let shown = shown(&commands);
    assert!(shown.contains("lose t-0 t-1; fail group 'g': the pattern 't.*'"), "{shown}");
    assert!(shown.contains("use GroupProtocol::Consumer"), "{shown}");
}

#[test]
fn leaving_names_the_member() {
    let mut case = Case::settled(&[Assignor::Range]);
    let leave: Vec<Command> = case.member.leave().map(Command::Send).into_iter().collect();
    assert_eq!(shown(&leave), "leave m");
    assert_eq!(case.member.owned(), []);
    assert_eq!(case.after(60_000), "");
}
