//! The port to partitions, tested: the suite that every implementation passes, and the double that those who use the
//! port are tested with.

// What fails in a test may panic, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod conformance;
mod log;
mod memory;
mod records;
mod topics;

use std::time::Duration;

pub use memory::{AcknowledgementFault, MemoryPartitions};
pub use records::{Stored, batch_of, records_of};
pub use topics::{MemoryTopics, Topics};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
