//! millrace-metadata.
