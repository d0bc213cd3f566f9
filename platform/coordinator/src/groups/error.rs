//! Why a request about a group is refused, as Kafka tells the reasons apart.

use crate::{AppendFailure, OffsetsFailure, Unavailable};

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    #[error("the groups are being read back")]
    Loading,
    #[error("the coordinator cannot write now: {0}")]
    NotAvailable(String),
    #[error("the group's record is not taken: {0}")]
    Refused(String),
    #[error("the group's name is empty")]
    InvalidGroupId,
    #[error("the session timeout is outside what the broker allows")]
    InvalidSessionTimeout,
    #[error("the group is full")]
    GroupMaxSizeReached,
    #[error("the member's protocols are none of the group's")]
    InconsistentProtocol,
    #[error("the group has no such member")]
    UnknownMember,
    #[error("join again with the id that is given here")]
    MemberIdRequired,
    #[error("another member has this instance id now")]
    FencedInstance,
    #[error("the generation is not the group's")]
    IllegalGeneration,
    #[error("the group rebalances: join again")]
    RebalanceInProgress,
    #[error("there is no such group")]
    GroupIdNotFound,
    #[error("the group has members")]
    NonEmptyGroup,
    #[error("the group is subscribed to the topic")]
    SubscribedToTopic,
    #[error("the metadata of the offset are too long")]
    MetadataTooLarge,
    #[error("{0}")]
    InvalidRequest(String),
    #[error("{0}")]
    UnsupportedAssignor(String),
    #[error("{0}")]
    InvalidRegularExpression(String),
    #[error("{0}")]
    FencedMemberEpoch(String),
    #[error("{0}")]
    StaleMemberEpoch(String),
    #[error("{0}")]
    UnreleasedInstance(String),
    #[error("there is no such topic or partition")]
    UnknownTopicOrPartition,
}

impl From<Unavailable> for GroupError {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::NotLed => Self::NotCoordinator,
            Unavailable::Loading => Self::Loading,
            unreadable @ Unavailable::Unreadable(_) => Self::NotAvailable(unreadable.to_string()),
        }
    }
}

impl From<AppendFailure> for GroupError {
    fn from(failure: AppendFailure) -> Self {
        match failure {
            AppendFailure::NotHere => Self::NotCoordinator,
            AppendFailure::Passing(reason) => Self::NotAvailable(reason),
            AppendFailure::Refused(reason) => Self::Refused(reason),
        }
    }
}

impl From<OffsetsFailure> for GroupError {
    fn from(failure: OffsetsFailure) -> Self {
        match failure {
            OffsetsFailure::Unavailable(unavailable) => unavailable.into(),
            OffsetsFailure::Topic(topic) => Self::NotAvailable(topic.to_string()),
        }
    }
}
