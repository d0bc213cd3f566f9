//! Who is in sync: the leader proposes, the controller commits (KIP-497).

use millrace_base::BrokerId;

use crate::command::{Command, IsrProposal, Refused, Waiters};
use crate::replica::{Replica, Role};

impl Replica {
    /// Proposes another in-sync set if there is a reason and no proposal under way. Out goes who lags or has lost what it
    /// acknowledged; in comes `fetcher`, which has just fetched, if it has caught up to the high watermark and to where
    /// this leader epoch began, and is who the metadata take it for.
    pub(crate) fn reconsider_isr(&mut self, fetcher: Option<BrokerId>, now_ms: i64, out: &mut Vec<Command>) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.proposed.is_some() || leader.followers.is_empty() {
            return;
        }
        let (assignment, pointers) = (&self.assignment, self.pointers);
        let stays = |id: BrokerId| {
            let follower = leader.followers.iter().find(|follower| follower.id == id);
            let Some(follower) = follower else { return id == self.local };
            if assignment.isr.contains(&id) {
                return !follower.lost && !follower.lags(pointers.log_end, now_ms, self.timing.lag_max_ms);
            }
            let is_known = assignment.member(id).is_some_and(|member| member.identity == follower.identity);
            fetcher == Some(id)
                && is_known
                && follower.end >= pointers.high_watermark
                && follower.end >= leader.epoch_start
        };
        let changes = |id: &BrokerId| stays(*id) != assignment.isr.contains(id);
        if !assignment.replicas.iter().any(|member| changes(&member.id)) {
            return;
        }
        let isr = assignment.replicas.iter().map(|member| member.id).filter(|id| stays(*id)).collect();
        leader.proposed = Some(isr);
        self.propose(out);
    }

    /// Sends the proposal that stands.
    pub(crate) fn propose(&mut self, out: &mut Vec<Command>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(proposed) = &leader.proposed else { return };
        leader.ask_again = false;
        let with_epoch = |id: &BrokerId| {
            let member = self.assignment.member(*id);
            (*id, member.map_or(-1, |member| member.identity.broker_epoch))
        };
        out.push(Command::ProposeIsr(IsrProposal {
            leader_epoch: self.assignment.leader_epoch,
            partition_epoch: self.assignment.partition_epoch,
            isr: proposed.iter().map(with_epoch).collect(),
        }));
    }

    /// The controller has committed `assignment.isr`, which ends whatever was proposed before.
    pub(crate) fn isr_committed(&mut self, now_ms: i64, out: &mut Vec<Command>) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.proposed = None;
        leader.ask_again = false;
        for follower in &mut leader.followers {
            // Out of the set it may begin anew.
            follower.lost &= self.assignment.isr.contains(&follower.id);
        }
        self.in_sync_changed(now_ms, out);
        self.reconsider_isr(None, now_ms, out);
    }

    /// The set, or the least number that it needs, may be another.
    pub(crate) fn in_sync_changed(&mut self, now_ms: i64, out: &mut Vec<Command>) {
        if self.assignment.is_under_min_isr() {
            let (in_sync, least) = (self.assignment.isr.len(), self.assignment.effective_min_isr());
            let why = Refused::NotEnoughReplicasAfterAppend { in_sync, least };
            out.push(Command::Fail { who: Waiters::Replicated, why });
        }
        self.advance(out);
        self.wake_later(now_ms, out);
    }

    /// A leader of others looks twice in the time that one may lag, as Kafka does.
    pub(crate) fn wake_later(&mut self, now_ms: i64, out: &mut Vec<Command>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let due_ms = if leader.ask_again {
            now_ms + self.timing.retry_ms
        } else if self.assignment.isr.len() > 1 {
            now_ms + (self.timing.lag_max_ms / 2).max(1)
        } else {
            return;
        };
        if leader.wake_at_ms.is_none_or(|at_ms| due_ms < at_ms) {
            leader.wake_at_ms = Some(due_ms);
            out.push(Command::WakeAt(due_ms));
        }
    }
}
