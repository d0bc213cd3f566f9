//! The only user of openraft.
