//! Who does what blocks: threads of the crate's own, or whoever polls.

use std::io;

/// Who writes the files of the metadata and forms its snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threading {
    /// A thread for the log and votes, the runtime's blocking ones for snapshots.
    #[default]
    Threads,
    /// Nobody else: each write is done where it is waited for. For tests, which on a simulated disk and in simulated
    /// time then do the same each time.
    Stepped,
}

impl Threading {
    /// Does `work`, which may block. An error only if it panics.
    pub(crate) async fn run<R: Send + 'static>(
        self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<R> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Self::Stepped => Ok(work()),
        }
    }
}
