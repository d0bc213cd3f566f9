//! franz-go, the client of many programs in Go.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_compat_tests::stored::{self, Client::FranzGo};

#[test]
fn what_is_acknowledged_in_a_topic_being_made_is_stored() {
    stored::creation(&FranzGo, 200, false).unwrap();
    stored::creation(&FranzGo, 200, true).unwrap();
    stored::creation(&FranzGo, 1, true).unwrap();
}

#[test]
fn what_is_acknowledged_in_a_topic_made_again_is_stored() {
    stored::recreation(&FranzGo).unwrap();
}

#[test]
fn what_is_acknowledged_in_a_growing_topic_is_stored() {
    stored::growing(&FranzGo).unwrap();
}

#[test]
fn what_is_acknowledged_through_restarts_is_stored() {
    stored::restart(&FranzGo).unwrap();
}
