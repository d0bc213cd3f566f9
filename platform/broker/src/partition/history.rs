//! The log as the replica core looks things up in it.

use millrace_base::{LeaderEpoch, Offset};
use millrace_log::PartitionLog;
use millrace_replication::History;

pub(super) struct LogHistory<'a>(pub(super) &'a PartitionLog);

impl History for LogHistory<'_> {
    fn log_start(&self) -> Offset {
        self.0.log_start_offset()
    }

    fn durable_end(&self) -> Offset {
        self.0.durable_end_offset()
    }

    fn log_end(&self) -> Offset {
        self.0.log_end_offset()
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.0.epoch_at(offset)
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.0.end_offset_for_epoch(epoch)
    }
}
