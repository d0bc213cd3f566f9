//! millrace-broker.
