//! Files: the bytes that programs see, those that are durable, and the writes between the two.

use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_base::FileSource;
use millrace_base::limits::IO_ALIGNMENT;
use parking_lot::{Mutex, MutexGuard};

use super::{Fate, Random, SECTOR_BYTES, State, power_lost};
use crate::{DiskFile, OpenMode};

#[derive(Clone, Debug)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Changes of `bytes` that are not in `durable`, in order.
    unsynced: Vec<Change>,
    /// The simulated disk's clock counts its operations.
    pub modified_ms: i64,
}

impl Inode {
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.bytes, &change);
        self.unsynced.push(change);
    }

    pub fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// Every change that was not synced has happened, or not, or in some of its sectors.
    pub fn lose_power(&mut self, random: &mut Random) {
        for change in self.unsynced.drain(..) {
            match (&change, random.below(4)) {
                (_, 0) => {}
                (Change::Write { position, bytes }, tear @ (1 | 2)) => {
                    // Any of its sectors, or all before or after some point.
                    let point = random.below(bytes.len().div_ceil(SECTOR_BYTES) as u64 + 1) as usize;
                    let front = random.coin();
                    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        if if tear == 1 { random.coin() } else { (number < point) == front } {
                            let position = position + number * SECTOR_BYTES;
                            apply(&mut self.durable, &Change::Write { position, bytes: sector.to_vec() });
                        }
                    }
                }
                _ => apply(&mut self.durable, &change),
            }
        }
        self.bytes = self.durable.clone();
    }
}

fn apply(to: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate(len) => to.resize(*len, 0),
        Change::Write { position, bytes } => {
            let end = position + bytes.len();
            if to.len() < end {
                to.resize(end, 0);
            }
            to[*position..end].copy_from_slice(bytes);
        }
    }
}

/// An open file.
pub(super) struct SimFile {
    pub disk: Arc<Mutex<State>>,
    pub inode: u64,
    pub life: u64,
    pub mode: OpenMode,
    pub path: PathBuf,
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        state.check_power()?;
        if state.life == self.life { Ok(state) } else { Err(power_lost()) }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.mode.read_only { Err(io::Error::from_raw_os_error(libc::EBADF)) } else { Ok(()) }
    }

    /// Direct I/O refuses what is not aligned.
    fn check_alignment(&self, pieces: &[&[u8]], position: u64) -> io::Result<()> {
        let aligned = |value: usize| value.is_multiple_of(IO_ALIGNMENT);
        let all = pieces.iter().all(|piece| aligned(piece.len()) && aligned(piece.as_ptr() as usize));
        if !self.mode.direct || (all && aligned(position as usize)) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "a direct write is not aligned"))
    }
}

impl FileSource for SimFile {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let read = self.read_at(buffer, position)?;
        if read == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn as_raw_fd(&self) -> Option<RawFd> {
        None
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, pieces: &[&[u8]], position: u64) -> io::Result<()> {
        self.check_writable()?;
        self.check_alignment(pieces, position)?;
        let mut bytes = pieces.concat();
        let position = position as usize;
        let mut state = self.state()?;
        let mut fate = state.begin("write", &self.path, (position ^ (bytes.len() << 32)) as u64)?;
        if fate == Fate::Full {
            bytes.truncate(bytes.len() / 2);
        }
        let room = state.room_for(self.inode, position + bytes.len())?;
        if room < position + bytes.len() {
            fate = Fate::Full;
            bytes.truncate(room.saturating_sub(position));
        }
        let modified_ms = state.operations as i64;
        let inode = state.inode(self.inode)?;
        inode.modified_ms = modified_ms;
        inode.change(Change::Write { position, bytes });
        if self.mode.durable && fate == Fate::Succeed {
            inode.sync();
        }
        fate.finish(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        let bytes = state.inode(self.inode)?.bytes.get(position as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let fate = state.begin("sync", &self.path, 0)?;
        if fate == Fate::Succeed {
            state.inode(self.inode)?.sync();
        }
        fate.finish(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        self.check_writable()?;
        let fate = state.begin("truncate", &self.path, len)?;
        let modified_ms = state.operations as i64;
        let inode = state.inode(self.inode)?;
        inode.modified_ms = modified_ms;
        inode.change(Change::Truncate(len as usize));
        fate.finish(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        self.check_writable()?;
        let fate = state.begin("allocate", &self.path, len)?;
        let room = state.room_for(self.inode, len as usize)?;
        let inode = state.inode(self.inode)?;
        inode.change(Change::Truncate(room.max(inode.len())));
        if room < len as usize { Fate::Full.finish(()) } else { fate.finish(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inode(self.inode)?.len() as u64)
    }

    fn modified_ms(&self) -> io::Result<i64> {
        Ok(self.state()?.inode(self.inode)?.modified_ms)
    }

    fn set_modified_ms(&self, ms: i64) -> io::Result<()> {
        let mut state = self.state()?;
        self.check_writable()?;
        let fate = state.begin("set_modified", &self.path, ms as u64)?;
        state.inode(self.inode)?.modified_ms = ms;
        fate.finish(())
    }
}
