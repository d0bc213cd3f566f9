//! millrace-transport.
