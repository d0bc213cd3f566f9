//! What administrators and producers are told has been done stands after a SIGKILL that comes with the answer.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use millrace_client::admin::{ConfigChange, ConfigResource, NewTopic, OffsetSpec};
use millrace_client::{Admin, Client, Record, Transport};
use millrace_integration_tests::raw::Connection;
use millrace_protocol::messages::InitProducerIdRequest;
use millrace_test_harness::{Broker, long_tests};

async fn connect(broker: &Broker) -> Client {
    broker.client(Transport::Tcp).connect().await.unwrap()
}

/// The broker dies with the answer that was just given, and a new client asks the next one.
async fn crash(broker: &mut Broker) -> Client {
    broker.kill().unwrap();
    broker.restart().unwrap();
    connect(broker).await
}

async fn partitions(admin: &Admin, topic: &str) -> usize {
    admin.describe_topic(topic).await.unwrap().partitions.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_were_answered_survive_sigkill() {
    let mut broker = Broker::builder().setting("topics", "auto_create = false").start().unwrap();
    for round in 0..if long_tests() { 100 } else { 1 } {
        let topic = format!("topic-{round}");
        let resource = ConfigResource::Topic(topic.clone());
        connect(&broker).await.admin().create_topic(NewTopic::new(&topic, 2)).await.unwrap();

        let client = crash(&mut broker).await;
        assert_eq!(partitions(&client.admin(), &topic).await, 2, "CreateTopics");
        client.admin().create_partitions(&topic, 5).await.unwrap();

        let client = crash(&mut broker).await;
        assert_eq!(partitions(&client.admin(), &topic).await, 5, "CreatePartitions");
        let change = ConfigChange::set("retention.ms", "123456");
        client.admin().alter_configs(&resource, &[change]).await.unwrap();

        let client = crash(&mut broker).await;
        let settings = client.admin().describe_configs(&resource, &["retention.ms"]).await.unwrap();
        assert_eq!(settings[0].value.as_deref(), Some("123456"), "IncrementalAlterConfigs");
        let producer = client.producer().build().await.unwrap();
        for _ in 0..10 {
            let record = Record::value("record").with_partition(4);
            producer.send(&topic, record).await.unwrap().await.unwrap();
        }
        assert_eq!(client.admin().delete_records(&topic, 4, 7).await.unwrap(), 7);

        let client = crash(&mut broker).await;
        for (spec, offset) in [(OffsetSpec::Earliest, 7), (OffsetSpec::Latest, 10)] {
            let listed = client.admin().list_offsets(&topic, &[4], spec).await.unwrap();
            assert_eq!(listed[0].offset, Some(offset), "DeleteRecords, {spec:?}");
        }
        client.admin().delete_topic(&topic).await.unwrap();

        let client = crash(&mut broker).await;
        assert!(client.admin().describe_topic(&topic).await.is_err(), "DeleteTopics");
    }
}

/// Were an id given out twice, records of the second producer would be taken for duplicates of the first one's, and
/// acknowledged without being stored.
#[test]
fn a_producer_id_that_was_answered_is_never_given_out_again() {
    let mut broker = Broker::start().unwrap();
    let mut ids = BTreeSet::new();
    for _ in 0..4 {
        let mut connection = Connection::open(broker.address()).unwrap();
        for _ in 0..10 {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_producer_id((-1).into())
                .with_producer_epoch(-1);
            let response = connection.ask(4, &request);
            assert_eq!(response.error_code, 0);
            assert!(ids.insert(response.producer_id.0), "{} was given out before", response.producer_id.0);
        }
        broker.kill().unwrap();
        broker.restart().unwrap();
    }
}
