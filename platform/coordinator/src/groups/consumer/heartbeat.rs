//! A heartbeat: the member joins, says what has changed, and is brought one step nearer to its target.

use std::sync::Arc;
use std::time::Duration;

use super::super::error::GroupError;
use super::super::format::consumer::{Current, GroupEpoch, MemberMetadata, Part, Progress};
use super::draft::Draft;
use super::sessions::Step;
use super::{
    ConsumerBeat, ConsumerGroup, ConsumerHeartbeat, JOIN_EPOCH, Sessions, checks, leave, pattern, reconcile,
    target,
};

/// What one hears of another member's change waits for its next heartbeat. With few members they come often, so that a
/// rebalance is over soon; with many they share what a coordinator answers.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(250);
const HEARTBEAT_INTERVAL_PER_MEMBER: Duration = Duration::from_micros(500);

/// What the members whose groups have one partition for their state may say of themselves.
const MEMBER_BYTES_MAX: usize = 32 << 20;

pub(in crate::groups) fn on_heartbeat(
    beat: &ConsumerHeartbeat,
    group: Option<&ConsumerGroup>,
    sessions: &mut Sessions,
    step: &Step<'_>,
) -> Result<(Vec<Part>, ConsumerBeat), GroupError> {
    checks::check_request(beat)?;
    if group.is_none() && beat.epoch != JOIN_EPOCH {
        return Err(GroupError::GroupIdNotFound);
    }
    let mut draft = Draft::new(group);
    if beat.epoch < JOIN_EPOCH {
        let epoch = leave::on_leave(beat, &mut draft, sessions, step)?;
        let answer =
            ConsumerBeat { member: beat.member.clone(), epoch, heartbeat_interval_ms: 0, assignment: None };
        return Ok((draft.into_parts(), answer));
    }
    check_room(beat, draft.group(), step)?;
    let is_new = enter(beat, &mut draft, sessions)?;
    let is_changed = tell(beat, &mut draft, sessions.bytes())?;
    let version = step.topics.version();
    if is_new || is_changed || sessions.seen(&beat.group) != Some(version) {
        follow_topics(&mut draft, is_changed, step);
        sessions.see(&beat.group, version);
    }
    if draft.group().epoch().epoch > draft.group().target_epoch() {
        target::update(&mut draft, step.topics);
    }
    let before = draft.group().current(&beat.member).cloned();
    let owned = beat.owned.as_ref();
    if let Some(next) = reconcile::reconcile(draft.group(), &beat.member, owned, is_changed, step.topics) {
        draft.push(Part::Current(beat.member.clone(), Some(Arc::new(next))));
    }
    let answer = answer(beat, &draft, before.as_deref(), sessions, step);
    Ok((draft.into_parts(), answer))
}

fn check_room(beat: &ConsumerHeartbeat, group: &ConsumerGroup, step: &Step<'_>) -> Result<(), GroupError> {
    let is_member = group.members().contains_key(&beat.member);
    if !is_member && group.members().len() >= step.settings.members_max {
        return Err(GroupError::GroupMaxSizeReached);
    }
    Ok(())
}

/// Lets the member in, or finds it; whether it is a new one. A static member that comes back has what it had.
fn enter(
    beat: &ConsumerHeartbeat,
    draft: &mut Draft<'_>,
    sessions: &mut Sessions,
) -> Result<bool, GroupError> {
    let group = draft.group();
    let current = group.current(&beat.member);
    let owned = beat.owned.as_ref();
    let holder = beat.instance.as_deref().and_then(|instance| group.instance(instance)).map(str::to_owned);
    if beat.epoch != JOIN_EPOCH {
        match (&beat.instance, &holder) {
            (Some(_), Some(holder)) if *holder != beat.member => return Err(GroupError::FencedInstance),
            (Some(_), None) => return Err(GroupError::UnknownMember),
            _ if !group.members().contains_key(&beat.member) => return Err(GroupError::UnknownMember),
            _ => checks::check_epoch(current.map(|current| &**current), beat.epoch, owned)?,
        }
        return Ok(false);
    }
    let Some(holder) = holder else {
        checks::check_epoch(current.map(|current| &**current), beat.epoch, owned)?;
        return Ok(!group.members().contains_key(&beat.member));
    };
    if group.current(&holder).is_some_and(|current| current.epoch != super::LEAVE_STATIC_EPOCH) {
        let instance = beat.instance.as_deref().unwrap_or_default();
        return Err(GroupError::UnreleasedInstance(format!(
            "Static member {} with instance id {instance} cannot join the group because the instance id is owned by \
             {holder} member.",
            beat.member
        )));
    }
    take_over(&holder, beat, draft);
    sessions.forget(&beat.group, &holder);
    Ok(true)
}

/// The member gets the place of the one that had its instance id.
fn take_over(holder: &str, beat: &ConsumerHeartbeat, draft: &mut Draft<'_>) {
    let group = draft.group();
    let said = group.members().get(holder).cloned();
    let target = group.target(holder).cloned();
    let assigned = group.current(holder).map(|current| current.assigned.clone()).unwrap_or_default();
    for part in leave::removal(holder) {
        draft.push(part);
    }
    let current = Current {
        epoch: JOIN_EPOCH,
        previous_epoch: JOIN_EPOCH,
        progress: Progress::Stable,
        assigned,
        revoking: Default::default(),
    };
    draft.push(Part::Member(beat.member.clone(), said));
    draft.push(Part::Target(beat.member.clone(), target));
    draft.push(Part::Current(beat.member.clone(), Some(Arc::new(current))));
}

/// Writes down what the member says of itself, if it is news; whether it reads other topics than before.
fn tell(beat: &ConsumerHeartbeat, draft: &mut Draft<'_>, taken: usize) -> Result<bool, GroupError> {
    let known = draft.group().members().get(&beat.member).cloned();
    let said = said(beat, known.as_deref());
    let is_changed =
        known.as_ref().is_none_or(|known| known.topics != said.topics || known.pattern != said.pattern);
    if known.as_ref().is_none_or(|known| known.pattern != said.pattern) && !said.pattern.is_empty() {
        pattern::check(&said.pattern)?;
    }
    if known.as_deref() != Some(&said) {
        if taken + said.bytes() > MEMBER_BYTES_MAX {
            return Err(GroupError::GroupMaxSizeReached);
        }
        draft.push(Part::Member(beat.member.clone(), Some(Arc::new(said))));
    }
    Ok(is_changed)
}

fn said(beat: &ConsumerHeartbeat, known: Option<&MemberMetadata>) -> MemberMetadata {
    let topics = match &beat.topics {
        Some(topics) => {
            let mut topics = topics.clone();
            topics.sort_unstable();
            topics.dedup();
            topics
        }
        None => known.map(|known| known.topics.clone()).unwrap_or_default(),
    };
    let rebalance_timeout_ms = if beat.rebalance_timeout_ms == -1 {
        known.map_or(-1, |known| known.rebalance_timeout_ms)
    } else {
        beat.rebalance_timeout_ms
    };
    let or_known = |said: &Option<String>, of: fn(&MemberMetadata) -> &Option<String>| {
        said.clone().or_else(|| of(known?).clone())
    };
    MemberMetadata {
        instance: or_known(&beat.instance, |known| &known.instance),
        rack: or_known(&beat.rack, |known| &known.rack),
        client_id: beat.client_id.clone(),
        client_host: beat.client_host.clone(),
        topics,
        pattern: match &beat.pattern {
            Some(pattern) => pattern.clone(),
            None => known.map(|known| known.pattern.clone()).unwrap_or_default(),
        },
        rebalance_timeout_ms,
        assignor: or_known(&beat.assignor, |known| &known.assignor),
    }
}

/// Begins another epoch if what the group reads is not what it was.
fn follow_topics(draft: &mut Draft<'_>, is_changed: bool, step: &Step<'_>) {
    target::resolve_patterns(draft, step.topics, step.now.wall_ms);
    let known = draft.group().epoch();
    let topics_hash = target::topics_hash(draft.group(), step.topics);
    if is_changed || topics_hash != known.topics_hash {
        draft.push(Part::GroupEpoch(Some(GroupEpoch { epoch: known.epoch + 1, topics_hash })));
    }
}

fn answer(
    beat: &ConsumerHeartbeat,
    draft: &Draft<'_>,
    before: Option<&Current>,
    sessions: &mut Sessions,
    step: &Step<'_>,
) -> ConsumerBeat {
    let group = draft.group();
    let current = group.current(&beat.member);
    let said = group.members().get(&beat.member);
    let revocation = current.filter(|current| current.progress == Progress::Unrevoked).map(|current| {
        let timeout_ms = said.map_or(0, |said| said.rebalance_timeout_ms);
        let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or_default());
        (step.now.instant + timeout, current.epoch)
    });
    let bytes = said.map_or(0, |said| said.bytes());
    let ends = step.now.instant + step.settings.session_timeout;
    sessions.beat(&beat.group, (&beat.member, bytes), ends, revocation);
    let is_news = current.map(|current| &current.assigned) != before.map(|before| &before.assigned);
    let members = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
    let interval = HEARTBEAT_INTERVAL_PER_MEMBER
        .saturating_mul(members)
        .max(HEARTBEAT_INTERVAL_MIN)
        .min(step.settings.heartbeat_interval);
    ConsumerBeat {
        member: beat.member.clone(),
        epoch: current.map_or(JOIN_EPOCH, |current| current.epoch),
        heartbeat_interval_ms: i32::try_from(interval.as_millis()).unwrap_or(i32::MAX),
        assignment: current.filter(|_| is_news || beat.is_full()).map(|current| current.assigned.clone()),
    }
}
