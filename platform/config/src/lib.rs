//! millrace-config.
