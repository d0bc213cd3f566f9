//! Does the writes of the log and the vote, one after the other, in the order in which they were asked for; openraft's
//! rule that these are never reordered holds by that.
//!
//! Writing and syncing blocks, hence a thread of its own, which sleeps while there is nothing to write. In steps there
//! is none: each write is done where it is waited for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use millrace_disk::{Disk, OpenMode, replace};
use openraft::storage::LogFlushed;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::codec::{encode_entry, entry_id};
use super::log_file::{LogFile, Record};
use super::log_state::State;
use super::patience::Patience;
use super::{DirectoryLock, TypeConfig};
use crate::threading::Threading;

/// One write.
pub(super) enum Write {
    Entries(Vec<Record>),
    /// Something of the log is dead from here on.
    Note(Record),
    Vote(Vec<u8>),
    /// A hint: nobody waits for it, and it may fail.
    Committed(Vec<u8>),
}

/// Who hears that it was done.
pub(super) enum Waiter {
    Raft(LogFlushed<TypeConfig>),
    Caller(oneshot::Sender<io::Result<()>>),
    Nobody,
}

impl Waiter {
    fn tell(self, outcome: io::Result<()>) {
        match self {
            Self::Raft(flushed) => flushed.log_io_completed(outcome),
            Self::Caller(done) => _ = done.send(outcome),
            Self::Nobody => {}
        }
    }
}

type Job = (Write, Waiter);

/// Takes writes.
pub(super) enum LogWriter {
    Thread(mpsc::Sender<Job>),
    Stepped(Arc<Mutex<Worker>>, Patience),
}

/// Asks and waits for the thread's end, if there is a thread.
pub(super) type LogThread = Option<JoinHandle<()>>;

impl LogWriter {
    /// A thread ends, and lets go of the worker, when the writer is dropped.
    pub(super) fn start(worker: Worker, threading: Threading) -> io::Result<(Self, LogThread)> {
        if threading == Threading::Stepped {
            let patience = worker.patience.clone();
            return Ok((Self::Stepped(Arc::new(Mutex::new(worker)), patience), None));
        }
        let (sender, jobs) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("metadata-log".into()).spawn(move || worker.run(&jobs))?;
        Ok((Self::Thread(sender), Some(thread)))
    }

    /// Returns when it is done.
    pub(super) async fn write(&self, write: Write) -> io::Result<()> {
        match self {
            Self::Thread(jobs) => {
                let (done, written) = oneshot::channel();
                jobs.send((write, Waiter::Caller(done))).map_err(|_| thread_gone())?;
                written.await.map_err(|_| thread_gone())?
            }
            Self::Stepped(worker, patience) => step(worker, patience, &write).await,
        }
    }

    /// Returns when it will be done, before what is asked for later.
    pub(super) async fn begin(
        &self,
        write: Write,
        flushed: Option<LogFlushed<TypeConfig>>,
    ) -> io::Result<()> {
        let waiter = flushed.map_or(Waiter::Nobody, Waiter::Raft);
        match self {
            Self::Thread(jobs) => jobs.send((write, waiter)).map_err(|_| thread_gone()),
            Self::Stepped(worker, patience) => {
                waiter.tell(step(worker, patience, &write).await);
                Ok(())
            }
        }
    }
}

async fn step(worker: &Mutex<Worker>, patience: &Patience, write: &Write) -> io::Result<()> {
    let what = write.what();
    let outcome = patience.write_stepped(what, || worker.lock().attempt(write)).await;
    worker.lock().tidy_after(write);
    outcome
}

fn thread_gone() -> io::Error {
    io::Error::other("the thread of the metadata log has ended")
}

impl Write {
    fn what(&self) -> &'static str {
        match self {
            Self::Entries(_) | Self::Note(_) => "write the metadata's log",
            Self::Vote(_) => "write the metadata's vote",
            Self::Committed(_) => "write the metadata's commit hint",
        }
    }
}

/// Owns the files.
pub(super) struct Worker {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) file: LogFile,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) patience: Patience,
    /// Dead bytes from which the file is rewritten, if they also outweigh the living.
    pub(super) rewrite_dead_bytes_min: u64,
    /// Held as long as anything may be written.
    pub(super) _lock: DirectoryLock,
}

impl Worker {
    fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        let patience = self.patience.clone();
        while let Ok((write, waiter)) = jobs.recv() {
            let outcome = patience.write(write.what(), || self.attempt(&write));
            self.tidy_after(&write);
            waiter.tell(outcome);
        }
    }

    /// Sound to repeat after an error that passes.
    fn attempt(&mut self, write: &Write) -> io::Result<()> {
        match write {
            Write::Entries(records) => self.file.append(records),
            Write::Note(record) => self.file.append(std::slice::from_ref(record)),
            Write::Vote(sealed) => replace(&*self.disk, &self.dir.join("vote"), sealed),
            Write::Committed(sealed) => {
                if let Err(error) = write_committed(&*self.disk, &self.dir, sealed) {
                    tracing::warn!(%error, "could not write the metadata's commit hint");
                }
                Ok(())
            }
        }
    }

    /// What is dead only takes space; if the rewriting broke the file, the next write says so.
    fn tidy_after(&mut self, write: &Write) {
        if matches!(write, Write::Note(_))
            && let Err(error) = self.rewrite_if_mostly_dead()
        {
            tracing::warn!(%error, "could not drop purged entries from the metadata log");
        }
    }

    /// The state may be ahead of this operation; what follows then writes the same once more, which replays
    /// to the same state.
    fn rewrite_if_mostly_dead(&mut self) -> io::Result<()> {
        let records = {
            let state = self.state.lock();
            let dead = self.file.len_bytes().saturating_sub(state.entry_bytes);
            if dead < self.rewrite_dead_bytes_min.max(state.entry_bytes) {
                return Ok(());
            }
            let purged = state.purged.iter().map(|id| Ok(Record::Purge { upto: entry_id(id) }));
            let entries = state.entries.values().map(|(entry, _)| encode_entry(entry));
            purged.chain(entries).collect::<Result<Vec<_>, serde_json::Error>>()?
        };
        self.file.rewrite(&records)
    }
}

/// In place and unsynced: a torn hint fails its checksum and is as good as none.
fn write_committed(disk: &dyn Disk, dir: &Path, sealed: &[u8]) -> io::Result<()> {
    let mode = OpenMode { create: true, ..OpenMode::default() };
    disk.open(&dir.join("committed"), mode)?.write_all_at(&[sealed], 0)
}
