//! millrace-test-harness.
