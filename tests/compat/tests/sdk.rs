//! The project's own SDK, over QUIC and over TCP, held to what the other clients are held to.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_compat_tests::stored::{self, Client};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sdk_producers");
const QUIC: Client = Client::Sdk { program: PROGRAM, transport: "quic" };
const TCP: Client = Client::Sdk { program: PROGRAM, transport: "tcp" };

#[test]
fn what_is_acknowledged_in_a_topic_being_made_is_stored() {
    for client in [QUIC, TCP] {
        stored::creation(&client, 200, false).unwrap();
        stored::creation(&client, 200, true).unwrap();
        stored::creation(&client, 1, true).unwrap();
    }
}

#[test]
fn what_is_acknowledged_in_a_topic_made_again_is_stored() {
    stored::recreation(&QUIC).unwrap();
    stored::recreation(&TCP).unwrap();
}

#[test]
fn what_is_acknowledged_in_a_growing_topic_is_stored() {
    stored::growing(&QUIC).unwrap();
    stored::growing(&TCP).unwrap();
}

#[test]
fn what_is_acknowledged_through_restarts_is_stored() {
    stored::restart(&QUIC).unwrap();
    stored::restart(&TCP).unwrap();
}
