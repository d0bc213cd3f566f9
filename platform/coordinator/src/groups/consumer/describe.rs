//! A group seen from outside.

use super::super::assignor::Assignment;
use super::{ConsumerGroup, target};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescription {
    /// As Kafka calls it.
    pub state: &'static str,
    pub epoch: i32,
    pub target_epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<ConsumerMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMember {
    pub id: String,
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    /// Empty for none.
    pub pattern: String,
    pub assigned: Assignment,
    pub target: Assignment,
}

impl ConsumerGroup {
    pub fn describe(&self) -> ConsumerDescription {
        let members = self.members().iter().map(|(id, member)| {
            let current = self.current(id);
            ConsumerMember {
                id: id.clone(),
                instance: member.instance.clone(),
                rack: member.rack.clone(),
                epoch: current.map_or(0, |current| current.epoch),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                topics: member.topics.clone(),
                pattern: member.pattern.clone(),
                assigned: current.map(|current| current.assigned.clone()).unwrap_or_default(),
                target: self.target(id).map(|target| (**target).clone()).unwrap_or_default(),
            }
        });
        ConsumerDescription {
            state: self.state(),
            epoch: self.epoch().epoch,
            target_epoch: self.target_epoch(),
            assignor: target::preferred(self).name(),
            members: members.collect(),
        }
    }
}
