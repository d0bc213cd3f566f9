//! One of the two brokers that are compared, spoken to in frames.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millrace_integration_tests::raw::{Connection, flat, name};
use millrace_protocol::frame::{decode_response_header, encode_request};
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::{
    ApiVersionsRequest, BrokerId, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
};
use millrace_protocol::{ApiKey, Decodable, Request};
use millrace_test_harness::eventually;
use uuid::Uuid;

use super::tree::Tree;

const READY_LIMIT: Duration = Duration::from_secs(60);

/// What a broker did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Response(Tree),
    /// It sent what is no response of that version.
    Undecodable(String),
    /// It hung up, or let the time for an answer pass.
    None,
}

/// A broker, the connection to it, and its own ids of topics and of groups' members.
pub struct Peer {
    address: SocketAddr,
    connection: Option<Connection>,
    served: BTreeMap<i16, (i16, i16)>,
    topics: BTreeMap<String, Uuid>,
    members: BTreeMap<String, String>,
}

impl Peer {
    pub fn new(address: SocketAddr) -> Self {
        let mut peer = Self {
            address,
            connection: None,
            served: BTreeMap::new(),
            topics: BTreeMap::new(),
            members: BTreeMap::new(),
        };
        let apis = peer.ask(0, &ApiVersionsRequest::default()).expect("ApiVersions is always answered");
        let versions = |api: &millrace_protocol::messages::api_versions_response::ApiVersion| {
            (api.api_key, (api.min_version, api.max_version))
        };
        peer.served = apis.api_keys.iter().map(versions).collect();
        peer
    }

    /// The versions of an API that this broker says it serves.
    pub fn served(&self, api: ApiKey) -> Option<(i16, i16)> {
        self.served.get(&(api as i16)).copied()
    }

    /// The id of a topic here; that of no topic where there is none of that name.
    pub fn topic_id(&self, name: &str) -> Uuid {
        self.topics.get(name).copied().unwrap_or(Uuid::max())
    }

    /// The name of a topic's id, for comparison.
    pub(super) fn topic_name(&self, id: &str) -> Option<&str> {
        let known = |(_, known): &(&String, &Uuid)| known.to_string() == id;
        self.topics.iter().find(known).map(|(name, _)| name.as_str())
    }

    /// The id that this broker has given to the member with this name; the name where it has given none.
    pub fn member(&self, name: &str) -> String {
        self.members.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// Gives a name to a member's id.
    pub fn call_member(&mut self, name: &str, id: &str) {
        self.members.insert(name.to_owned(), id.to_owned());
    }

    /// The name of a member's id, for comparison.
    pub(super) fn member_name(&self, id: &str) -> Option<&str> {
        self.members.iter().find(|(_, known)| *known == id).map(|(name, _)| name.as_str())
    }

    /// Learns the ids of the topics that there are.
    pub fn learn_topics(&mut self) {
        let everything = MetadataRequest::default().with_topics(None);
        let metadata = self.ask(12, &everything).expect("Metadata is answered");
        for topic in metadata.topics {
            self.topics.insert(topic.name.map(|name| name.to_string()).unwrap_or_default(), topic.topic_id);
        }
    }

    /// Waits until every partition of a topic can be written, which Kafka promises some time after it has answered
    /// its creation.
    pub fn await_leaders(&mut self, topic: &str, partitions: i32) {
        let asked = (0..partitions)
            .map(|index| ListOffsetsPartition::default().with_partition_index(index).with_timestamp(-1));
        let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(asked.collect());
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        eventually("all partitions have leaders", READY_LIMIT, || {
            let response = self.ask(5, &request)?;
            let ready = response.topics[0].partitions.iter().all(|partition| partition.error_code == 0);
            ready.then_some(())
        });
    }

    /// Waits until producers' ids are given out, for which Kafka needs a block of them first.
    pub fn await_producer_ids(&mut self) {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000);
        eventually("a producer's id", READY_LIMIT, || (self.ask(1, &request)?.error_code == 0).then_some(()));
    }

    /// A response as it was decoded; None if there was none.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response>
    where
        R::Response: Decodable,
    {
        self.send(&flat(encode_request(7, Some("control"), version, request).expect("encode a request")));
        let mut body = self.receive(ApiKey::try_from(R::KEY).expect("a known API"), version)?;
        R::Response::decode(&mut body, version).ok()
    }

    /// What this broker does with the request that was sent.
    pub fn answer<R: Request>(&mut self, version: i16) -> Answer
    where
        R::Response: Decodable + std::fmt::Debug,
    {
        let key = ApiKey::try_from(R::KEY).expect("a known API");
        let Some(mut body) = self.receive(key, version) else { return Answer::None };
        match R::Response::decode(&mut body, version) {
            Ok(_) if !body.is_empty() => Answer::Undecodable(format!("{} bytes are left over", body.len())),
            Ok(response) => Answer::Response(Tree::of(&response)),
            Err(error) => Answer::Undecodable(error.to_string()),
        }
    }

    /// Sends a request, whose answer is to be received before the next.
    pub(super) fn send(&mut self, frame: &Bytes) {
        let connect = || Connection::open(self.address).expect("connect to a broker");
        self.connection.get_or_insert_with(connect).send(frame);
    }

    /// The body of the response; None if there was none, and the connection is at its end.
    fn receive(&mut self, key: ApiKey, version: i16) -> Option<Bytes> {
        let mut connection = self.connection.take()?;
        let response = connection.receive().ok().flatten()?;
        self.connection = Some(connection);
        let (_, body) = decode_response_header(response, key, version).ok()?;
        Some(body)
    }
}
