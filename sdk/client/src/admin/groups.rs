//! Groups: who is in them, what they have committed, and changing that while nobody is.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_protocol::ErrorCode;
use millrace_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use millrace_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest, DescribeGroupsRequest,
    DescribeGroupsResponse, GroupId, ListGroupsRequest, OffsetDeleteRequest,
    consumer_group_describe_response, describe_groups_response,
};

use super::{Admin, only, text, topic_name};
use crate::cluster::Coordinated;
use crate::error::{GroupError, RequestError, check, refused};
use crate::group::{CommitOffset, Committed, GroupMetadata, TopicPartition, decode_assignment, offsets};

/// One line of a group list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub group: String,
    /// `Consumer`, `Classic` or another of Kafka's types; empty where the broker does not say.
    pub kind: String,
    /// `Stable`, `Empty` or another of Kafka's states; empty where the broker does not say.
    pub state: String,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    pub group: String,
    /// `Consumer` (KIP-848) or `Classic`.
    pub kind: &'static str,
    pub state: String,
    /// How partitions are assigned; empty while there are no members.
    pub assignor: String,
    /// The group's epoch; None in a classic group.
    pub epoch: Option<i32>,
    /// Id and address of the broker that coordinates it.
    pub coordinator: (i32, String),
    pub members: Vec<GroupMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    /// None for a member of a classic group.
    pub epoch: Option<i32>,
    pub assigned: Vec<TopicPartition>,
}

impl GroupInfo {
    /// Whether anybody reads for the group: then its offsets cannot be changed from outside.
    pub fn is_active(&self) -> bool {
        !self.members.is_empty()
    }
}

impl Admin {
    /// The groups of all brokers, by name.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, RequestError> {
        let mut groups = BTreeMap::new();
        for broker in self.every_broker().await? {
            let response = broker.request(ListGroupsRequest::default()).await?;
            check("ListGroups", || broker.name().to_owned(), response.error_code, None)?;
            for listed in response.groups {
                let listing = GroupListing {
                    group: listed.group_id.to_string(),
                    kind: capitalized(&listed.group_type),
                    state: listed.group_state.to_string(),
                };
                groups.insert(listing.group.clone(), listing);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// The group as its coordinator sees it.
    pub async fn describe_group(&self, group: &str) -> Result<GroupInfo, RequestError> {
        let of = Coordinated::Group(Arc::from(group));
        let read = |response: ConsumerGroupDescribeResponse| {
            let found = only("ConsumerGroupDescribe", &response.groups)?;
            check(
                "ConsumerGroupDescribe",
                || named(group),
                found.error_code,
                found.error_message.as_deref(),
            )?;
            Ok(consumer_group(found))
        };
        let request = |_| ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
        let mut info = match self.cluster().ask_coordinator(&of, request, read).await {
            Err(error) if may_be_classic(&error) => self.describe_classic(&of, group).await?,
            answer => answer?,
        };
        let coordinator = self.cluster().coordinator(&of).await?;
        info.coordinator = (self.id_of(&coordinator), coordinator.name().to_owned());
        Ok(info)
    }

    async fn describe_classic(&self, of: &Coordinated, group: &str) -> Result<GroupInfo, RequestError> {
        let read = |response: DescribeGroupsResponse| {
            let found = only("DescribeGroups", &response.groups)?;
            check("DescribeGroups", || named(group), found.error_code, found.error_message.as_deref())?;
            // Before version 6 a group that there is not was said to be dead.
            if &*found.group_state == "Dead" {
                let code = ErrorCode::GroupIdNotFound.code();
                return Err(refused("DescribeGroups", named(group), code, None));
            }
            Ok(classic_group(found))
        };
        let request = |_| DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        self.cluster().ask_coordinator(of, request, read).await
    }

    /// All that the group has committed.
    pub async fn group_offsets(&self, group: &str) -> Result<Vec<Committed>, GroupError> {
        offsets::fetch(self.cluster(), &Arc::from(group), None, false).await
    }

    /// Sets the group's offsets; refused while it has members.
    pub async fn set_group_offsets(&self, group: &str, offsets: &[CommitOffset]) -> Result<(), GroupError> {
        offsets::commit(self.cluster(), &GroupMetadata::outside(Arc::from(group)), offsets).await
    }

    /// Deletes the group's offsets of these partitions; refused while members subscribe to their topics.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), RequestError> {
        let mut topics: BTreeMap<Arc<str>, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for one in partitions {
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(one.partition);
            topics.entry(Arc::clone(&one.topic)).or_default().push(partition);
        }
        let topic = |(name, partitions): (&Arc<str>, &Vec<_>)| {
            OffsetDeleteRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.clone())
        };
        let request = |_| {
            OffsetDeleteRequest::default()
                .with_group_id(GroupId(text(group)))
                .with_topics(topics.iter().map(topic).collect())
        };
        let of = Coordinated::Group(Arc::from(group));
        let done = self.cluster().ask_coordinator(&of, request, |response| {
            check("OffsetDelete", || named(group), response.error_code, None)?;
            for topic in &response.topics {
                for one in &topic.partitions {
                    let what = || format!("{}-{} for group '{group}'", *topic.name, one.partition_index);
                    check("OffsetDelete", what, one.error_code, None)?;
                }
            }
            Ok(())
        });
        done.await
    }

    /// Deletes the group with all its offsets; refused while it has members.
    pub async fn delete_group(&self, group: &str) -> Result<(), RequestError> {
        let request = |_| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        let of = Coordinated::Group(Arc::from(group));
        let done = self.cluster().ask_coordinator(&of, request, |response| {
            let result = only("DeleteGroups", &response.results)?;
            check("DeleteGroups", || named(group), result.error_code, None)
        });
        done.await
    }
}

fn named(group: &str) -> String {
    format!("group '{group}'")
}

/// The answer to a request about KIP-848 groups says that this is none, or that there are none here.
fn may_be_classic(error: &RequestError) -> bool {
    let codes = [ErrorCode::GroupIdNotFound, ErrorCode::UnsupportedVersion];
    matches!(error, RequestError::Unsupported { .. })
        || codes.iter().any(|code| error.code() == Some(code.code()))
}

/// Kafka's brokers write a group's type in small letters, its tools do not.
fn capitalized(kind: &str) -> String {
    let mut letters = kind.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn consumer_group(found: &consumer_group_describe_response::DescribedGroup) -> GroupInfo {
    let member = |member: &consumer_group_describe_response::Member| GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        assigned: member
            .assignment
            .topic_partitions
            .iter()
            .flat_map(|topic| {
                let name: Arc<str> = Arc::from(&**topic.topic_name);
                topic.partitions.iter().map(move |index| TopicPartition::new(Arc::clone(&name), *index))
            })
            .collect(),
    };
    GroupInfo {
        group: found.group_id.to_string(),
        kind: "Consumer",
        state: found.group_state.to_string(),
        assignor: found.assignor_name.to_string(),
        epoch: Some(found.group_epoch),
        coordinator: (-1, String::new()),
        members: found.members.iter().map(member).collect(),
    }
}

fn classic_group(found: &describe_groups_response::DescribedGroup) -> GroupInfo {
    let member = |member: &describe_groups_response::DescribedGroupMember| GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        // Groups of something else than consumers have assignments of their own kind.
        assigned: decode_assignment(member.member_assignment.clone())
            .unwrap_or_default()
            .into_iter()
            .collect(),
    };
    GroupInfo {
        group: found.group_id.to_string(),
        kind: "Classic",
        state: found.group_state.to_string(),
        assignor: found.protocol_data.to_string(),
        epoch: None,
        coordinator: (-1, String::new()),
        members: found.members.iter().map(member).collect(),
    }
}
