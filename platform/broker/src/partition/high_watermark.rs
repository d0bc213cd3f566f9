//! The high watermark of one partition: below it every in-sync replica holds every record durably.
//!
//! A pure core: replicas' durable ends in, the advanced high watermark out. Invariants: it never moves
//! back, and it never passes the durable end of any member of the in-sync set (ISR). Until followers
//! fetch, the set has one member, this broker; replication feeds the others' progress into
//! [`HighWatermark::on_durable`] and ISR changes into [`HighWatermark::set_isr`].

use millrace_base::{BrokerId, Offset};

/// Progress of the in-sync replicas of one partition.
#[derive(Debug)]
pub(crate) struct HighWatermark {
    value: Offset,
    /// Durable end per member; an ISR has a handful of members, so a scan beats a map.
    members: Vec<(BrokerId, Offset)>,
}

impl HighWatermark {
    /// Starts at `value`, with `local` as the only member, which holds everything below `durable_end`.
    pub(crate) fn new(local: BrokerId, value: Offset, durable_end: Offset) -> Self {
        Self { value, members: vec![(local, durable_end)] }
    }

    pub(crate) fn value(&self) -> Offset {
        self.value
    }

    /// A replica holds everything below `end`. Returns the high watermark if that advanced it.
    pub(crate) fn on_durable(&mut self, replica: BrokerId, end: Offset) -> Option<Offset> {
        let member = self.members.iter_mut().find(|(id, _)| *id == replica)?;
        member.1 = member.1.max(end);
        self.advance()
    }

    /// The in-sync set is now `isr`. A new member counts from the high watermark on, which it had to reach
    /// to be let in. Returns the high watermark if a member's leaving advanced it.
    pub(crate) fn set_isr(&mut self, isr: &[BrokerId]) -> Option<Offset> {
        let known = std::mem::take(&mut self.members);
        let end_of = |id: BrokerId| known.iter().find(|(known_id, _)| *known_id == id).map(|(_, end)| *end);
        self.members = isr.iter().map(|id| (*id, end_of(*id).unwrap_or(self.value))).collect();
        self.advance()
    }

    fn advance(&mut self) -> Option<Offset> {
        let lowest = self.members.iter().map(|(_, end)| *end).min()?;
        (lowest > self.value).then(|| {
            self.value = lowest;
            lowest
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOCAL: BrokerId = BrokerId(1);

    #[test]
    fn alone_it_follows_the_local_log() {
        let mut core = HighWatermark::new(LOCAL, 5, 5);
        assert_eq!(core.on_durable(LOCAL, 9), Some(9));
        assert_eq!(core.on_durable(LOCAL, 9), None, "nothing new");
        assert_eq!(core.on_durable(LOCAL, 7), None, "an end never moves back");
        assert_eq!(core.value(), 9);
    }

    #[test]
    fn it_waits_for_the_slowest_member_and_moves_on_when_it_leaves() {
        let mut core = HighWatermark::new(LOCAL, 0, 0);
        assert_eq!(core.set_isr(&[LOCAL, BrokerId(2)]), None);
        assert_eq!(core.on_durable(LOCAL, 10), None);
        assert_eq!(core.on_durable(BrokerId(2), 4), Some(4));
        assert_eq!(core.on_durable(BrokerId(3), 99), None, "a stranger does not count");
        assert_eq!(core.set_isr(&[LOCAL]), Some(10));
    }

    proptest! {
        #[test]
        fn it_never_moves_back_and_never_passes_a_member(
            events in prop::collection::vec((0..3i32, 0..100i64, any::<bool>()), 0..60)
        ) {
            let mut core = HighWatermark::new(LOCAL, 0, 0);
            for (replica, end, change_isr) in events {
                let before = core.value();
                if change_isr {
                    core.set_isr(&[LOCAL, BrokerId(replica)]);
                } else {
                    core.on_durable(BrokerId(replica), end);
                }
                prop_assert!(core.value() >= before);
                prop_assert!(core.members.iter().all(|(_, end)| *end >= core.value()));
            }
        }
    }
}
