//! JoinGroup and LeaveGroup: who comes and goes.

use std::time::Duration;

use super::super::error::GroupError;
use super::live::Turn;
use super::member::Member;
use super::timers::{Subject, Timer};
use super::{Command, JoinAnswer, JoinRefused, JoinRequest, Joined, MemberName, Purpose, State, Waiter};

/// How long somebody is waited for who was not a member before: it cannot say that it lives while it joins, and may have
/// gone and come back under another id.
const NEW_MEMBER_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What a member's id begins with: as much of its name as leaves room for the rest, since records have strings of at
/// most 32,767 bytes.
fn prefix(request: &JoinRequest) -> &str {
    const PREFIX_BYTES_MAX: usize = i16::MAX as usize - "-00000000-0000-0000-0000-000000000000".len();
    let name = request.instance.as_ref().unwrap_or(&request.client_id);
    &name[..name.floor_char_boundary(PREFIX_BYTES_MAX)]
}

impl Command {
    pub(super) fn refuse_join(waiter: Waiter, error: GroupError, member: &str) -> Self {
        let refused = JoinRefused { error, member: member.to_owned() };
        Self::Joined(waiter, Box::new(Err(refused)))
    }
}

impl Turn<'_> {
    pub(super) fn join(&mut self, request: &JoinRequest, waiter: Waiter, room: usize) {
        if let Err(error) = self.try_join(request, waiter, room) {
            let member = match error {
                GroupError::GroupMaxSizeReached => "",
                _ => &request.member,
            };
            self.commands.push(Command::refuse_join(waiter, error, member));
        }
    }

    fn try_join(&mut self, request: &JoinRequest, waiter: Waiter, room: usize) -> Result<(), GroupError> {
        self.check_request(request)?;
        if !self.has_room(request, room) {
            let id = request.member.clone();
            self.drop_member(&id, &GroupError::GroupMaxSizeReached);
            return Err(GroupError::GroupMaxSizeReached);
        }
        if request.member.is_empty() {
            return self.join_anew(request, waiter);
        }
        if !self.group.supports(&request.protocol_type, &request.protocols) {
            return Err(GroupError::InconsistentProtocol);
        }
        if let Some(mut timer) = self.group.expect_no_more(&request.member) {
            self.timers.disarm(&mut timer, &self.id, Subject::Member(request.member.clone()));
            self.add_member(request, request.member.clone(), waiter);
            return Ok(());
        }
        let name = MemberName { id: request.member.clone(), instance: request.instance.clone() };
        self.group.check_member(&name)?;
        self.join_again(request, waiter)
    }

    fn check_request(&self, request: &JoinRequest) -> Result<(), GroupError> {
        let timeout = Duration::from_millis(request.session_timeout_ms.max(0).unsigned_abs().into());
        let allowed = self.settings.session_timeout_min..=self.settings.session_timeout_max;
        if !allowed.contains(&timeout) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let is_known = !self.group.members.is_empty()
            || !self.group.pending.is_empty()
            || self.group.protocol_type.is_some();
        if !request.member.is_empty() && !is_known {
            return Err(GroupError::UnknownMember);
        }
        Ok(())
    }

    fn has_room(&self, request: &JoinRequest, room: usize) -> bool {
        let group = &*self.group;
        let known = group.members.get(&request.member);
        let grows = Member::new(request).bytes().saturating_sub(known.map_or(0, Member::bytes));
        if grows > room {
            tracing::warn!(
                group = %self.id, grows, room,
                "no room for what a member says of itself: there is a limit for the members of all groups of a broker"
            );
            return false;
        }
        let most = self.settings.members_max;
        match group.state {
            State::Empty => group.pending.len() < most,
            // Of those who were there before, the last are not taken again when the limit was lowered.
            State::PreparingRebalance { .. } => {
                known.is_some_and(|member| member.joining.is_some()) || group.joining() < most
            }
            State::CompletingRebalance | State::Stable => known.is_some() || group.members.len() < most,
        }
    }

    /// Somebody without an id.
    fn join_anew(&mut self, request: &JoinRequest, waiter: Waiter) -> Result<(), GroupError> {
        if !self.group.supports(&request.protocol_type, &request.protocols) {
            return Err(GroupError::InconsistentProtocol);
        }
        let id = format!("{}-{}", prefix(request), self.random.uuid());
        if let Some(instance) = &request.instance {
            match self.group.instances.get(instance).cloned() {
                Some(old) => self.replace_member(request, &old, id, waiter),
                None => self.add_member(request, id, waiter),
            }
        } else if request.takes_member_id {
            let mut timer = Timer::default();
            let at = self.now.instant + Member::new(request).session_timeout;
            self.timers.arm(&mut timer, at, &self.id, Subject::Member(id.clone()));
            self.group.expect(id.clone(), timer);
            self.commands.push(Command::refuse_join(waiter, GroupError::MemberIdRequired, &id));
        } else {
            self.add_member(request, id, waiter);
        }
        Ok(())
    }

    /// A member of the group. Whether it brings news decides whether there is another generation.
    fn join_again(&mut self, request: &JoinRequest, waiter: Waiter) -> Result<(), GroupError> {
        let id = &request.member;
        let is_same = self.group.members.get(id).is_some_and(|member| member.protocols == request.protocols);
        match self.group.state {
            State::Empty => return Err(GroupError::UnknownMember),
            State::PreparingRebalance { .. } => {}
            // Its answer may have been lost.
            State::CompletingRebalance if is_same => return self.join_as_it_is(id, waiter),
            State::Stable if is_same && !self.group.is_leader(id) => return self.join_as_it_is(id, waiter),
            State::CompletingRebalance | State::Stable => {}
        }
        self.update_member(request, id, waiter);
        self.rebalance();
        Ok(())
    }

    fn join_as_it_is(&mut self, id: &str, waiter: Waiter) -> Result<(), GroupError> {
        let mut joined = self.joined(id);
        if self.group.state == State::CompletingRebalance && self.group.is_leader(id) {
            joined.members = self.group.joined_members();
        }
        self.commands.push(Command::Joined(waiter, Box::new(Ok(joined))));
        Ok(())
    }

    /// The answer to a member, without the others.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let group = &*self.group;
        Joined {
            member: id.to_owned(),
            generation: group.generation,
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol: group.protocol.clone().unwrap_or_default(),
            leader: group.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }

    fn add_member(&mut self, request: &JoinRequest, id: String, waiter: Waiter) {
        let mut member = Member::new(request);
        member.joining = Some(waiter);
        if self.group.members.is_empty() {
            self.group.protocol_type = Some(request.protocol_type.clone());
        }
        if self.group.state == (State::PreparingRebalance { is_initial: true }) {
            self.group.grew = true;
        }
        self.group.add(id.clone(), member);
        if let Some(member) = self.group.members.get_mut(&id) {
            let at = self.now.instant + NEW_MEMBER_PATIENCE;
            self.timers.arm(&mut member.timer, at, &self.id, Subject::Member(id));
        }
        self.rebalance();
    }

    fn update_member(&mut self, request: &JoinRequest, id: &str, waiter: Waiter) {
        let mut earlier = None;
        let (news, protocols) = (Member::new(request), request.protocols.clone());
        self.group.change(id, |member| {
            member.protocols = protocols;
            member.rebalance_timeout = news.rebalance_timeout;
            member.session_timeout = news.session_timeout;
            earlier = member.joining.replace(waiter);
        });
        // Its former request is not waited for by anyone.
        if let Some(earlier) = earlier {
            self.commands.push(Command::refuse_join(earlier, GroupError::RebalanceInProgress, id));
        }
    }

    /// A static member came back without its id: it gets another one, and who has the old one is fenced.
    fn replace_member(&mut self, request: &JoinRequest, old: &str, id: String, waiter: Waiter) {
        self.fence(old);
        let leader = self.group.leader.clone();
        self.group.rename(old, &id);
        self.keep_alive(&id);
        match self.group.state {
            State::Stable => {
                let before = self.group.members.get(&id).map(|member| member.protocols.clone());
                self.group.set_protocols(&id, request.protocols.clone());
                if self.group.select_protocol() == self.group.protocol {
                    self.take_back(request, &id, leader, waiter);
                    return;
                }
                // What it had is compared with once more, in the rebalance.
                self.group.set_protocols(&id, before.unwrap_or_default());
            }
            State::Empty | State::PreparingRebalance { .. } | State::CompletingRebalance => {}
        }
        self.update_member(request, &id, waiter);
        self.rebalance();
    }

    /// The generation goes on with the member under its new id.
    fn take_back(&mut self, request: &JoinRequest, id: &str, leader: Option<String>, waiter: Waiter) {
        let news = Member::new(request);
        self.group.change(id, |member| {
            member.rebalance_timeout = news.rebalance_timeout;
            member.session_timeout = news.session_timeout;
        });
        self.keep_alive(id);
        let mut joined = self.joined(id);
        if request.may_skip_assignment {
            joined.skip_assignment = self.group.is_leader(id);
            if joined.skip_assignment {
                joined.members = self.group.joined_members();
            }
        } else {
            // A client that took itself for the leader would assign, which nobody waits for.
            joined.leader = leader.unwrap_or_default();
        }
        self.store(Purpose::Replace { waiter, joined: Box::new(joined) });
    }

    fn fence(&mut self, id: &str) {
        let Some(member) = self.group.members.get_mut(id) else { return };
        self.timers.disarm(&mut member.timer, &self.id, Subject::Member(id.to_owned()));
        let mut joining = None;
        if let Some(waiter) = member.syncing.take() {
            self.commands.push(Command::Synced(waiter, Err(GroupError::FencedInstance)));
        }
        self.group.change(id, |member| joining = member.joining.take());
        if let Some(waiter) = joining {
            self.commands.push(Command::refuse_join(waiter, GroupError::FencedInstance, id));
        }
    }

    pub(super) fn leave(&mut self, name: &MemberName) -> Result<(), GroupError> {
        if let Some(mut timer) = self.group.expect_no_more(&name.id) {
            self.timers.disarm(&mut timer, &self.id, Subject::Member(name.id.clone()));
            self.maybe_complete_join();
            return Ok(());
        }
        // An admin client names a static member by its instance alone.
        let known = name.instance.as_ref().and_then(|instance| self.group.instances.get(instance)).cloned();
        let id = match known {
            Some(id) if name.id.is_empty() => id,
            _ => {
                self.group.check_member(name)?;
                name.id.clone()
            }
        };
        self.remove_member(&id);
        Ok(())
    }

    /// Removes a member, and begins another generation without it.
    pub(super) fn remove_member(&mut self, id: &str) {
        self.drop_member(id, &GroupError::UnknownMember);
        match self.group.state {
            State::Empty => {}
            State::PreparingRebalance { .. } => self.maybe_complete_join(),
            State::CompletingRebalance | State::Stable => self.prepare_rebalance(),
        }
    }

    /// Removes a member; what it waits for ends with `error`.
    pub(super) fn drop_member(&mut self, id: &str, error: &GroupError) {
        let Some(mut member) = self.group.remove(id) else { return };
        self.timers.disarm(&mut member.timer, &self.id, Subject::Member(id.to_owned()));
        if let Some(waiter) = member.joining {
            self.commands.push(Command::refuse_join(waiter, error.clone(), id));
        }
        if let Some(waiter) = member.syncing {
            self.commands.push(Command::Synced(waiter, Err(error.clone())));
        }
    }

    pub(super) fn answer_join(&mut self, waiter: Waiter, answer: JoinAnswer) {
        self.commands.push(Command::Joined(waiter, Box::new(answer)));
    }
}
