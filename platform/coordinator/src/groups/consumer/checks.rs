//! Who may do what: requests that make no sense, epochs that are not the member's.

use super::super::assignor::{Assignment, Assignor};
use super::super::error::GroupError;
use super::super::format::consumer::Current;
use super::{ConsumerGroup, ConsumerHeartbeat, JOIN_EPOCH, LEAVE_STATIC_EPOCH};

/// What fits into a record's key.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// Whether a heartbeat makes sense by itself.
pub(super) fn check_request(beat: &ConsumerHeartbeat) -> Result<(), GroupError> {
    let invalid = |reason: &str| Err(GroupError::InvalidRequest(reason.to_owned()));
    let is_empty = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    if beat.group.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if beat.member.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    let texts = [Some(&beat.group), Some(&beat.member), beat.instance.as_ref(), beat.rack.as_ref()];
    for text in texts.into_iter().chain([beat.pattern.as_ref()]).flatten() {
        if text.len() > TEXT_BYTES_MAX {
            let reason = format!("A name has {} bytes, and may have {TEXT_BYTES_MAX}.", text.len());
            return Err(GroupError::InvalidRequest(reason));
        }
    }
    if is_empty(&beat.instance) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&beat.rack) {
        return invalid("RackId can't be empty.");
    }
    if beat.epoch == JOIN_EPOCH {
        if beat.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if beat.topics.is_none() && beat.pattern.is_none() {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
    }
    if beat.epoch == LEAVE_STATIC_EPOCH && beat.instance.is_none() {
        return invalid("InstanceId can't be null.");
    }
    if beat.epoch < LEAVE_STATIC_EPOCH {
        let reason = format!("MemberEpoch is {}, but must be greater than or equal to -2.", beat.epoch);
        return Err(GroupError::InvalidRequest(reason));
    }
    if let Some(name) = &beat.assignor
        && Assignor::named(name).is_none()
    {
        let known = Assignor::ALL.map(Assignor::name).join(", ");
        let reason = format!("ServerAssignor {name} is not supported. Supported assignors: {known}.");
        return Err(GroupError::UnsupportedAssignor(reason));
    }
    Ok(())
}

/// Whether the member may go on with the epoch that it names. One that has not heard of its last epoch may, if it has
/// nothing that it should not.
pub(super) fn check_epoch(
    current: Option<&Current>,
    epoch: i32,
    owned: Option<&Assignment>,
) -> Result<(), GroupError> {
    let Some(current) = current else { return Ok(()) };
    let known = current.epoch;
    if epoch == known {
        return Ok(());
    }
    let is_late =
        epoch == current.previous_epoch && owned.is_some_and(|owned| is_part(owned, &current.assigned));
    if epoch < known && is_late {
        return Ok(());
    }
    let kind = if epoch > known { "greater" } else { "smaller" };
    Err(GroupError::FencedMemberEpoch(format!(
        "The consumer group member has a {kind} member epoch ({epoch}) than the one known by the group coordinator \
         ({known}). The member must abandon all its partitions and rejoin."
    )))
}

fn is_part(part: &Assignment, whole: &Assignment) -> bool {
    part.iter().all(|(topic, partitions)| {
        let known = whole.get(topic);
        partitions.iter().all(|partition| known.is_some_and(|known| known.binary_search(partition).is_ok()))
    })
}

/// Whether somebody may commit offsets in a group to which the coordinator assigns.
pub(in crate::groups) fn check_commit(
    group: &ConsumerGroup,
    member: &str,
    epoch: i32,
) -> Result<(), GroupError> {
    // Of an admin client, or of a consumer that is in no group.
    if epoch < 0 && group.members().is_empty() {
        return Ok(());
    }
    check_member(group, member, epoch)
}

/// Whether somebody may ask for offsets; who names no member always may.
pub(in crate::groups) fn check_fetch(
    group: &ConsumerGroup,
    member: Option<&str>,
    epoch: i32,
) -> Result<(), GroupError> {
    match member {
        Some(member) if !member.is_empty() || epoch >= 0 => check_member(group, member, epoch),
        _ => Ok(()),
    }
}

fn check_member(group: &ConsumerGroup, member: &str, epoch: i32) -> Result<(), GroupError> {
    if !group.members().contains_key(member) {
        return Err(GroupError::UnknownMember);
    }
    let known = group.current(member).map_or(0, |current| current.epoch);
    if epoch == known {
        return Ok(());
    }
    Err(GroupError::StaleMemberEpoch(format!(
        "The received member epoch {epoch} does not match the expected member epoch {known}."
    )))
}
