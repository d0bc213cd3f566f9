//! The write-ahead log that all partitions of a data directory share.
//!
//! A fixed set of files, written with zeros once and then over and over, so that a commit changes no
//! metadata of the file system: one aligned, durable write a group.

pub(crate) mod format;
pub(crate) mod replay;
pub(crate) mod writer;
