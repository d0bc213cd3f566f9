//! openraft's log storage over [`LogFile`]: entries in memory, every write in order on one thread.
//!
//! The log is short (what snapshots cover is purged), so its entries are kept in memory, where they are read.
//! Writing and syncing blocks, hence a thread of its own, which sleeps while there is nothing to write. It
//! takes one operation after the other; openraft's rule that writes of votes and entries are never reordered
//! holds by that.
//!
//! Beside the log stand the files `vote` (replaced atomically and synced) and `committed` (a hint of how far
//! entries may be applied at a start; neither synced nor trusted beyond the log's end).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::RangeBounds;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use millrace_disk::{Disk, replace};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::codec::{EntryError, decode_entry, encode_entry, entry_id, log_id};
use super::durable::{open_sealed, read_if_exists, seal};
use super::log_file::{LogFile, LogFileError, Record};
use super::patience::Patience;
use super::{Entry, LogId, StorageError, TypeConfig, Vote};

const VOTE_MAGIC: [u8; 8] = *b"MRVOTE\0\0";
const VOTE_VERSION: u32 = 1;
const COMMITTED_MAGIC: [u8; 8] = *b"MRCOMMIT";
const COMMITTED_VERSION: u32 = 1;

/// Dead bytes from which the file is rewritten, if they also outweigh the living.
const REWRITE_DEAD_BYTES_MIN: u64 = 1 << 20;
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

/// What is on disk, and what is on its way there.
#[derive(Default)]
struct State {
    entries: BTreeMap<u64, (Entry, usize)>,
    entry_bytes: u64,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl State {
    fn insert(&mut self, entry: Entry, bytes: usize) {
        self.entry_bytes += bytes as u64;
        if let Some((_, before)) = self.entries.insert(entry.log_id.index, (entry, bytes)) {
            self.entry_bytes -= before as u64;
        }
    }

    fn truncate(&mut self, from: u64) {
        let dropped = self.entries.split_off(&from);
        self.entry_bytes -= dropped.values().map(|(_, bytes)| *bytes as u64).sum::<u64>();
    }

    fn purge(&mut self, upto: LogId) {
        let kept = self.entries.split_off(&(upto.index + 1));
        let dropped = std::mem::replace(&mut self.entries, kept);
        self.entry_bytes -= dropped.values().map(|(_, bytes)| *bytes as u64).sum::<u64>();
        self.purged = self.purged.max(Some(upto));
    }

    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, (entry, _))| entry.log_id).or(self.purged)
    }
}

/// Reads entries; there is one for every follower.
#[derive(Clone)]
pub(super) struct LogReader(Arc<Mutex<State>>);

pub(super) struct LogStore {
    state: Arc<Mutex<State>>,
    writer: mpsc::Sender<Op>,
}

/// Tells how many bytes of entries the log holds.
pub(super) struct LogSize(Arc<Mutex<State>>);

impl LogSize {
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().entry_bytes
    }
}

/// One write. The thread does them in the order they were sent.
enum Op {
    Append { records: Vec<Record>, flushed: LogFlushed<TypeConfig> },
    Write { records: Vec<Record>, done: oneshot::Sender<io::Result<()>> },
    Vote { sealed: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
    Committed { sealed: Vec<u8> },
}

impl LogStore {
    /// Recovers the log in `dir`. The thread ends, and lets go of `lock`, when the store is dropped.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        node_id: u64,
        patience: Patience,
        lock: Arc<File>,
    ) -> Result<(Self, LogSize, JoinHandle<()>), LogStoreError> {
        let vote = read_vote(dir)?;
        let log_path = dir.join("raft.log");
        if vote.is_some() && !log_path.exists() {
            let reason = "the vote is there, the log is not".to_owned();
            return Err(LogFileError::Foreign { path: log_path, reason }.into());
        }
        let (file, recovered) = LogFile::open(&disk, &log_path, node_id)?;
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
        state.committed = read_committed(dir).min(state.last());

        let state = Arc::new(Mutex::new(state));
        let (sender, ops) = mpsc::channel();
        let (dir, state_of_writer) = (dir.to_owned(), Arc::clone(&state));
        let writer = Writer { disk, dir, file, state: state_of_writer, patience, _lock: lock };
        let thread = std::thread::Builder::new()
            .name("metadata-log".into())
            .spawn(move || writer.run(&ops))
            .map_err(LogStoreError::Thread)?;
        Ok((Self { state: Arc::clone(&state), writer: sender }, LogSize(state), thread))
    }

    /// Index of the last entry that only a snapshot can bring back.
    pub(super) fn purged_index(&self) -> Option<u64> {
        self.state.lock().purged.map(|id| id.index)
    }

    async fn write(&self, op: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Op) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.writer.send(op(done)).map_err(|_| thread_gone())?;
        written.await.map_err(|_| thread_gone())?
    }
}

fn thread_gone() -> io::Error {
    io::Error::other("the thread of the metadata log has ended")
}

struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: LogFile,
    state: Arc<Mutex<State>>,
    patience: Patience,
    _lock: Arc<File>,
}

impl Writer {
    fn run(mut self, ops: &mpsc::Receiver<Op>) {
        let vote_path = self.dir.join("vote");
        while let Ok(op) = ops.recv() {
            match op {
                Op::Append { records, flushed } => flushed.log_io_completed(self.append(&records)),
                Op::Write { records, done } => {
                    let written = self.append(&records);
                    // What is dead only takes space; if the rewriting broke the file, the next write says so.
                    if let Err(error) = self.rewrite_if_mostly_dead() {
                        tracing::warn!(%error, "could not drop purged entries from the metadata log");
                    }
                    let _ = done.send(written);
                }
                Op::Vote { sealed, done } => {
                    let write = || replace(&*self.disk, &vote_path, &sealed);
                    let _ = done.send(self.patience.write("write the metadata's vote", write));
                }
                Op::Committed { sealed } => {
                    if let Err(error) = self.write_committed(&sealed) {
                        tracing::warn!(%error, "could not write the metadata's commit hint");
                    }
                }
            }
        }
    }

    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        self.patience.write("write the metadata's log", || self.file.append(records))
    }

    /// The state may be ahead of this operation; what follows then writes the same once more, which replays
    /// to the same state.
    fn rewrite_if_mostly_dead(&mut self) -> io::Result<()> {
        let records = {
            let state = self.state.lock();
            let dead = self.file.len_bytes().saturating_sub(state.entry_bytes);
            if dead < REWRITE_DEAD_BYTES_MIN.max(state.entry_bytes) {
                return Ok(());
            }
            let purged = state.purged.iter().map(|id| Ok(Record::Purge { upto: entry_id(id) }));
            let entries = state.entries.values().map(|(entry, _)| encode_entry(entry));
            purged.chain(entries).collect::<Result<Vec<_>, serde_json::Error>>()?
        };
        self.file.rewrite(&records)
    }

    /// In place and unsynced: a torn hint fails its checksum and is as good as none.
    fn write_committed(&self, sealed: &[u8]) -> io::Result<()> {
        let path = self.dir.join("committed");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.write_all_at(sealed, 0)
    }
}

/// Body of the vote file: term u64, node id u64, whether a majority confirmed it u8; little-endian.
fn read_vote(dir: &Path) -> Result<Option<Vote>, LogStoreError> {
    let path = dir.join("vote");
    let refuse = |reason: String| LogStoreError::Vote(format!("{}: {reason}", path.display()));
    let Some(sealed) = read_if_exists(&path).map_err(|error| refuse(error.to_string()))? else {
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
fn read_committed(dir: &Path) -> Option<LogId> {
    let sealed = read_if_exists(&dir.join("committed")).ok()??;
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

fn entries_in(state: &State, range: impl RangeBounds<u64>, bytes_max: usize) -> Vec<Entry> {
    let mut bytes = 0;
    let mut entries = Vec::new();
    for (entry, len) in
        state.entries.range((range.start_bound().cloned(), range.end_bound().cloned())).map(|(_, e)| e)
    {
        bytes += len;
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(entry.clone());
    }
    entries
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(entries_in(&self.0.lock(), range, usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        Ok(entries_in(&self.0.lock(), start..end, READ_BYTES_MAX))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(entries_in(&self.state.lock(), range, usize::MAX))
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
        let sealed = seal_vote(vote);
        let written = self.write(|done| Op::Vote { sealed, done }).await;
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
            let op = Op::Committed { sealed: seal_committed(&id) };
            let sent = self.writer.send(op).map_err(|_| thread_gone());
            sent.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?;
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
        let sent = self.writer.send(Op::Append { records, flushed: callback }).map_err(|_| thread_gone());
        Ok(sent.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?)
    }

    async fn truncate(&mut self, id: LogId) -> Result<(), StorageError> {
        self.state.lock().truncate(id.index);
        let records = vec![Record::Truncate { from: id.index }];
        let written = self.write(|done| Op::Write { records, done }).await;
        Ok(written.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?)
    }

    async fn purge(&mut self, id: LogId) -> Result<(), StorageError> {
        self.state.lock().purge(id);
        let records = vec![Record::Purge { upto: entry_id(&id) }];
        let written = self.write(|done| Op::Write { records, done }).await;
        Ok(written.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)))?)
    }
}
