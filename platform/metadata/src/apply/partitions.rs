//! Another leader, other in-sync replicas: fenced by epochs, so that only decisions about the present count.
//!
//! A broker that comes back from a crash begins new leader epochs without a change of leader.
//!
//! The leader proposes changes of the in-sync replicas (KIP-497), the controller elects leaders; both are the
//! same command under the same rules.

use std::sync::Arc;

use millrace_base::{BrokerId, LeaderEpoch, TopicPartition};

use super::known_broker;
use crate::command::PartitionChange;
use crate::image::{Image, Partition, Topic};
use crate::outcome::{Outcome, Rejection};

pub(super) fn alter(
    image: &mut Image,
    id: &TopicPartition,
    change: &PartitionChange,
) -> Result<Outcome, Rejection> {
    let topic = image.topics.get(&id.topic).ok_or(Rejection::UnknownTopic { id: id.topic })?;
    let unknown = || Rejection::UnknownPartition { partition: *id };
    let position = usize::try_from(id.partition).map_err(|_| unknown())?;
    let partition = topic.partitions.get(position).ok_or_else(unknown)?;
    check_epochs(partition, change)?;
    check_isr(image, partition, change)?;
    check_leader(partition, change)?;

    let leader_epoch = if change.leader == partition.leader {
        partition.leader_epoch
    } else {
        LeaderEpoch(partition.leader_epoch.0 + 1)
    };
    let altered = Partition {
        leader: change.leader,
        leader_epoch,
        replicas: partition.replicas.clone(),
        isr: change.isr.clone(),
        partition_epoch: partition.partition_epoch + 1,
    };
    let outcome = Outcome::PartitionAltered { leader_epoch, partition_epoch: altered.partition_epoch };
    let mut topic = Topic::clone(topic);
    topic.partitions[position] = Arc::new(altered);
    image.put_topic(topic);
    Ok(outcome)
}

pub(super) fn start_leader_epochs(image: &mut Image, broker: BrokerId) -> Result<Outcome, Rejection> {
    known_broker(image, broker)?;
    let leads = |partition: &Partition| partition.leader == Some(broker);
    let led: Vec<_> =
        image.topics().filter(|topic| topic.partitions.iter().any(|p| leads(p))).cloned().collect();
    let mut partitions = 0;
    for topic in led {
        let mut topic = Topic::clone(&topic);
        for partition in topic.partitions.iter_mut().filter(|partition| leads(partition)) {
            let partition = Arc::make_mut(partition);
            partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
            partition.partition_epoch += 1;
            partitions += 1;
        }
        image.put_topic(topic);
    }
    Ok(Outcome::LeaderEpochsStarted { partitions })
}

fn check_epochs(partition: &Partition, change: &PartitionChange) -> Result<(), Rejection> {
    let (given, current) = (change.leader_epoch, partition.leader_epoch);
    if given < current {
        return Err(Rejection::FencedLeaderEpoch { given, current });
    }
    if given > current {
        return Err(Rejection::UnknownLeaderEpoch { given, current });
    }
    let (given, current) = (change.partition_epoch, partition.partition_epoch);
    if given != current {
        return Err(Rejection::InvalidPartitionEpoch { given, current });
    }
    Ok(())
}

fn check_isr(image: &Image, partition: &Partition, change: &PartitionChange) -> Result<(), Rejection> {
    let refuse = |reason: String| Err(Rejection::InvalidIsr { reason });
    if change.isr.is_empty() {
        return refuse("at least one replica stays in sync, so that somebody can lead again".into());
    }
    for (position, member) in change.isr.iter().enumerate() {
        if change.isr[..position].contains(member) {
            return refuse(format!("broker {member} is named twice"));
        }
        if !partition.replicas.contains(member) {
            return refuse(format!("broker {member} is no replica"));
        }
        if partition.isr.contains(member) {
            continue;
        }
        if image.broker(*member).is_none() {
            return refuse(format!("there is no broker {member}"));
        }
        // Only the leader can tell that a replica has caught up; nobody can without one.
        if change.leader.is_none() {
            return refuse(format!("broker {member} cannot catch up while there is no leader"));
        }
    }
    Ok(())
}

fn check_leader(partition: &Partition, change: &PartitionChange) -> Result<(), Rejection> {
    let Some(leader) = change.leader else { return Ok(()) };
    let refuse = |reason: &str| Err(Rejection::IneligibleLeader { leader, reason: reason.to_owned() });
    if !change.isr.contains(&leader) {
        return refuse("it is not among the new in-sync replicas");
    }
    if partition.leader == Some(leader) || partition.isr.contains(&leader) {
        return Ok(());
    }
    if !change.unclean {
        return refuse("it is not in sync, and an unclean election was not asked for");
    }
    // What the others have beyond the new leader's log is lost; none of them is in sync with it.
    if change.isr != [leader] as [BrokerId; 1] {
        return refuse("after an unclean election the leader is the only in-sync replica");
    }
    Ok(())
}
