//! Of each topic a range for each member: the first ones have one partition more if it does not come out even.
//!
//! Members are in a fixed order, static ones before others, so that topics with as many partitions and the same members
//! are split alike. Nothing is kept for the sake of keeping it: the order does not change while the members do not.

use super::{Assignment, Shapes, Subscriber};

pub(super) fn assign(members: &[Subscriber<'_>], shapes: &Shapes) -> Vec<Assignment> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|at| {
        let member = &members[*at];
        (member.instance.is_none(), member.instance.unwrap_or(member.id))
    });
    let mut readers: std::collections::BTreeMap<_, Vec<usize>> = std::collections::BTreeMap::new();
    for at in order {
        for topic in &members[at].topics {
            readers.entry(*topic).or_default().push(at);
        }
    }
    let mut assigned = vec![Assignment::new(); members.len()];
    for (topic, readers) in readers {
        let partitions = shapes.get(&topic).copied().unwrap_or_default().max(0);
        // There are far fewer members than that.
        let count = i32::try_from(readers.len()).unwrap_or(i32::MAX);
        let (share, mut more) = (partitions / count, partitions % count);
        let mut next = 0;
        for at in readers {
            let end = next + share + i32::from(more > 0);
            more = (more - 1).max(0);
            if end > next {
                assigned[at].insert(topic, (next..end).collect());
            }
            next = end;
        }
    }
    assigned
}
