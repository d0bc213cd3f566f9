//! JoinGroup (0 to 9), SyncGroup (0 to 5), Heartbeat (0 to 4) and LeaveGroup (0 to 5): the members of a group.
//!
//! Who joins or syncs waits for the others, at most as long as the slowest member may take; the requests behind it on
//! the same connection are worked on meanwhile, and answered after it.

use bytes::Bytes;
use millrace_coordinator::{
    GroupError, JoinAnswer, JoinRequest, MemberName, MemberProtocol, SyncAnswer, SyncRequest,
};
use millrace_protocol::messages::join_group_response::JoinGroupResponseMember;
use millrace_protocol::messages::leave_group_response::MemberResponse;
use millrace_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use millrace_transport::{CloseReason, Reply};

use super::{code, member_name, text};
use crate::call::Call;

/// From this version on the rebalance has a timeout of its own.
const HAS_REBALANCE_TIMEOUT: i16 = 1;
/// From this version on a member joins with an id that it was given (KIP-394).
const TAKES_MEMBER_ID: i16 = 4;
/// From this version on the protocol's name may be none.
const NULLABLE_PROTOCOL: i16 = 7;
/// From this version on a leader may have nothing to assign (KIP-814).
const MAY_SKIP_ASSIGNMENT: i16 = 9;
/// From this version on many leave in one request (KIP-345).
const MANY_LEAVE: i16 = 3;

pub(crate) async fn join(call: Call, body: Bytes) -> Result<Reply, CloseReason> {
    let request: JoinGroupRequest = call.decode(body)?;
    let request = join_request(&call, request);
    Ok(Reply::Later(Box::pin(async move {
        let answer = call.state.groups.join(request).await;
        call.encode_later(&join_response(&call, answer))
    })))
}

/// A copy: what waits holds nothing of the request's buffer.
fn join_request(call: &Call, request: JoinGroupRequest) -> JoinRequest {
    let session_timeout_ms = request.session_timeout_ms;
    JoinRequest {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        instance: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: call.client.id.clone(),
        client_host: format!("/{}", call.client.address),
        session_timeout_ms,
        rebalance_timeout_ms: if call.version >= HAS_REBALANCE_TIMEOUT {
            request.rebalance_timeout_ms
        } else {
            session_timeout_ms
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| MemberProtocol {
                name: protocol.name.to_string(),
                metadata: protocol.metadata.to_vec(),
            })
            .collect(),
        takes_member_id: call.version >= TAKES_MEMBER_ID,
        may_skip_assignment: call.version >= MAY_SKIP_ASSIGNMENT,
    }
}

fn join_response(call: &Call, answer: JoinAnswer) -> JoinGroupResponse {
    let joined = match answer {
        Ok(joined) => joined,
        Err(refused) => {
            let protocol = (call.version < NULLABLE_PROTOCOL).then(Default::default);
            return JoinGroupResponse::default()
                .with_error_code(code::<()>(call, &Err(refused.error)))
                .with_generation_id(-1)
                .with_protocol_name(protocol)
                .with_member_id(text(refused.member));
        }
    };
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(member.instance.map(text))
            .with_metadata(member.metadata.into())
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member))
        .with_members(members.collect())
}

pub(crate) async fn sync(call: Call, body: Bytes) -> Result<Reply, CloseReason> {
    let request: SyncGroupRequest = call.decode(body)?;
    let request = SyncRequest {
        group: request.group_id.to_string(),
        member: member_name(&request.member_id, request.group_instance_id.as_ref()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: request
            .assignments
            .iter()
            .map(|assigned| (assigned.member_id.to_string(), assigned.assignment.to_vec()))
            .collect(),
    };
    Ok(Reply::Later(Box::pin(async move {
        let answer = call.state.groups.sync(request).await;
        call.encode_later(&sync_response(&call, answer))
    })))
}

fn sync_response(call: &Call, answer: SyncAnswer) -> SyncGroupResponse {
    let error_code = code(call, &answer);
    let Ok(synced) = answer else { return SyncGroupResponse::default().with_error_code(error_code) };
    SyncGroupResponse::default()
        .with_protocol_type(Some(text(synced.protocol_type)))
        .with_protocol_name(Some(text(synced.protocol)))
        .with_assignment(synced.assignment.into())
}

pub(crate) async fn heartbeat(call: &Call, request: HeartbeatRequest) -> HeartbeatResponse {
    let member = member_name(&request.member_id, request.group_instance_id.as_ref());
    let beat = call.state.groups.heartbeat(&request.group_id, &member, request.generation_id).await;
    HeartbeatResponse::default().with_error_code(code(call, &beat))
}

pub(crate) async fn leave(call: &Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let members: Vec<MemberName> = if call.version >= MANY_LEAVE {
        let members = request.members.iter();
        members.map(|member| member_name(&member.member_id, member.group_instance_id.as_ref())).collect()
    } else {
        vec![member_name(&request.member_id, None)]
    };
    let left = match call.state.groups.leave(&request.group_id, &members).await {
        Ok(left) => left,
        // As of a group in which none of them is.
        Err(GroupError::GroupIdNotFound) => vec![Err(GroupError::UnknownMember); members.len()],
        Err(error) => return LeaveGroupResponse::default().with_error_code(code::<()>(call, &Err(error))),
    };
    if call.version < MANY_LEAVE {
        let outcome = left.into_iter().next().unwrap_or(Ok(()));
        return LeaveGroupResponse::default().with_error_code(code(call, &outcome));
    }
    let answers = members.into_iter().zip(left).map(|(member, outcome)| {
        MemberResponse::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(member.instance.map(text))
            .with_error_code(code(call, &outcome))
    });
    LeaveGroupResponse::default().with_members(answers.collect())
}
