//! Proof that what a client takes for stored is stored: producers of several clients write down what they were
//! told, and afterwards that is compared with what is there.
//!
//! These are the answers that clients take for "done", what each says here, and where that is proven:
//!
//! | answer | what it says | proof |
//! |---|---|---|
//! | Produce, `acks=all` or `acks=1`, no error | the records are on this broker's disk, at these offsets, and can be read | the scenarios here; `crash` and `acks` of the integration tests (SIGKILL with the answer) |
//! | the same for a batch that is one of its producer's last five | they were stored when they were sent before | [`restart`]; the broker's `produce`, the log's `sequences_survive_a_kill_…` |
//! | Produce, DUPLICATE_SEQUENCE_NUMBER | nothing: it is never answered, since clients count it as stored; who is below the remembered batches or ahead is out of order, and is not | `first_records` of the integration tests; `producer.rs` of the log |
//! | Produce, `acks=0` | nothing: there is no answer, and a client counts what it has written to its socket; an error closes the connection | `every_way_to_acknowledge_stores_everything` of the program's `round_trip` |
//! | InitProducerId | nobody else has the id or ever will; otherwise another's records would be its duplicates | `answered` of the integration tests (SIGKILL with the answer) |
//! | CreateTopics, Metadata that creates | the topic is there; who is named as a leader serves | [`creation`], `first_records`, `answered` |
//! | DeleteTopics | it is gone with its records, and one of the same name is another | [`recreation`], `answered` |
//! | CreatePartitions | they are there, and records that are sent by key find them | [`growing`], `answered` |
//! | AlterConfigs, IncrementalAlterConfigs | the settings count and last | `answered` |
//! | DeleteRecords | what is before the offset is gone for good, what is behind it stays | `answered`; the log's `deleted_records_stay_deleted` |
//! | a plugin's deployment, its pause, its deletion | they last, and the plugin goes on behind what it has committed | `plugins` of the integration tests (`crash`, `operations`); the metadata's `deployments_survive_a_restart_…` |
//!
//! OffsetCommit is not served yet: the runner of plugins, which keeps offsets in the same topic, commits as a producer
//! with `acks=all`.

mod check;
mod client;
mod journal;
mod observer;
mod scenarios;

pub use client::Client;
pub use scenarios::{creation, growing, recreation, restart};
