//! millrace-compat-tests.
