//! openraft's log storage over [`LogFile`]: entries in memory, writes in order by [`LogWriter`].
//!
//! The log is short (what snapshots cover is purged), so its entries are kept in memory, where they are read.
//!
//! Beside the log stand the files `vote` (replaced atomically and synced) and `committed` (a hint of how far
//! entries may be applied at a start; neither synced nor trusted beyond the log's end).

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use millrace_disk::Disk;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::Mutex;

use super::codec::{EntryError, decode_entry, encode_entry, entry_id, log_id};
use super::durable::{open_sealed, read_if_exists, seal};
use super::log_file::{LogFile, LogFileError, Record};
use super::log_state::State;
use super::log_writer::{LogThread, LogWriter, Worker, Write};
use super::patience::Patience;
use super::{DirectoryLock, Entry, LogId, StorageError, TypeConfig, Vote};
use crate::threading::Threading;

const VOTE_MAGIC: [u8; 8] = *b"MRVOTE\0\0";
const VOTE_VERSION: u32 = 1;
const COMMITTED_MAGIC: [u8; 8] = *b"MRCOMMIT";
const COMMITTED_VERSION: u32 = 1;

/// What one message to a follower carries at most, unless a single entry is larger.
const READ_BYTES_MAX: usize = 4 << 20;

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogStoreError {
    #[error(transparent)]
    File(#[from] LogFileError),
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("read the vote: {0}")]
    Vote(String),
    #[error("start the thread of the metadata log: {0}")]
    Thread(io::Error),
}

/// Reads entries; there is one for every follower.
#[derive(Clone)]
pub(super) struct LogReader(Arc<Mutex<State>>);

pub(super) struct LogStore {
    state: Arc<Mutex<State>>,
    writer: LogWriter,
}

/// Tells how many bytes of entries the log holds.
pub(super) struct LogSize(Arc<Mutex<State>>);

impl LogSize {
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().entry_bytes
    }
}

/// Where the log is, and how it is written.
pub(super) struct LogPlace<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) dir: &'a Path,
    pub(super) node_id: u64,
    pub(super) threading: Threading,
    pub(super) patience: Patience,
    /// Dead bytes from which the file is rewritten, if they also outweigh the living.
    pub(super) rewrite_dead_bytes_min: u64,
}

impl LogStore {
    /// Recovers the log. A thread ends, and lets go of `lock`, when the store is dropped.
    pub(super) fn open(
        place: LogPlace<'_>,
        lock: DirectoryLock,
    ) -> Result<(Self, LogSize, LogThread), LogStoreError> {
        let LogPlace { disk, dir, node_id, threading, patience, rewrite_dead_bytes_min } = place;
        let vote = read_vote(&**disk, dir)?;
        let log_path = dir.join("raft.log");
        if vote.is_some() && !is_there(&**disk, dir, "raft.log")? {
            let reason = "the vote is there, the log is not".to_owned();
            return Err(LogFileError::Foreign { path: log_path, reason }.into());
        }
        let (file, recovered) = LogFile::open(disk, &log_path, node_id)?;
        if recovered.torn_bytes > 0 {
            tracing::warn!(bytes = recovered.torn_bytes, "cut an unfinished write off the metadata log");
        }
        let mut state = State { vote, ..State::default() };
        for record in recovered.records {
            match record {
                Record::Entry { id, kind, payload } => {
                    state.insert(decode_entry(id, kind, &payload)?, payload.len());
                }
                Record::Truncate { from } => state.truncate(from),
                Record::Purge { upto } => state.purge(log_id(upto)),
            }
        }
        state.committed = read_committed(&**disk, dir).min(state.last());

        let state = Arc::new(Mutex::new(state));
        let worker = Worker {
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            file,
            state: Arc::clone(&state),
            patience,
            rewrite_dead_bytes_min,
            _lock: lock,
        };
        let (writer, thread) = LogWriter::start(worker, threading).map_err(LogStoreError::Thread)?;
        Ok((Self { state: Arc::clone(&state), writer }, LogSize(state), thread))
    }

    /// Index of the last entry that only a snapshot can bring back.
    pub(super) fn purged_index(&self) -> Option<u64> {
        self.state.lock().purged.map(|id| id.index)
    }
}

fn is_there(disk: &dyn Disk, dir: &Path, name: &str) -> Result<bool, LogFileError> {
    let entries =
        disk.list(dir).map_err(|source| LogFileError::Io { verb: "list", path: dir.to_owned(), source })?;
    Ok(entries.iter().any(|entry| entry.name == name))
}

/// Body of the vote file: term u64, node id u64, whether a majority confirmed it u8; little-endian.
fn read_vote(disk: &dyn Disk, dir: &Path) -> Result<Option<Vote>, LogStoreError> {
    let path = dir.join("vote");
    let refuse = |reason: String| LogStoreError::Vote(format!("{}: {reason}", path.display()));
    let Some(sealed) = read_if_exists(disk, &path).map_err(|error| refuse(error.to_string()))? else {
        return Ok(None);
    };
    let body = open_sealed(VOTE_MAGIC, VOTE_VERSION, &sealed).map_err(refuse)?;
    let [term, node] = [0, 8].map(|at| body.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()));
    match (term.map(u64::from_le_bytes), node.map(u64::from_le_bytes), body.get(16)) {
        (Some(term), Some(node), Some(0)) => Ok(Some(Vote::new(term, node))),
        (Some(term), Some(node), Some(1)) => Ok(Some(Vote::new_committed(term, node))),
        _ => Err(refuse("it has another layout".into())),
    }
}

fn seal_vote(vote: &Vote) -> Vec<u8> {
    let mut body = Vec::with_capacity(17);
    body.extend(vote.leader_id.term.to_le_bytes());
    body.extend(vote.leader_id.node_id.to_le_bytes());
    body.push(u8::from(vote.committed));
    seal(VOTE_MAGIC, VOTE_VERSION, &body)
}

/// Body of the hint: term, leader's node id, index, each u64 little-endian. Whatever is wrong with it, there
/// is then no hint.
fn read_committed(disk: &dyn Disk, dir: &Path) -> Option<LogId> {
    let sealed = read_if_exists(disk, &dir.join("committed")).ok()??;
    let body = open_sealed(COMMITTED_MAGIC, COMMITTED_VERSION, &sealed).ok()?;
    let number = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let id = super::log_file::EntryId { term: number(0)?, leader: number(8)?, index: number(16)? };
    Some(log_id(id))
}

fn seal_committed(id: &LogId) -> Vec<u8> {
    let id = entry_id(id);
    let body = [id.term, id.leader, id.index].map(u64::to_le_bytes).concat();
    seal(COMMITTED_MAGIC, COMMITTED_VERSION, &body)
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.0.lock().entries_in(range, usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        Ok(self.0.lock().entries_in(start..end, READ_BYTES_MAX))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.state.lock().entries_in(range, usize::MAX))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let state = self.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last() })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader(Arc::clone(&self.state))
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let written = self.writer.write(Write::Vote(seal_vote(vote))).await;
        written.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)))?;
        self.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.state.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.state.lock().committed = committed;
        if let Some(id) = committed {
            let begun = self.writer.begin(Write::Committed(seal_committed(&id)), None).await;
            begun.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let records: Result<Vec<_>, _> = entries.iter().map(encode_entry).collect();
        let records = records.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?;
        {
            let mut state = self.state.lock();
            for (entry, record) in entries.into_iter().zip(&records) {
                let Record::Entry { payload, .. } = record else { continue };
                state.insert(entry, payload.len());
            }
        }
        let begun = self.writer.begin(Write::Entries(records), Some(callback)).await;
        Ok(begun.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?)
    }

    async fn truncate(&mut self, id: LogId) -> Result<(), StorageError> {
        self.state.lock().truncate(id.index);
        let written = self.writer.write(Write::Note(Record::Truncate { from: id.index })).await;
        Ok(written.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?)
    }

    async fn purge(&mut self, id: LogId) -> Result<(), StorageError> {
        self.state.lock().purge(id);
        let written = self.writer.write(Write::Note(Record::Purge { upto: entry_id(&id) })).await;
        Ok(written.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?)
    }
}
