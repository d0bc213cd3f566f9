//! The controller has answered a proposal, or nobody has (KIP-497).

use millrace_base::BrokerId;

use crate::command::{Command, IsrProposal};
use crate::replica::{Replica, Role};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsrAnswer {
    /// The set stands, under this partition epoch.
    Committed { isr: Vec<BrokerId>, partition_epoch: i32 },
    /// The controller says that it has not been applied and will not be: it counts no longer.
    Rejected,
    /// The partition has moved on. What is in sync comes with the next assignment; till then what was proposed counts,
    /// since it may be what moved the partition on.
    Outdated,
    /// Nobody knows whether it was applied: it counts, and is proposed again.
    Unknown,
}

impl Replica {
    /// `proposal` is what was asked for.
    pub fn on_isr_answer(
        &mut self,
        proposal: &IsrProposal,
        answer: IsrAnswer,
        now_ms: i64,
        out: &mut Vec<Command>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let asked = (proposal.leader_epoch, proposal.partition_epoch);
        if asked != (self.assignment.leader_epoch, self.assignment.partition_epoch)
            || leader.proposed.is_none()
        {
            return;
        }
        match answer {
            IsrAnswer::Committed { isr, partition_epoch } if partition_epoch > proposal.partition_epoch => {
                self.assignment.isr = isr;
                self.assignment.partition_epoch = partition_epoch;
                self.isr_committed(now_ms, out);
            }
            IsrAnswer::Committed { .. } | IsrAnswer::Outdated => {}
            IsrAnswer::Rejected => {
                leader.proposed = None;
                self.advance(out);
                self.wake_later(now_ms, out);
            }
            IsrAnswer::Unknown => {
                leader.ask_again = true;
                self.wake_later(now_ms, out);
            }
        }
    }
}
