//! The APIs about groups of consumers: what they ask of the [`millrace_coordinator::GroupCoordinator`], and its answers on the wire.

pub(crate) mod admin;
pub(crate) mod consumer;
pub(crate) mod members;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;

use millrace_coordinator::{GroupError, MemberName};
use millrace_protocol::{ErrorCode, StrBytes};

use crate::call::Call;
use crate::error_map::ToErrorCode;

impl ToErrorCode for GroupError {
    fn to_error_code(&self) -> ErrorCode {
        match self {
            Self::NotCoordinator => ErrorCode::NotCoordinator,
            Self::Loading => ErrorCode::CoordinatorLoadInProgress,
            Self::NotAvailable(_) => ErrorCode::CoordinatorNotAvailable,
            Self::Refused(_) => ErrorCode::UnknownServerError,
            Self::InvalidGroupId => ErrorCode::InvalidGroupId,
            Self::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
            Self::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
            Self::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            Self::UnknownMember => ErrorCode::UnknownMemberId,
            Self::MemberIdRequired => ErrorCode::MemberIdRequired,
            Self::FencedInstance => ErrorCode::FencedInstanceId,
            Self::IllegalGeneration => ErrorCode::IllegalGeneration,
            Self::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            Self::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            Self::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            Self::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            Self::MetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            Self::InvalidRequest(_) => ErrorCode::InvalidRequest,
            Self::UnsupportedAssignor(_) => ErrorCode::UnsupportedAssignor,
            Self::InvalidRegularExpression(_) => ErrorCode::InvalidRegularExpression,
            Self::FencedMemberEpoch(_) => ErrorCode::FencedMemberEpoch,
            Self::StaleMemberEpoch(_) => ErrorCode::StaleMemberEpoch,
            Self::UnreleasedInstance(_) => ErrorCode::UnreleasedInstanceId,
            Self::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        }
    }
}

/// The outcome's number on the wire.
fn code<T>(call: &Call, outcome: &Result<T, GroupError>) -> i16 {
    outcome.as_ref().err().map_or(0, |error| {
        if let GroupError::Refused(reason) = error {
            tracing::error!(api = ?call.key, reason, "a group's record is not taken");
        }
        call.fail(error.to_error_code())
    })
}

fn member_name(id: &StrBytes, instance: Option<&StrBytes>) -> MemberName {
    MemberName { id: id.to_string(), instance: instance.map(ToString::to_string) }
}

fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}
