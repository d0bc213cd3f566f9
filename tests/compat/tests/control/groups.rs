//! Groups of consumers in the classic protocol: members of every version, static ones, and what is asked of groups from
//! outside.

use millrace_compat_tests::control::{Pair, Peer};
use millrace_protocol::StrBytes;
use millrace_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use millrace_protocol::messages::leave_group_request::MemberIdentity;
use millrace_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use millrace_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetFetchRequest, SyncGroupRequest,
};
use millrace_protocol::{ApiKey, ErrorCode};
use millrace_test_harness::eventually;

use crate::offsets;
use crate::support::{create_in, text};

pub const TOPIC: &str = "grouped";
/// A consumer's subscription to [`TOPIC`], as the Java client's range assignor writes it in version 0.
const SUBSCRIPTION: &[u8] = b"\x00\x00\x00\x00\x00\x01\x00\x07grouped\xff\xff\xff\xff";

pub fn compare(pair: &mut Pair) {
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        create_in(peer, &[(TOPIC, 2, &[])]);
        await_coordinator(peer);
    }
    refused_joins(pair);
    strangers(pair);
    for version in pair.versions(ApiKey::JoinGroup) {
        generation(pair, version);
    }
    stable(pair);
    static_members(pair);
    offsets::compare(pair);
    from_outside(pair);
}

fn await_coordinator(peer: &mut Peer) {
    let keys = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let fetch = OffsetFetchRequest::default().with_group_id(group("g")).with_topics(None);
    eventually("groups to be coordinated", std::time::Duration::from_secs(60), || {
        let found = peer.ask(4, &keys)?.coordinators.first()?.error_code == 0;
        (found && peer.ask(5, &fetch)?.error_code == 0).then_some(())
    });
}

pub fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn protocols(names: &[&str]) -> Vec<JoinGroupRequestProtocol> {
    let protocol = |name: &&str| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(bytes::Bytes::from_static(SUBSCRIPTION))
    };
    names.iter().map(protocol).collect()
}

/// What only some versions can carry is left out of the others.
fn join(version: i16, name: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(if version >= 1 { 30_000 } else { -1 })
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols(&["range", "roundrobin"]))
}

pub fn sync(
    name: &str,
    member: &str,
    generation: i32,
    assigned: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    let assignment = |(member, bytes): &(&str, &'static [u8])| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(bytes::Bytes::from_static(bytes))
    };
    SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_assignments(assigned.iter().map(assignment).collect())
}

fn heartbeat(name: &str, member: &str, generation: i32, instance: Option<&str>) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_generation_id(generation)
        .with_group_instance_id(instance.map(text))
}

fn leave(version: i16, name: &str, member: &str, instance: Option<&str>) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(group(name));
    if version < 3 {
        return request.with_member_id(text(member));
    }
    let identity = MemberIdentity::default().with_member_id(text(member));
    request.with_members(vec![identity.with_group_instance_id(instance.map(text))])
}

/// Brings a member into both groups; it is called `called`, and its join was answered.
pub fn enter(pair: &mut Pair, name: &str, called: &str, instance: Option<&str>) {
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        let join = |member: &str| join(5, name, member).with_group_instance_id(instance.map(text));
        let mut joined = peer.ask(5, &join("")).unwrap();
        if joined.error_code == ErrorCode::MemberIdRequired.code() {
            joined = peer.ask(5, &join(&joined.member_id)).unwrap();
        }
        assert_eq!(joined.error_code, 0, "join {name}");
        peer.call_member(called, &joined.member_id);
    }
}

/// Enters a group and takes all there is.
pub fn settle(pair: &mut Pair, name: &str, called: &str) {
    enter(pair, name, called, None);
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        let member = peer.member(called);
        let synced = peer.ask(3, &sync(name, &member, 1, &[(&member, b"all")])).unwrap();
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
    }
}

fn refused_joins(pair: &mut Pair) {
    let bad: [(&str, fn(JoinGroupRequest) -> JoinGroupRequest); 9] = [
        ("an empty group", |join| join.with_group_id(group(""))),
        ("a session too short", |join| join.with_session_timeout_ms(5_999)),
        ("a session too long", |join| join.with_session_timeout_ms(1_800_001)),
        ("a negative session", |join| join.with_session_timeout_ms(-1)),
        ("no protocols", |join| join.with_protocols(Vec::new())),
        ("no protocol type", |join| join.with_protocol_type(StrBytes::default())),
        ("an unknown member", |join| join.with_member_id(text("nobody"))),
        ("an unknown member, no protocols", |join| {
            join.with_member_id(text("nobody")).with_protocols(Vec::new())
        }),
        ("an unknown static member", |join| {
            join.with_member_id(text("nobody")).with_group_instance_id(Some(text("i")))
        }),
    ];
    for (what, spoil) in bad {
        pair.compare_all(&format!("join with {what}"), |_, version| {
            spoil(join(version, &format!("refused {what} {version}"), ""))
        });
    }
    // Kafka keeps a group of nobody for each of them.
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        let names =
            bad.iter().flat_map(|(what, _)| (0..10).map(move |version| format!("refused {what} {version}")));
        let request =
            DeleteGroupsRequest::default().with_groups_names(names.map(|name| group(&name)).collect());
        peer.ask(2, &request).unwrap();
    }
    pair.compare("join for an id", 4, |_, version| join(version, "asked for an id", ""));
}

/// Requests of members that there are not.
fn strangers(pair: &mut Pair) {
    for name in ["", "unknown"] {
        for instance in [None, Some("i")] {
            pair.compare_all(&format!("heartbeat of a stranger '{name}' {instance:?}"), |_, version| {
                heartbeat(name, "nobody", 1, instance.filter(|_| version >= 3))
            });
            pair.compare_all(&format!("leave of a stranger '{name}' {instance:?}"), |_, version| {
                leave(version, name, "nobody", instance)
            });
        }
        pair.compare_all(&format!("sync of a stranger '{name}'"), |_, version| {
            let request = sync(name, "nobody", 1, &[]);
            if version < 5 { request } else { named(request, "consumer", "range") }
        });
    }
}

fn named(request: SyncGroupRequest, protocol_type: &str, protocol: &str) -> SyncGroupRequest {
    request.with_protocol_type(Some(text(protocol_type))).with_protocol_name(Some(text(protocol)))
}

/// One generation, spoken in one version as far as each API has it.
fn generation(pair: &mut Pair, version: i16) {
    let name = format!("generation {version}");
    // The answer names a member that nothing else has named yet.
    enter(pair, &name, "one", None);
    pair.compare("join again as the leader", version, |peer, version| {
        join(version, &name, &peer.member("one"))
    });
    pair.compare("heartbeat while the leader assigns", version.min(4), |peer, _| {
        heartbeat(&name, &peer.member("one"), 1, None)
    });
    pair.compare("sync of the leader", version.min(5), |peer, version| {
        let member = peer.member("one");
        let request = sync(&name, &member, 1, &[(&member, b"all")]);
        if version < 5 { request } else { named(request, "consumer", "range") }
    });
    pair.compare("sync once more", version.min(5), |peer, version| {
        let request = sync(&name, &peer.member("one"), 1, &[]);
        if version < 5 { request } else { named(request, "consumer", "range") }
    });
    pair.compare("join of the leader of a stable group", version, |peer, version| {
        join(version, &name, &peer.member("one"))
    });
    pair.compare("leave", version.min(5), |peer, version| leave(version, &name, &peer.member("one"), None));
    pair.compare("heartbeat of who left", version.min(4), |peer, _| {
        heartbeat(&name, &peer.member("one"), 2, None)
    });
    if version != 4 {
        // By itself, without an id where it has not to ask for one first.
        pair.compare("join first", version.min(3), |_, version| join(version, &format!("{name} first"), ""));
    }
}

/// A group that has settled.
fn stable(pair: &mut Pair) {
    const NAME: &str = "stable";
    settle(pair, NAME, "stable");
    for (member, generation) in [("stable", 1), ("stable", 0), ("stable", 2), ("stable", -1), ("nobody", 1)] {
        pair.compare_all(&format!("heartbeat {member} {generation}"), |peer, _| {
            heartbeat(NAME, &peer.member(member), generation, None)
        });
        pair.compare_all(&format!("sync {member} {generation}"), |peer, version| {
            let request = sync(NAME, &peer.member(member), generation, &[]);
            if version < 5 { request } else { named(request, "consumer", "range") }
        });
    }
    for (kind, protocol) in [("consumer", "other"), ("other", "range")] {
        pair.compare("sync with another protocol", 5, |peer, _| {
            named(sync(NAME, &peer.member("stable"), 1, &[]), kind, protocol)
        });
    }
    pair.compare_all("join with other protocols", |_, version| {
        join(version, NAME, "").with_protocols(protocols(&["other"]))
    });
    pair.compare_all("join with another type", |_, version| {
        join(version, NAME, "").with_protocol_type(text("connect"))
    });
    pair.compare_all("join as an unknown member", |_, version| join(version, NAME, "nobody"));
    pair.compare_all("leave as an unknown member", |_, version| leave(version, NAME, "nobody", None));
    pair.compare_all("leave as an unknown instance", |_, version| leave(version, NAME, "", Some("i")));
    pair.compare("leave of nobody", 3, |_, _| LeaveGroupRequest::default().with_group_id(group(NAME)));
}

fn static_members(pair: &mut Pair) {
    const NAME: &str = "static";
    enter(pair, NAME, "static", Some("i"));
    pair.compare("sync of a static leader", 3, |peer, _| {
        let member = peer.member("static");
        sync(NAME, &member, 1, &[(&member, b"all")]).with_group_instance_id(Some(text("i")))
    });
    for (member, instance) in
        [("static", "i"), ("static", "j"), ("nobody", "i"), ("nobody", "j"), ("", "i"), ("", "j")]
    {
        let what = format!("of member '{member}', instance '{instance}'");
        pair.compare(&format!("heartbeat {what}"), 4, |peer, _| {
            heartbeat(NAME, &peer.member(member), 1, Some(instance))
        });
        pair.compare(&format!("sync {what}"), 5, |peer, _| {
            let request =
                sync(NAME, &peer.member(member), 1, &[]).with_group_instance_id(Some(text(instance)));
            named(request, "consumer", "range")
        });
    }
    for member in ["nobody", "static"] {
        pair.compare(&format!("join '{member}' under an instance"), 9, |peer, version| {
            join(version, NAME, &peer.member(member)).with_group_instance_id(Some(text("i")))
        });
    }
    // It comes back without its id, in the generation that goes on or in another.
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        let member = peer.member("static");
        let assigned = sync(NAME, &member, 2, &[(&member, b"all")]);
        let synced = peer.ask(3, &assigned.with_group_instance_id(Some(text("i")))).unwrap();
        assert_eq!(synced.error_code, 0);
    }
    for version in [5, 9] {
        pair.compare("join back under an instance", version, |_, version| {
            join(version, NAME, "").with_group_instance_id(Some(text("i")))
        });
    }
    pair.compare("heartbeat of who was replaced", 4, |peer, _| {
        heartbeat(NAME, &peer.member("static"), 2, Some("i"))
    });
    pair.compare("leave of who was replaced", 5, |peer, version| {
        leave(version, NAME, &peer.member("static"), Some("i"))
    });
    pair.compare("leave of an instance", 5, |_, version| leave(version, NAME, "", Some("i")));
    pair.compare("leave of an instance that is gone", 5, |_, version| leave(version, NAME, "", Some("i")));
}

fn from_outside(pair: &mut Pair) {
    let described = |groups: &[&str]| groups.iter().map(|name| group(name)).collect::<Vec<_>>();
    for groups in
        [&["stable"][..], &["static"], &["simple"], &["unknown"], &[""], &["stable", "unknown"], &[]]
    {
        pair.compare_all(&format!("describe {groups:?}"), |_, version| {
            let request = DescribeGroupsRequest::default().with_groups(described(groups));
            request.with_include_authorized_operations(version >= 3)
        });
    }
    let states: [&[&str]; 5] = [&[], &["Stable"], &["stable", "EMPTY"], &["NoSuchState"], &["Dead"]];
    for states in states {
        pair.compare_all(&format!("list {states:?}"), |_, _| {
            ListGroupsRequest::default().with_states_filter(states.iter().map(|name| text(name)).collect())
        });
    }
    for kinds in [&["classic"][..], &["Classic", "consumer"], &["consumer"], &["nothing"]] {
        pair.compare(&format!("list types {kinds:?}"), 5, |_, _| {
            ListGroupsRequest::default().with_types_filter(kinds.iter().map(|name| text(name)).collect())
        });
    }
    for groups in [&["unknown"][..], &["stable"], &[""], &["static", "unknown"], &["static"], &[]] {
        pair.compare(&format!("delete {groups:?}"), 2, |_, _| {
            DeleteGroupsRequest::default().with_groups_names(described(groups))
        });
    }
    pair.compare_all("describe what was deleted", |_, _| {
        DescribeGroupsRequest::default().with_groups(described(&["static"]))
    });
}
