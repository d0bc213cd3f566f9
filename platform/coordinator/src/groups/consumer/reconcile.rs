//! The way of one member to its target: it gives up, and only then is given.

use millrace_base::TopicId;

use super::super::assignor::Assignment;
use super::super::format::consumer::{Current, Progress};
use super::{ConsumerGroup, Topics, target};

/// What the member is to read next; `None` if there is nothing new. `owned` is what it says that it has.
pub(super) fn reconcile(
    group: &ConsumerGroup,
    member: &str,
    owned: Option<&Assignment>,
    has_new_subscription: bool,
    topics: &dyn Topics,
) -> Option<Current> {
    let said = group.members().get(member)?;
    let fresh = Current {
        epoch: 0,
        previous_epoch: 0,
        progress: Progress::Stable,
        assigned: Assignment::new(),
        revoking: Assignment::new(),
    };
    let current = group.current(member).map_or(&fresh, |current| current);
    let subscribed = target::topic_ids(group, said, topics);
    let way = Way { group, member, owned, current, subscribed };
    let next = match current.progress {
        Progress::Stable if current.epoch != group.target_epoch() => way.next(current.epoch),
        Progress::Stable if has_new_subscription => way.narrowed(),
        Progress::Stable => return None,
        Progress::Unrevoked if way.still_has(&current.revoking) => {
            if !has_new_subscription {
                return None;
            }
            way.narrowed()
        }
        // The next target is made before a member goes anywhere, so that no epoch is without one.
        Progress::Unrevoked => way.next((current.epoch + 1).min(group.target_epoch())),
        Progress::Unreleased => way.next(current.epoch),
    };
    (group.current(member).is_none() || next != *current).then_some(next)
}

struct Way<'w> {
    group: &'w ConsumerGroup,
    member: &'w str,
    owned: Option<&'w Assignment>,
    current: &'w Current,
    subscribed: Vec<TopicId>,
}

impl Way<'_> {
    /// Whether the member has not said that it has none of these any more.
    fn still_has(&self, revoking: &Assignment) -> bool {
        let Some(owned) = self.owned else { return true };
        let is_revoking = |topic: &TopicId, partition: &i32| {
            revoking.get(topic).is_some_and(|list| list.binary_search(partition).is_ok())
        };
        owned.iter().any(|(topic, list)| list.iter().any(|partition| is_revoking(topic, partition)))
    }

    fn reads(&self, topic: &TopicId) -> bool {
        self.subscribed.binary_search(topic).is_ok()
    }

    /// As it is, without the topics that it does not read any more.
    fn narrowed(&self) -> Current {
        let mut next = self.current.clone();
        next.assigned.retain(|topic, _| self.reads(topic));
        for (topic, list) in self.current.assigned.iter().filter(|(topic, _)| !self.reads(topic)) {
            merge(next.revoking.entry(*topic).or_default(), list);
        }
        if next.assigned == self.current.assigned {
            return self.current.clone();
        }
        if self.still_has(&next.revoking) {
            next.progress = Progress::Unrevoked;
        } else {
            next.revoking.clone_from(&self.current.revoking);
        }
        next
    }

    /// As near to the target as others, and what the member still has, allow. `epoch` is the member's while it has to
    /// give up something.
    fn next(&self, epoch: i32) -> Current {
        let target_epoch = self.group.target_epoch();
        let (mut assigned, mut revoking) = (Assignment::new(), Assignment::new());
        let mut gained = Assignment::new();
        let mut are_unreleased = false;
        let nothing = Assignment::new();
        let target = self.group.target(self.member).map_or(&nothing, |target| target);
        for (topic, list) in &self.current.assigned {
            let wanted = target.get(topic).filter(|_| self.reads(topic));
            let is_wanted =
                |partition: &i32| wanted.is_some_and(|wanted| wanted.binary_search(partition).is_ok());
            let (kept, lost): (Vec<i32>, Vec<i32>) = list.iter().partition(|partition| is_wanted(partition));
            put(&mut assigned, topic, kept);
            put(&mut revoking, topic, lost);
        }
        for (topic, list) in target.iter().filter(|(topic, _)| self.reads(topic)) {
            let has = |held: &Assignment, partition: &i32| {
                held.get(topic).is_some_and(|list| list.binary_search(partition).is_ok())
            };
            let missing = list.iter().filter(|partition| !has(&self.current.assigned, partition));
            let (held, free): (Vec<i32>, Vec<i32>) = missing.partition(|partition| {
                self.group.is_owned(*topic, **partition) && !has(&self.current.revoking, partition)
            });
            are_unreleased |= !held.is_empty();
            put(&mut gained, topic, free);
        }
        if !revoking.is_empty() && self.still_has(&revoking) {
            return self.moved(epoch, Progress::Unrevoked, assigned, revoking);
        }
        for (topic, list) in gained {
            merge(assigned.entry(topic).or_default(), &list);
        }
        let progress = if are_unreleased { Progress::Unreleased } else { Progress::Stable };
        self.moved(target_epoch, progress, assigned, Assignment::new())
    }

    /// The epoch before is remembered, for a member that has not heard of the new one.
    fn moved(&self, epoch: i32, progress: Progress, assigned: Assignment, revoking: Assignment) -> Current {
        let previous_epoch =
            if epoch == self.current.epoch { self.current.previous_epoch } else { self.current.epoch };
        Current { epoch, previous_epoch, progress, assigned, revoking }
    }
}

fn put(assignment: &mut Assignment, topic: &TopicId, list: Vec<i32>) {
    if !list.is_empty() {
        assignment.insert(*topic, list);
    }
}

fn merge(list: &mut Vec<i32>, more: &[i32]) {
    list.extend_from_slice(more);
    list.sort_unstable();
    list.dedup();
}
