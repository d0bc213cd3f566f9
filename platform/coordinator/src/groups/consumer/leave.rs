//! Members that leave, by their own will or because nothing is heard of them, and groups that are deleted.

use std::sync::Arc;

use super::super::error::GroupError;
use super::super::format::consumer::{Current, GroupEpoch, Part};
use super::draft::Draft;
use super::sessions::Step;
use super::{ConsumerGroup, ConsumerHeartbeat, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Sessions, Topics, target};

/// The member's epoch from now on.
pub(super) fn on_leave(
    beat: &ConsumerHeartbeat,
    draft: &mut Draft<'_>,
    sessions: &mut Sessions,
    step: &Step<'_>,
) -> Result<i32, GroupError> {
    let group = draft.group();
    if let Some(instance) = &beat.instance {
        let holder = group.instance(instance).ok_or(GroupError::UnknownMember)?;
        if holder != beat.member {
            return Err(GroupError::FencedInstance);
        }
    }
    if !group.members().contains_key(&beat.member) {
        return Err(GroupError::UnknownMember);
    }
    if beat.epoch == LEAVE_STATIC_EPOCH {
        // It keeps what it has until it is back, or its session is over.
        if let Some(current) = group.current(&beat.member) {
            let left = Current {
                epoch: LEAVE_STATIC_EPOCH,
                revoking: Default::default(),
                ..Current::clone(current)
            };
            draft.push(Part::Current(beat.member.clone(), Some(Arc::new(left))));
        }
        return Ok(LEAVE_STATIC_EPOCH);
    }
    remove(&beat.member, draft, step.topics, step.now.wall_ms);
    sessions.forget(&beat.group, &beat.member);
    Ok(LEAVE_EPOCH)
}

/// The records that remove a member from a group.
pub(in crate::groups) fn leave(
    group: &ConsumerGroup,
    members: &[String],
    topics: &dyn Topics,
    now_ms: i64,
) -> Vec<Part> {
    let mut draft = Draft::new(Some(group));
    for member in members {
        if draft.group().members().contains_key(member) {
            remove(member, &mut draft, topics, now_ms);
        }
    }
    draft.into_parts()
}

fn remove(member: &str, draft: &mut Draft<'_>, topics: &dyn Topics, now_ms: i64) {
    for part in removal(member) {
        draft.push(part);
    }
    target::resolve_patterns(draft, topics, now_ms);
    let epoch = draft.group().epoch().epoch + 1;
    let topics_hash = target::topics_hash(draft.group(), topics);
    draft.push(Part::GroupEpoch(Some(GroupEpoch { epoch, topics_hash })));
}

pub(super) fn removal(member: &str) -> [Part; 3] {
    [
        Part::Current(member.to_owned(), None),
        Part::Target(member.to_owned(), None),
        Part::Member(member.to_owned(), None),
    ]
}

/// The records that forget a group.
pub(in crate::groups) fn forget(group: &ConsumerGroup) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut last = None;
    while let Some(part) = group.next_part(last.as_ref()) {
        last = Some(part.subject());
        parts.push(match part {
            Part::GroupEpoch(_) => Part::GroupEpoch(None),
            Part::Member(member, _) => Part::Member(member, None),
            Part::TargetEpoch(_) => Part::TargetEpoch(None),
            Part::Target(member, _) => Part::Target(member, None),
            Part::Current(member, _) => Part::Current(member, None),
            Part::Pattern(pattern, _) => Part::Pattern(pattern, None),
        });
    }
    parts
}
