//! millrace-integration-tests.
