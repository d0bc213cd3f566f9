//! What the process itself needs before it opens anything: how many files it may open, and who may read those
//! that it makes.
//!
//! Descriptors are shared out once: half of them to the log's segments (two a segment: the page cache's and the
//! one that bypasses it), a fixed number to everything else, and what is left to connections. A peer never
//! takes one that the log needs.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// For the write-ahead log, the metadata, the HTTP server, the plugins' outgoing connections, the runtime.
const OTHERS: u64 = 256;

/// Descriptors of an open segment, of its index while it is written, and of its directory's sync.
const PER_SEGMENT: u64 = 3;

/// Segments that the log keeps open where nothing limits it.
const SEGMENTS_MAX: u64 = 1024;

/// How the process's descriptors are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    limit: u64,
    pub segments: usize,
    pub connections: usize,
}

impl Descriptors {
    /// Raises the soft limit to the hard one and shares it out.
    pub fn claim() -> Self {
        let found = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: found.maximum, maximum: found.maximum };
        let limit = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => found.maximum,
            Err(error) => {
                tracing::warn!(%error, "the limit of open files cannot be raised to the hard one");
                found.current
            }
        };
        Self::of(limit.unwrap_or(u64::MAX))
    }

    fn of(limit: u64) -> Self {
        let segments = (limit / 2 / PER_SEGMENT).clamp(16, SEGMENTS_MAX);
        let connections = limit.saturating_sub(segments * PER_SEGMENT + OTHERS).max(16);
        let to_usize = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Self { limit, segments: to_usize(segments), connections: to_usize(connections) }
    }

    /// Says so where the limit is low for what is to be served.
    pub fn tell_if_low(&self, partitions: usize, connections_wanted: usize) {
        if self.segments < partitions && (self.segments as u64) < SEGMENTS_MAX {
            tracing::warn!(
                "this process may have {} open files, which keeps {} segments open at a time for {partitions} \
                 partitions: they are opened and closed in turn; raise the limit (ulimit -n, LimitNOFILE) to {}",
                self.limit,
                self.segments,
                (2 * PER_SEGMENT * SEGMENTS_MAX)
                    .max(connections_wanted as u64 + PER_SEGMENT * SEGMENTS_MAX + OTHERS),
            );
        }
        if self.connections < connections_wanted {
            tracing::warn!(
                "this process may have {} open files, which leaves {} connections of the {connections_wanted} that \
                 limits.max_connections allows; raise the limit (ulimit -n, LimitNOFILE)",
                self.limit,
                self.connections,
            );
        }
    }
}

/// Files that the broker makes are its user's alone: they hold records, keys, and secrets of deployments.
pub(super) fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_comes_before_connections_whatever_the_limit() {
        for limit in [1024, 4096, 20_000, 1_048_576, u64::MAX] {
            let shared = Descriptors::of(limit);
            let used = shared.segments as u64 * PER_SEGMENT + OTHERS;
            assert!(shared.connections as u64 + used <= limit, "{shared:?}");
        }
        assert_eq!(Descriptors::of(1024), Descriptors { limit: 1024, segments: 170, connections: 258 });
        assert_eq!(Descriptors::of(1_048_576).segments, 1024);
    }
}
