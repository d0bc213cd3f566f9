//! A topic's first records: several producers begin on a topic that another connection is just making, each
//! with all it may have in flight. A leader that is named serves, and nothing is stored in the place of what
//! was refused.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use millrace_integration_tests::raw::{Connection, Sequenced, name};
use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
use millrace_protocol::messages::{InitProducerIdRequest, MetadataRequest};
use millrace_test_harness::{Broker, eventually, long_tests};

const PARTITIONS: i32 = 200;
/// Where the producers begin: among the last that a broker opens.
const PARTITION: i32 = 190;
const PRODUCERS: usize = 4;
const IN_FLIGHT: i32 = 5;

const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

fn producer_id(connection: &mut Connection) -> i64 {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let response = connection.ask(4, &request);
    assert_eq!(response.error_code, 0);
    response.producer_id.0
}

/// Waits until the broker names a leader of the partition, then sends the sequences from 0 on at once.
/// Returns the error codes.
fn begin(address: SocketAddr, topic: &str, partition: i32) -> Vec<i16> {
    let mut connection = Connection::open(address).unwrap();
    let id = producer_id(&mut connection);
    let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    eventually("a leader to be named", Duration::from_secs(60), || {
        let response = connection.ask(9, &request);
        let partitions = &response.topics[0].partitions;
        partitions
            .iter()
            .find(|known| known.partition_index == partition && known.leader_id.0 >= 0)
            .map(|_| ())
    });
    let sequenced = |sequence| Sequenced { topic, partition, producer_id: id, sequence };
    for sequence in 0..IN_FLIGHT {
        connection.send(&sequenced(sequence).frame());
    }
    let answers: Vec<i16> = (0..IN_FLIGHT).map(|_| connection.produced().0).collect();
    // A client sends again what was refused; what it is told then must be true as well.
    for (sequence, code) in (0..).zip(&answers) {
        if *code != 0 {
            connection.send(&sequenced(sequence).frame());
            assert_ne!(connection.produced().0, DUPLICATE_SEQUENCE_NUMBER, "taken for stored: {answers:?}");
        }
    }
    answers
}

#[test]
fn a_leader_that_is_named_takes_the_first_requests_in_their_order() {
    let broker = Broker::start().unwrap();
    let address = broker.address();
    let mut admin = Connection::open(address).unwrap();
    for round in 0..if long_tests() { 200 } else { 10 } {
        let topic = format!("first-{round}");
        let answers: Vec<Vec<i16>> = std::thread::scope(|scope| {
            let begin = |_| scope.spawn(|| begin(address, &topic, PARTITION));
            let producers: Vec<_> = (0..PRODUCERS).map(begin).collect();
            admin.create_partitioned(&topic, PARTITIONS, &[]);
            producers.into_iter().map(|producer| producer.join().unwrap()).collect()
        });
        for answers in answers {
            assert_eq!(answers, [0; IN_FLIGHT as usize], "round {round}");
        }
    }
}

/// What follows a refused first request is refused as well, whether others have written there or nobody.
#[test]
fn nothing_is_stored_in_the_place_of_a_refused_first_request() {
    let broker = Broker::start().unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    connection.create_topic("place", &[("max.message.bytes", "1000")]);
    for _ in 0..2 {
        let id = producer_id(&mut connection);
        let sequenced = |sequence| Sequenced { topic: "place", partition: 0, producer_id: id, sequence };
        connection.send(&sequenced(0).frame_of(&[b'x'; 5_000]));
        for sequence in 1..IN_FLIGHT {
            connection.send(&sequenced(sequence).frame());
        }
        let answers: Vec<i16> = (0..IN_FLIGHT).map(|_| connection.produced().0).collect();
        // MESSAGE_TOO_LARGE, then OUT_OF_ORDER_SEQUENCE_NUMBER.
        assert_eq!(answers, [10, 45, 45, 45, 45]);
        let other = producer_id(&mut connection);
        connection.send(&Sequenced { producer_id: other, ..sequenced(0) }.frame());
        assert_eq!(connection.produced().0, 0);
    }
    assert_eq!(connection.end_offset("place"), 2);
}
