//! Every change that the cluster's metadata can undergo, as it stands in the Raft log.
//!
//! # Version rule
//!
//! A command is written as JSON together with the version that introduced its form ([`Command::version`]).
//! What is in the log must mean the same to every broker, so an older broker may neither skip a command nor
//! half understand one: unknown variants and unknown fields are errors, and a broker that meets them stops
//! with a message that asks for its upgrade. Therefore a new variant, or a new field (with a
//! `#[serde(default)]` that keeps the old meaning), raises [`COMMAND_VERSION`], and `version()` answers the
//! new number only for commands that make use of it: a cluster of mixed releases works until somebody uses
//! something new. Nothing is ever removed or given another meaning.

use std::collections::BTreeMap;

use millrace_base::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use millrace_protocol::plugins::Definition;
use serde::{Deserialize, Serialize};

/// The newest command version that this build writes and understands.
pub const COMMAND_VERSION: u32 = 4;

/// The command version that knows deployments.
pub(crate) const DEPLOYMENTS_VERSION: u32 = 2;

/// The command version whose images say what a deployment's input was when it began.
pub(crate) const DEPLOYMENT_INPUTS_VERSION: u32 = 4;

/// The command version that knows how often a deployment tries again.
pub(crate) const RETRIES_VERSION: u32 = 4;

/// The command version that knows new leader epochs without another leader.
const LEADER_EPOCHS_VERSION: u32 = 3;

/// The command version that knows what a change of settings was based on.
const BASED_ON_VERSION: u32 = 3;

/// The version that knows which topics were deleted, in images alone.
pub(crate) const DELETED_TOPICS_VERSION: u32 = 4;

/// What the first release understands.
pub(crate) const FIRST_VERSION: u32 = 1;

/// One change. Decided by [`crate::apply::apply`], which may also refuse it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Names the cluster, once: a cluster that has a name keeps it.
    InitCluster {
        cluster_id: String,
    },
    /// A broker has started, or advertises another address.
    RegisterBroker {
        registration: BrokerRegistration,
    },
    /// `configs` are overrides that the caller has validated.
    CreateTopic {
        name: String,
        id: TopicId,
        partitions: Vec<PartitionAssignment>,
        configs: BTreeMap<String, String>,
    },
    DeleteTopic {
        id: TopicId,
    },
    /// `current` is the number of partitions that the caller saw; the new ones are numbered from it.
    AddPartitions {
        topic_id: TopicId,
        current: i32,
        new: Vec<PartitionAssignment>,
    },
    /// All changes of one resource, or none. The caller has validated them. `based_on` are overrides that new
    /// values were made from, as the caller saw them (`None`: not set): the command is refused if one differs.
    AlterConfigs {
        resource: ConfigResource,
        changes: Vec<ConfigChange>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        based_on: BTreeMap<String, Option<String>>,
    },
    /// Reserves a block of producer ids for a broker to hand out.
    AllocateProducerIds {
        broker: BrokerId,
        count: i64,
    },
    AlterPartition {
        partition: TopicPartition,
        change: PartitionChange,
    },
    /// The broker's log may have lost records that it had given offsets to: everything that it leads goes on in
    /// a new leader epoch, so that no offset stands for two records of one epoch (KIP-101).
    StartLeaderEpochs {
        broker: BrokerId,
    },
    /// Makes the deployment, or its next version, which becomes the current one. A pause stays.
    PutDeployment {
        name: String,
        definition: Box<Definition>,
        created_ms: i64,
    },
    /// Ending a pause also counts a resumption, upon which halted partitions try again.
    SetDeploymentPaused {
        name: String,
        paused: bool,
    },
    /// Makes an earlier version current; `None` is the kept version before the current one.
    RollBackDeployment {
        name: String,
        version: Option<u32>,
    },
    /// Sends `topic` through the deployment once more, each partition up to its offset in `until`.
    ReplayDeployment {
        name: String,
        topic: String,
        until: Vec<i64>,
    },
    DeleteDeployment {
        name: String,
    },
}

impl Command {
    /// The command version that introduced this command as it stands.
    pub fn version(&self) -> u32 {
        match self {
            Self::AlterConfigs { based_on, .. } if !based_on.is_empty() => BASED_ON_VERSION,
            Self::PutDeployment { definition, .. } if definition.limits.retries.is_some() => RETRIES_VERSION,
            Self::InitCluster { .. }
            | Self::RegisterBroker { .. }
            | Self::CreateTopic { .. }
            | Self::DeleteTopic { .. }
            | Self::AddPartitions { .. }
            | Self::AlterConfigs { .. }
            | Self::AllocateProducerIds { .. }
            | Self::AlterPartition { .. } => FIRST_VERSION,
            Self::PutDeployment { .. }
            | Self::SetDeploymentPaused { .. }
            | Self::RollBackDeployment { .. }
            | Self::ReplayDeployment { .. }
            | Self::DeleteDeployment { .. } => DEPLOYMENTS_VERSION,
            Self::StartLeaderEpochs { .. } => LEADER_EPOCHS_VERSION,
        }
    }
}

/// What a broker tells the cluster about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerRegistration {
    pub id: BrokerId,
    /// The address that clients are told.
    pub host: String,
    pub port: u16,
    /// Replicas of one partition are spread over racks.
    pub rack: Option<String>,
}

/// The replicas of a new partition; the first is its preferred leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionAssignment {
    pub replicas: Vec<BrokerId>,
}

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigResource {
    Topic(TopicId),
    /// `None` is the default of all brokers.
    Broker(Option<BrokerId>),
}

/// Sets one name to a value, or removes it (`None`) so that the default holds again. Kafka's append and
/// subtract are resolved by the caller, who says what from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigChange {
    pub name: String,
    pub value: Option<String>,
}

/// Another leader or other in-sync replicas. The epochs are those the decision was based on; if the
/// partition has moved on since, the change is refused (KIP-497).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionChange {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// `None`: nobody can lead for now. Any change of leader starts a new leader epoch.
    pub leader: Option<BrokerId>,
    pub isr: Vec<BrokerId>,
    /// Allows a leader from outside the in-sync replicas, at the price of records.
    pub unclean: bool,
}

/// What one Raft log entry carries: commands that are applied together, with the version that a broker must
/// know to apply them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proposal {
    version: u32,
    commands: Vec<Command>,
}

impl Proposal {
    pub(crate) fn new(commands: Vec<Command>) -> Self {
        let version = commands.iter().map(Command::version).max().unwrap_or(FIRST_VERSION);
        Self { version, commands }
    }

    pub(crate) fn commands(&self) -> &[Command] {
        &self.commands
    }

    pub(crate) fn into_commands(self) -> Vec<Command> {
        self.commands
    }

    pub(crate) fn decode(json: &[u8]) -> Result<Self, ProposalError> {
        // The version alone first: what a newer broker wrote need not parse, and its number explains why.
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u32,
        }
        let found = serde_json::from_slice::<VersionOnly>(json)?.version;
        if found > COMMAND_VERSION {
            return Err(ProposalError::Newer { found });
        }
        Ok(serde_json::from_slice(json)?)
    }
}

/// A log entry that this build does not understand.
#[derive(Debug, thiserror::Error)]
pub enum ProposalError {
    #[error(
        "a command of version {found} was written by a newer broker, this one knows up to {COMMAND_VERSION}: \
         upgrade this broker"
    )]
    Newer { found: u32 },
    #[error("a command cannot be parsed: {0}")]
    Malformed(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_survives_its_json() {
        let proposal = Proposal::new(vec![
            Command::DeleteTopic { id: TopicId::random() },
            Command::AlterConfigs {
                resource: ConfigResource::Broker(None),
                changes: vec![ConfigChange { name: "a".into(), value: None }],
                based_on: BTreeMap::new(),
            },
        ]);
        let json = serde_json::to_vec(&proposal).unwrap();
        assert_eq!(Proposal::decode(&json).unwrap(), proposal);
        assert!(json.starts_with(b"{\"version\":1,"), "an older broker understands it");
    }

    #[test]
    fn only_commands_about_deployments_need_brokers_that_know_them() {
        let definition =
            r#"{"module":"MODULE","kind":"sink","topic":"in"}"#.replace("MODULE", &"0".repeat(64));
        let json = format!(
            r#"{{"version":2,"commands":[
                {{"put_deployment":{{"name":"d","definition":{definition},"created_ms":7}}}},
                {{"set_deployment_paused":{{"name":"d","paused":true}}}},
                {{"roll_back_deployment":{{"name":"d","version":null}}}},
                {{"replay_deployment":{{"name":"d","topic":"dead","until":[3,0]}}}},
                {{"delete_deployment":{{"name":"d"}}}}]}}"#
        );
        let proposal = Proposal::decode(json.as_bytes()).unwrap();
        assert_eq!(proposal.commands().len(), 5);
        for command in proposal.into_commands() {
            let again = serde_json::to_vec(&Proposal::new(vec![command.clone()])).unwrap();
            assert!(again.starts_with(b"{\"version\":2,"), "{command:?}");
            assert_eq!(Proposal::decode(&again).unwrap().commands(), [command]);
        }
    }

    #[test]
    fn new_leader_epochs_need_brokers_that_know_them() {
        let json = br#"{"version":3,"commands":[{"start_leader_epochs":{"broker":1}}]}"#;
        let command = Command::StartLeaderEpochs { broker: BrokerId(1) };
        assert_eq!(Proposal::decode(json).unwrap().commands(), std::slice::from_ref(&command));
        assert_eq!(serde_json::to_vec(&Proposal::new(vec![command])).unwrap(), json);
    }

    #[test]
    fn what_a_change_was_based_on_needs_brokers_that_check_it() {
        let json = br#"{"version":3,"commands":[{"alter_configs":{"resource":{"broker":null},"changes":[],"based_on":{"a":null,"b":"1"}}}]}"#;
        let proposal = Proposal::decode(json).unwrap();
        assert_eq!(serde_json::to_vec(&Proposal::new(proposal.into_commands())).unwrap(), json);
    }

    #[test]
    fn what_a_newer_broker_wrote_is_refused_with_its_version() {
        let newer = br#"{"version":9,"commands":[{"split_topic":{}}],"more":1}"#;
        assert!(matches!(Proposal::decode(newer), Err(ProposalError::Newer { found: 9 })));
        for same_version in [
            r#"{"version":1,"commands":[{"split_topic":{}}]}"#,
            r#"{"version":1,"commands":[{"init_cluster":{"cluster_id":"a","region":"b"}}]}"#,
        ] {
            let refused = Proposal::decode(same_version.as_bytes());
            assert!(matches!(refused, Err(ProposalError::Malformed(_))), "{same_version}");
        }
    }
}
