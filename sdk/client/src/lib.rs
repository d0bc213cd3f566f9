//! millrace-client.
