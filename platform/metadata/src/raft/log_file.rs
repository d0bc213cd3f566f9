//! The Raft log's file: `raft.log`, append-only, one frame per write, synced before it counts.
//!
//! ```text
//! header, 48 bytes                          frame, 16 + n bytes
//!  0  8  magic "MILLRAFT"                    0  4  CRC-32C of the salt and all that follows in the frame
//!  8  4  format version, 2                   4  4  n, length of the body
//! 12  4  zero                                8  8  sequence number: 1 in the first frame, then by one
//! 16  8  id of the node it belongs to       16  n  body: records, one after the other
//! 24 16  salt: random, another in each file
//! 40  4  zero
//! 44  4  CRC-32C of bytes 0..44
//!
//! record: entry, 30 + m bytes               record: truncate, 9 bytes      record: purge, 25 bytes
//!  0  1  kind, 1                             0  1  kind, 2                  0  1  kind, 3
//!  1  1  payload: 0 blank, 1 proposal,       1  8  first index that         1  8  term    \
//!        2 membership                              is taken back            9  8  leader   > of the last
//!  2  8  term                                                              17  8  index   /  entry dropped
//! 10  8  node id of the term's leader
//! 18  8  index
//! 26  4  m, length of the payload
//! 30  m  payload, JSON (none if blank)
//! ```
//!
//! Integers are little-endian. Truncating and purging append a record; [`LogFile::rewrite`] drops what is dead
//! by writing the live rest into a new file that takes the old one's place.
//!
//! Version rule: a reader refuses a version that it does not know; any change of the above raises it.
//!
//! Recovery: one frame is written and synced before the next is begun, so a crash can damage only the last.
//! Hence an invalid frame with nothing valid behind it is a torn tail and is cut off: it was never
//! acknowledged. One with a valid frame behind it means that acknowledged entries were lost: the file is
//! refused, because a voter that forgets what it acknowledged can undo what the cluster has committed.
//!
//! What is looked through for that frame holds clients' bytes. They cannot make one: its checksum takes in the
//! salt, which no client learns.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_disk::{Disk, DiskFile, OpenMode, is_out_of_files, is_passing, replace};
use millrace_protocol::crc::{crc32c, crc32c_append};

const MAGIC: &[u8; 8] = b"MILLRAFT";
const VERSION: u32 = 2;
const HEADER_LEN: usize = 48;
const FRAME_HEADER_LEN: usize = 16;
const ENTRY_HEADER_LEN: usize = 30;

/// Tells frames of one file from bytes that look like them.
type Salt = [u8; 16];

/// Names one entry: entries of equal ids are equal on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    pub(crate) term: u64,
    pub(crate) leader: u64,
    pub(crate) index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PayloadKind {
    Blank = 0,
    Proposal = 1,
    Membership = 2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Entry { id: EntryId, kind: PayloadKind, payload: Vec<u8> },
    Truncate { from: u64 },
    Purge { upto: EntryId },
}

/// Reading, writing or believing the log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    #[error("{verb} {path}: {source}", path = path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is not a metadata log: {reason}", path = path.display())]
    Foreign { path: PathBuf, reason: String },
    #[error(
        "{path} is damaged at byte {position}, and acknowledged entries follow: restore it from a backup, or \
         remove this broker from the voters, empty the directory and let it join again",
        path = path.display()
    )]
    Damaged { path: PathBuf, position: u64 },
}

/// What the file held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// In the order they were written, truncations and purges not yet carried out.
    pub(crate) records: Vec<Record>,
    /// Bytes of a torn write that were cut off.
    pub(crate) torn_bytes: u64,
}

/// The open file. A write that met an error that [passes](is_passing) may be repeated: it is the only one that was
/// not synced, and it is done again as a whole, at the same place. After any other error all writes are refused: what
/// the disk holds is then unknown.
pub(crate) struct LogFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    node_id: u64,
    salt: Salt,
    end: u64,
    next_sequence: u64,
    /// The file has taken another's place, and a crash may undo that.
    is_new: bool,
    failed: bool,
}

impl LogFile {
    /// Opens the file, creating it if it is missing, and cuts off a torn tail.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        node_id: u64,
    ) -> Result<(Self, Recovered), LogFileError> {
        let io = |verb| move |source| LogFileError::Io { verb, path: path.to_owned(), source };
        let file = match disk.open(path, OpenMode::default()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                replace(&**disk, path, &header(node_id, random_salt(&**disk))).map_err(io("create"))?;
                disk.open(path, OpenMode::default())
            }
            opened => opened,
        };
        let file = file.map_err(io("open"))?;
        let len = file.len().map_err(io("read"))?;
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).map_err(io("read"))?;
        let salt = check_header(&bytes, node_id)
            .map_err(|reason| LogFileError::Foreign { path: path.to_owned(), reason })?;

        let mut recovered = Recovered::default();
        let mut position = HEADER_LEN;
        let mut sequence = 1;
        while position < bytes.len() {
            let Some((body, next)) = frame_at(&bytes, salt, position, sequence) else { break };
            // A body of a valid checksum was written as it stands.
            let records = decode_records(body)
                .map_err(|reason| LogFileError::Foreign { path: path.to_owned(), reason })?;
            recovered.records.extend(records);
            position = next;
            sequence += 1;
        }
        if position < bytes.len() {
            if has_frame_after(&bytes, salt, position, sequence) {
                return Err(LogFileError::Damaged { path: path.to_owned(), position: position as u64 });
            }
            recovered.torn_bytes = (bytes.len() - position) as u64;
            file.truncate(position as u64).map_err(io("cut the torn tail of"))?;
        }
        // What was read may be on its way to the disk still, from a process that has ended before its sync.
        file.sync().map_err(io("sync"))?;
        let log = Self {
            disk: Arc::clone(disk),
            path: path.to_owned(),
            file,
            node_id,
            salt,
            end: position as u64,
            next_sequence: sequence,
            // Whoever renamed it may not have come to making that durable.
            is_new: true,
            failed: false,
        };
        Ok((log, recovered))
    }

    pub(crate) const fn len_bytes(&self) -> u64 {
        self.end
    }

    /// Writes the records as one frame; when it returns they are on disk, all of them.
    pub(crate) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        self.check_sound()?;
        self.keep_name()?;
        let frame = encode_frame(records, self.salt, self.next_sequence)?;
        let written = self.file.write_all_at(&[&frame], self.end).and_then(|()| self.file.sync());
        if let Err(error) = written {
            self.failed = !is_passing(&error);
            if !self.failed {
                // Half a frame is room that others may need. If it stays, the next frame is written over it, and to a
                // restart it is a torn tail: no frame can begin within.
                let _ = self.file.truncate(self.end);
            }
            return Err(error);
        }
        self.end += frame.len() as u64;
        self.next_sequence += 1;
        Ok(())
    }

    /// Replaces the whole contents with these records, or leaves the file as it was.
    pub(crate) fn rewrite(&mut self, records: &[Record]) -> io::Result<()> {
        self.check_sound()?;
        let new_path = self.path.with_extension("log.new");
        let salt = random_salt(&*self.disk);
        let mut bytes = header(self.node_id, salt).to_vec();
        bytes.extend(encode_frame(records, salt, 1)?);
        let made = || {
            let file = self.disk.open(&new_path, OpenMode { create: true, ..OpenMode::default() })?;
            file.truncate(0)?;
            file.write_all_at(&[&bytes], 0)?;
            file.sync()?;
            self.disk.rename(&new_path, &self.path)?;
            Ok(file)
        };
        let file = made().inspect_err(|_: &io::Error| _ = self.disk.remove_file(&new_path))?;
        // From here on the old file is no longer the one a restart finds.
        self.file = file;
        self.salt = salt;
        self.end = bytes.len() as u64;
        self.next_sequence = 2;
        self.is_new = true;
        self.keep_name()
    }

    /// Nothing is acknowledged in a file whose name a crash may take back.
    fn keep_name(&mut self) -> io::Result<()> {
        if self.is_new {
            let synced = self.disk.sync_dir(self.path.parent().unwrap_or(Path::new(".")));
            self.failed = synced.as_ref().is_err_and(|error| !is_out_of_files(error));
            synced?;
            self.is_new = false;
        }
        Ok(())
    }

    fn check_sound(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the metadata log failed before; restart the broker"));
        }
        Ok(())
    }
}

fn random_salt(disk: &dyn Disk) -> Salt {
    disk.entropy().to_le_bytes()
}

fn header(node_id: u64, salt: Salt) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&node_id.to_le_bytes());
    header[24..40].copy_from_slice(&salt);
    let crc = crc32c(&header[..44]);
    header[44..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The file's salt.
fn check_header(bytes: &[u8], node_id: u64) -> Result<Salt, String> {
    if bytes.len() < 12 || !bytes.starts_with(MAGIC) {
        return Err("its header is missing".into());
    }
    let version = read_u32(bytes, 8);
    if version != VERSION {
        return Err(format!("it has format version {version}, this broker knows {VERSION}"));
    }
    if bytes.len() < HEADER_LEN || read_u32(bytes, 44) != crc32c(&bytes[..44]) {
        return Err("its header is damaged".into());
    }
    let owner = read_u64(bytes, 16);
    if owner != node_id {
        return Err(format!("it belongs to broker {owner}, this is broker {node_id}"));
    }
    Ok(bytes[24..40].try_into().expect("a slice of 16 bytes"))
}

/// The body of the frame at `position` and the position behind it, if it is whole and has that number.
fn frame_at(bytes: &[u8], salt: Salt, position: usize, sequence: u64) -> Option<(&[u8], usize)> {
    let header_end = position.checked_add(FRAME_HEADER_LEN)?;
    if header_end > bytes.len() || read_u64(bytes, position + 8) != sequence {
        return None;
    }
    let end = header_end.checked_add(read_u32(bytes, position + 4) as usize)?;
    if end > bytes.len() || read_u32(bytes, position) != checksum(salt, &bytes[position + 4..end]) {
        return None;
    }
    Some((&bytes[header_end..end], end))
}

fn checksum(salt: Salt, frame: &[u8]) -> u32 {
    crc32c_append(crc32c(&salt), frame)
}

/// Whether a later frame than `sequence` starts anywhere after `position`. Every offset is tried, since the
/// damaged frame's length is not to be believed; nearly all fail on the sequence number.
fn has_frame_after(bytes: &[u8], salt: Salt, position: usize, sequence: u64) -> bool {
    let most = sequence + (bytes.len() - position) as u64 / FRAME_HEADER_LEN as u64;
    (position + 1..bytes.len().saturating_sub(FRAME_HEADER_LEN - 1)).any(|at| {
        let found = read_u64(bytes, at + 8);
        (sequence + 1..=most).contains(&found) && frame_at(bytes, salt, at, found).is_some()
    })
}

fn encode_frame(records: &[Record], salt: Salt, sequence: u64) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; FRAME_HEADER_LEN];
    for record in records {
        encode_record(record, &mut frame)?;
    }
    let too_long = |_| io::Error::other("more than 4 GiB of metadata in one write");
    let len = u32::try_from(frame.len() - FRAME_HEADER_LEN).map_err(too_long)?;
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    let crc = checksum(salt, &frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(frame)
}

fn encode_record(record: &Record, into: &mut Vec<u8>) -> io::Result<()> {
    let id = |id: &EntryId, into: &mut Vec<u8>| {
        for number in [id.term, id.leader, id.index] {
            into.extend(number.to_le_bytes());
        }
    };
    match record {
        Record::Entry { id: entry, kind, payload } => {
            let too_long = |_| io::Error::other("a metadata entry is longer than 4 GiB");
            let len = u32::try_from(payload.len()).map_err(too_long)?;
            into.extend([1, *kind as u8]);
            id(entry, into);
            into.extend(len.to_le_bytes());
            into.extend(payload);
        }
        Record::Truncate { from } => {
            into.push(2);
            into.extend(from.to_le_bytes());
        }
        Record::Purge { upto } => {
            into.push(3);
            id(upto, into);
        }
    }
    Ok(())
}

fn decode_records(mut body: &[u8]) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let (record, len) =
            decode_record(body).ok_or("a record in it is of a kind or length that is unknown")?;
        records.push(record);
        body = &body[len..];
    }
    Ok(records)
}

/// The first record and its length.
fn decode_record(body: &[u8]) -> Option<(Record, usize)> {
    let id = |at| EntryId {
        term: read_u64(body, at),
        leader: read_u64(body, at + 8),
        index: read_u64(body, at + 16),
    };
    match *body.first()? {
        1 if body.len() >= ENTRY_HEADER_LEN => {
            let kind = match body[1] {
                0 => PayloadKind::Blank,
                1 => PayloadKind::Proposal,
                2 => PayloadKind::Membership,
                _ => return None,
            };
            let end = ENTRY_HEADER_LEN.checked_add(read_u32(body, 26) as usize)?;
            let payload = body.get(ENTRY_HEADER_LEN..end)?.to_vec();
            Some((Record::Entry { id: id(2), kind, payload }, end))
        }
        2 if body.len() >= 9 => Some((Record::Truncate { from: read_u64(body, 1) }, 9)),
        3 if body.len() >= 25 => Some((Record::Purge { upto: id(1) }, 25)),
        _ => None,
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes"))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes"))
}

#[cfg(test)]
#[path = "log_file_tests.rs"]
mod tests;
