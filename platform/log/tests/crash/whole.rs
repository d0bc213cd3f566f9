//! What concerns all partitions of a world at once.

use millrace_log::EngineStep;

use crate::support::*;
use crate::world::{PARTITIONS, World};

impl World {
    /// Runs of compaction that have come to their end since the directory was opened.
    pub fn compactions(&self) -> u64 {
        self.manager().metrics().compactions
    }

    pub fn validate(&self) {
        for number in 0..PARTITIONS {
            if let Some(log) = self.manager().partition(&tp(number as i32)) {
                log.validate().unwrap();
            }
        }
    }

    pub fn set_high_watermarks(&self) {
        for number in 0..PARTITIONS {
            if let Some(log) = self.manager().partition(&tp(number as i32)) {
                log.set_high_watermark(log.durable_end_offset());
            }
        }
    }

    /// Compacts one of the partitions, after all of them are told to be about to.
    pub fn compact(&mut self) {
        // What is durable may be compacted.
        while self.manager().step(EngineStep::Wal) | self.manager().step(EngineStep::Direct) {}
        self.set_high_watermarks();
        for number in 0..PARTITIONS {
            if let Some(log) = self.manager().partition(&tp(number as i32)) {
                self.models[number].compact(log.high_watermark());
            }
        }
        self.clock.advance_ms(400);
        self.manager().step(EngineStep::Compact);
    }
}
