//! What can go wrong, one type per operation. Each says whether trying again can help.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use millrace_protocol::ErrorCode;
use millrace_protocol::messages::ApiKey;
use millrace_protocol::plugins::{ErrorKind, PluginError};

/// No connection to a broker could be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("'{address}' is not an address: expected host:port, several separated by commas")]
    BadAddress { address: String },
    #[error("no bootstrap address given: call ClientBuilder::bootstrap(\"host:port\")")]
    NoBootstrap,
    #[error("resolve '{address}': {source}")]
    Resolve { address: String, source: Arc<io::Error> },
    #[error("{what}: {reason}")]
    Tls { what: String, reason: String },
    #[error("connect to {address} over {transport}: {reason}")]
    Connect { address: String, transport: &'static str, reason: String },
    /// One side does not accept the other's certificate, or has none to accept.
    #[error("{address}: {reason}")]
    Certificate { address: String, reason: String },
    #[error(
        "connect to {address} over {transport}: no answer within {after:?}; is the broker listening there?"
    )]
    Timeout { address: String, transport: &'static str, after: Duration },
    #[error("none of the bootstrap addresses answered; the last said: {last}")]
    NoneAnswered { last: Box<Self> },
    #[error("{address} answered, but not as a Kafka broker: {reason}")]
    Handshake { address: String, reason: String },
}

impl ConnectError {
    /// Whether the same call can succeed later without a change by the caller.
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::BadAddress { .. }
            | Self::NoBootstrap
            | Self::Tls { .. }
            | Self::Certificate { .. }
            | Self::Handshake { .. } => false,
            Self::Resolve { .. } | Self::Connect { .. } | Self::Timeout { .. } => true,
            Self::NoneAnswered { last } => last.is_retriable(),
        }
    }
}

/// A request got no answer, or one that says no.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{api} to {broker}: connection lost: {reason}")]
    Disconnected { api: &'static str, broker: String, reason: Arc<str> },
    #[error(
        "{api} to {broker}: no answer within {after:?}; raise request_timeout or look at the broker's load"
    )]
    Timeout { api: &'static str, broker: String, after: Duration },
    #[error("{api} is not served by {broker} in a version that this client speaks ({range})")]
    Unsupported { api: &'static str, broker: String, range: String },
    #[error("{api} to {broker}: cannot make sense of the answer: {reason}")]
    Malformed { api: &'static str, broker: String, reason: String },
    #[error("{api} cannot be sent: {reason}")]
    Encode { api: &'static str, reason: String },
    /// The broker's error code for `what`, with its message or the code's meaning.
    #[error("{api} of {what}: {name} ({code}): {message}")]
    Refused { api: &'static str, what: String, code: i16, name: String, message: String, retriable: bool },
    #[error("topic '{topic}' does not exist; create it first (millrace topic create {topic})")]
    UnknownTopic { topic: String },
    #[error("topic '{topic}' has {count} partition{}, there is no partition {partition}", if *count == 1 { "" } else { "s" })]
    NoSuchPartition { topic: String, partition: i32, count: usize },
    #[error("partition {topic}-{partition} has no leader at the moment")]
    NoLeader { topic: String, partition: i32 },
    /// A request about plugins was refused, or the plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("the client is closed")]
    Closed,
}

impl RequestError {
    /// Whether the same call can succeed later without a change by the caller.
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_retriable(),
            Self::Disconnected { .. } | Self::Timeout { .. } | Self::NoLeader { .. } => true,
            Self::Refused { retriable, .. } => *retriable,
            Self::Plugin(error) => matches!(error.kind, ErrorKind::Unavailable),
            Self::Unsupported { .. }
            | Self::Malformed { .. }
            | Self::Encode { .. }
            | Self::UnknownTopic { .. }
            | Self::NoSuchPartition { .. }
            | Self::Closed => false,
        }
    }

    /// Kafka's error code, where the broker gave one.
    pub const fn code(&self) -> Option<i16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A record was not taken or not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    #[error(
        "record of {size} bytes for topic '{topic}' is larger than max_request_bytes ({limit}); raise it here \
         and max.message.bytes on the topic"
    )]
    TooLarge { topic: String, size: usize, limit: usize },
    #[error(
        "the producer holds {limit} bytes that are not acknowledged yet (buffer_bytes): await a delivery, use \
         send() which waits for room, or raise buffer_bytes"
    )]
    BufferFull { limit: usize },
    #[error(
        "not acknowledged by {topic}-{partition} within {after:?} (delivery_timeout); last reason: {reason}. The \
         record may or may not be stored"
    )]
    Expired { topic: String, partition: i32, after: Duration, reason: String },
    #[error(
        "the brokers chose no partition of topic '{topic}' for the record within {after:?} (delivery_timeout); \
         last reason: {reason}. The record is not stored"
    )]
    Unassigned { topic: String, after: Duration, reason: String },
    #[error("{topic}-{partition} refused the batch: {name} ({code}): {message}")]
    Rejected { topic: String, partition: i32, code: i16, name: String, message: String, retriable: bool },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("encode a record for topic '{topic}': {reason}")]
    Encode { topic: String, reason: String },
    #[error("the record was sent in a transaction that is aborted")]
    Aborted,
    #[error("the producer is transactional and no transaction is open: begin one with Producer::transaction")]
    NoTransaction,
    #[error("the producer is closed")]
    Closed,
}

impl SendError {
    /// Whether sending the record again can help. The producer has already retried until its
    /// delivery_timeout; sending again after [`SendError::Expired`] can store the record twice.
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::BufferFull { .. } | Self::Expired { .. } | Self::Unassigned { .. } => true,
            Self::Rejected { retriable, .. } => *retriable,
            Self::Request(error) => error.is_retriable(),
            Self::TooLarge { .. }
            | Self::Encode { .. }
            | Self::Aborted
            | Self::NoTransaction
            | Self::Closed => false,
        }
    }
}

/// A transaction could not be begun, filled or ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransactionError {
    #[error("this producer makes no transactions: name it with ProducerBuilder::transactional_id")]
    NotTransactional,
    #[error("a transaction of '{transactional_id}' is open: commit or abort it before the next begins")]
    AlreadyOpen { transactional_id: String },
    /// Nothing of the transaction counts; another may do better.
    #[error(
        "the transaction of '{transactional_id}' can only be aborted: {reason}; begin another and send all again"
    )]
    Failed { transactional_id: String, reason: String },
    #[error(
        "another producer has begun with transactional id '{transactional_id}' and this one is fenced: what it had \
         open is aborted, and it can do nothing more. Close it; give producers that run side by side ids of their own"
    )]
    Fenced { transactional_id: String },
    #[error(
        "the transaction of '{transactional_id}' may or may not be committed: {reason}; read what it should have \
         written, or its offsets, before sending it again"
    )]
    Unknown { transactional_id: String, reason: String },
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Request(RequestError),
}

impl TransactionError {
    /// What a refusal by a coordinator means for a transaction.
    pub(crate) fn of_request(transactional_id: &str, error: RequestError) -> Self {
        let transactional_id = transactional_id.to_owned();
        match ErrorCode::try_from_code(error.code().unwrap_or_default()) {
            Some(ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch) => {
                Self::Fenced { transactional_id }
            }
            Some(
                ErrorCode::TransactionAbortable
                | ErrorCode::UnknownMemberId
                | ErrorCode::IllegalGeneration
                | ErrorCode::StaleMemberEpoch
                | ErrorCode::FencedMemberEpoch
                | ErrorCode::FencedInstanceId,
            ) => Self::Failed { transactional_id, reason: error.to_string() },
            _ => Self::Request(error),
        }
    }

    /// Whether the transaction is to be aborted, and another by the same producer may do better.
    pub const fn is_abortable(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Send(_) => true,
            Self::Request(_) => !self.is_fatal(),
            Self::NotTransactional
            | Self::AlreadyOpen { .. }
            | Self::Fenced { .. }
            | Self::Unknown { .. } => false,
        }
    }

    /// Whether this producer can make no transaction any more.
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Fenced { .. } | Self::NotTransactional => true,
            Self::Request(error) => match error.code() {
                // The one before is not through yet.
                Some(code) => !error.is_retriable() && code != ErrorCode::ConcurrentTransactions.code(),
                None => false,
            },
            _ => false,
        }
    }
}

/// Records could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(
        "offset {offset} of {topic}-{partition} is out of range: the partition holds [{start}, {end}); seek to an \
         offset in it, or set ConsumerBuilder::on_out_of_range"
    )]
    OutOfRange { topic: String, partition: i32, offset: i64, start: i64, end: i64 },
    #[error(
        "topic '{topic}' was deleted and made again, offset {offset} of partition {partition} was one of the former; \
         seek to an offset of the new one, or set ConsumerBuilder::on_out_of_range"
    )]
    Recreated { topic: String, partition: i32, offset: i64 },
    #[error("{topic}-{partition} at offset {offset}: {reason}; seek past it to go on")]
    Corrupt { topic: String, partition: i32, offset: i64, reason: String },
    #[error("{topic}-{partition} is not assigned to this consumer; call assign first")]
    NotAssigned { topic: String, partition: i32 },
    #[error("nothing is assigned to this consumer; call assign or assign_topic first")]
    NothingAssigned,
    #[error(
        "group '{group}' has no committed offset for {topic}-{partition}; seek to where reading is to begin, or set \
         ConsumerBuilder::start_without_commit"
    )]
    NoCommittedOffset { group: String, topic: String, partition: i32 },
    #[error(transparent)]
    Group(#[from] GroupError),
}

impl FetchError {
    /// Whether polling again can help without a change by the caller.
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retriable(),
            Self::Group(error) => error.is_retriable(),
            _ => false,
        }
    }
}

/// Something that concerns a consumer group did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GroupError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("this consumer is of no group: name one with ConsumerBuilder::group")]
    NoGroup,
    #[error(
        "group '{group}': another consumer has joined as '{instance}' and taken this one's place; give each running \
         consumer a group_instance_id of its own"
    )]
    InstanceFenced { group: String, instance: String },
    #[error(
        "group '{group}' does not have this consumer as a member with these partitions any more, so its offsets are \
         not committed and others read on from the last commit; poll to take part again. If processing took longer \
         than max_poll_interval, raise it or poll more often"
    )]
    NotMember { group: String },
    #[error("group '{group}': {reason}")]
    Settings { group: String, reason: String },
    #[error("the consumer is closed")]
    Closed,
}

impl GroupError {
    /// Whether the same call can succeed later without a change by the caller.
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retriable(),
            _ => false,
        }
    }

    /// Kafka's error code, where the broker gave one.
    pub const fn code(&self) -> Option<i16> {
        match self {
            Self::Request(error) => error.code(),
            _ => None,
        }
    }
}

/// An API's name in Kafka's words.
pub(crate) fn api_name(key: i16) -> &'static str {
    match ApiKey::try_from(key) {
        Ok(ApiKey::Produce) => "Produce",
        Ok(ApiKey::Fetch) => "Fetch",
        Ok(ApiKey::ListOffsets) => "ListOffsets",
        Ok(ApiKey::Metadata) => "Metadata",
        Ok(ApiKey::ApiVersions) => "ApiVersions",
        Ok(ApiKey::CreateTopics) => "CreateTopics",
        Ok(ApiKey::DeleteTopics) => "DeleteTopics",
        Ok(ApiKey::DeleteRecords) => "DeleteRecords",
        Ok(ApiKey::InitProducerId) => "InitProducerId",
        Ok(ApiKey::DescribeConfigs) => "DescribeConfigs",
        Ok(ApiKey::IncrementalAlterConfigs) => "IncrementalAlterConfigs",
        Ok(ApiKey::CreatePartitions) => "CreatePartitions",
        Ok(ApiKey::DescribeLogDirs) => "DescribeLogDirs",
        Ok(ApiKey::DescribeCluster) => "DescribeCluster",
        Ok(ApiKey::FindCoordinator) => "FindCoordinator",
        Ok(ApiKey::JoinGroup) => "JoinGroup",
        Ok(ApiKey::SyncGroup) => "SyncGroup",
        Ok(ApiKey::Heartbeat) => "Heartbeat",
        Ok(ApiKey::LeaveGroup) => "LeaveGroup",
        Ok(ApiKey::OffsetCommit) => "OffsetCommit",
        Ok(ApiKey::OffsetFetch) => "OffsetFetch",
        Ok(ApiKey::OffsetDelete) => "OffsetDelete",
        Ok(ApiKey::ListGroups) => "ListGroups",
        Ok(ApiKey::DescribeGroups) => "DescribeGroups",
        Ok(ApiKey::DeleteGroups) => "DeleteGroups",
        Ok(ApiKey::ConsumerGroupHeartbeat) => "ConsumerGroupHeartbeat",
        Ok(ApiKey::ConsumerGroupDescribe) => "ConsumerGroupDescribe",
        Ok(ApiKey::AddPartitionsToTxn) => "AddPartitionsToTxn",
        Ok(ApiKey::AddOffsetsToTxn) => "AddOffsetsToTxn",
        Ok(ApiKey::TxnOffsetCommit) => "TxnOffsetCommit",
        Ok(ApiKey::EndTxn) => "EndTxn",
        Ok(ApiKey::WriteTxnMarkers) => "WriteTxnMarkers",
        Ok(ApiKey::DescribeTransactions) => "DescribeTransactions",
        Ok(ApiKey::ListTransactions) => "ListTransactions",
        Ok(ApiKey::DescribeProducers) => "DescribeProducers",
        _ => "request",
    }
}

/// The broker's answer `code` for `what`, with its own `message` if it sent one.
pub(crate) fn refused(api: &'static str, what: String, code: i16, message: Option<&str>) -> RequestError {
    let (name, message, retriable) = describe(code, message);
    RequestError::Refused { api, what, code, name, message, retriable }
}

/// A code's name, the broker's message or else the code's meaning, and whether a retry can help.
pub(crate) fn describe(code: i16, message: Option<&str>) -> (String, String, bool) {
    let (name, meaning, retriable) = match ErrorCode::try_from_code(code) {
        Some(known) => (format!("{known:?}"), known.to_string(), known.is_retriable()),
        None => ("None".to_owned(), "no error".to_owned(), false),
    };
    (name, message.filter(|message| !message.is_empty()).map_or(meaning, str::to_owned), retriable)
}

/// `Err` with the broker's refusal unless `code` is 0.
pub(crate) fn check(
    api: &'static str,
    what: impl FnOnce() -> String,
    code: i16,
    message: Option<&str>,
) -> Result<(), RequestError> {
    if code == 0 { Ok(()) } else { Err(refused(api, what(), code, message)) }
}
