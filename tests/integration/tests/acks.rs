//! What `acks=1` promises on a broker that is alone in sync: the record can be read, and survives a SIGKILL.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_integration_tests::raw::{Connection, batch, leader_frame};
use millrace_protocol::compression::Codec;
use millrace_test_harness::Broker;

/// The last answers are just in when the broker dies, so that nothing has time to reach the disk after them.
#[test]
fn what_acks_1_acknowledges_can_be_read_at_once_and_survives_sigkill() {
    let mut broker = Broker::start().unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    connection.create_topic("leader", &[]);
    let frame = leader_frame("leader", &batch(&[b'x'; 100], Codec::None));
    let mut count = 0;
    for _ in 0..5 {
        for _ in 0..20 {
            connection.send(&frame);
            assert_eq!(connection.produced(), (0, count));
            count += 1;
            assert_eq!(connection.end_offset("leader"), count, "acknowledged and not visible");
        }
        for _ in 0..100 {
            connection.send(&frame);
        }
        for _ in 0..100 {
            assert_eq!(connection.produced(), (0, count));
            count += 1;
        }
        broker.kill().unwrap();
        broker.restart().unwrap();
        connection = Connection::open(broker.address()).unwrap();
        assert_eq!(connection.end_offset("leader"), count, "acknowledged and lost");
    }
}
