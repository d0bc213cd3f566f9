//! A disk in memory that loses power when told to, for tests and the simulator.
//!
//! It keeps what is durable apart from what programs see. On a crash every write that was not synced is
//! kept, dropped or torn into sectors, every name that was not synced has changed or not, each by a draw of
//! a seeded generator: the same seed and the same operations lose the same bytes. A crash happens at an
//! operation's number, so a test can try every one. So does a [`Shortage`], for as long as the test says.

mod file;
mod tree;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::{DirEntry, Disk, DiskFile, OpenMode};
use file::{Inode, SimFile};
use tree::{Tree, split};

/// The smallest unit that a write is torn into.
pub const SECTOR_BYTES: usize = 512;

/// A simulated disk; handles share it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    random: Random,
    tree: Tree,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    /// Files opened before the last restart are dead.
    life: u64,
    operations: u64,
    trace: u64,
    crash_at: Option<u64>,
    fail_at: Option<u64>,
    files_out: bool,
    openings: u64,
    shortage: Option<(Shortage, Range<u64>)>,
    crashed: bool,
    capacity_bytes: Option<u64>,
    locks: BTreeMap<PathBuf, Weak<()>>,
}

/// What there is too little of, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Room on the disk: whatever makes a name or writes fails, also what writes over old bytes (some file systems
    /// put those elsewhere). A write has written half.
    Room,
    /// Memory of the system's: whatever is no sync fails, and does nothing.
    Memory,
    /// Files that may be open: counted by [`SimDisk::openings`].
    Files,
}

impl Shortage {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Room => libc::ENOSPC,
            Self::Memory => libc::ENOMEM,
            Self::Files => libc::EMFILE,
        })
    }

    /// Whether it makes an operation fail that is called `what`.
    fn hits(self, what: &str) -> bool {
        match self {
            Self::Room => matches!(what, "create_dir" | "create" | "rename" | "write" | "allocate"),
            Self::Memory => !matches!(what, "sync" | "sync_dir" | "sync_all"),
            Self::Files => false,
        }
    }
}

/// What an operation that was counted is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeed,
    /// There is no room for it, or only for a part.
    Full,
    /// The power goes while it is under way: it has happened, not, or in part.
    Crash,
}

impl SimDisk {
    /// An empty disk whose losses follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random(seed),
            tree: Tree::default(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            life: 0,
            operations: 0,
            trace: 0,
            crash_at: None,
            fail_at: None,
            files_out: false,
            openings: 0,
            shortage: None,
            crashed: false,
            capacity_bytes: None,
            locks: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Operations so far: everything that changes the disk or makes it durable.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// A digest of all operations so far, in order.
    pub fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    /// The power goes during the operation of this number (the first has number 0).
    pub fn crash_at(&self, operation: u64) {
        self.state.lock().crash_at = Some(operation);
    }

    /// The operation of this number fails with an I/O error and does nothing.
    pub fn fail_at(&self, operation: u64) {
        self.state.lock().fail_at = Some(operation);
    }

    /// The operations of these numbers (for [`Shortage::Files`], the openings) find too little of something.
    pub fn run_short(&self, of: Shortage, during: Range<u64>) {
        self.state.lock().shortage = Some((of, during));
    }

    /// Openings so far: of files and of directories, for whatever is to be done with them.
    pub fn openings(&self) -> u64 {
        self.state.lock().openings
    }

    /// Whether the process may open no more files: every opening fails, also of a directory for its sync.
    pub fn set_out_of_files(&self, out: bool) {
        self.state.lock().files_out = out;
    }

    /// Bytes that files may take together; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Bytes that files take together.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    pub fn has_crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// The power goes now.
    pub fn crash(&self) {
        self.state.lock().crashed = true;
    }

    /// The power comes back: what was not durable is drawn for. Files opened before are dead.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.life += 1;
        state.crashed = false;
        state.crash_at = None;
        state.fail_at = None;
        state.shortage = None;
        state.locks.clear();
        state.tree.lose_power(&mut state.random);
        for inode in state.inodes.values_mut() {
            inode.lose_power(&mut state.random);
        }
    }
}

impl State {
    /// Counts an operation and says what becomes of it.
    fn begin(&mut self, what: &str, path: &Path, detail: u64) -> io::Result<Fate> {
        self.check_power()?;
        let number = self.operations;
        self.operations += 1;
        for byte in what.bytes().chain(path.as_os_str().as_encoded_bytes().iter().copied()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.trace = (self.trace ^ detail).wrapping_mul(0x0100_0000_01b3);
        if self.fail_at == Some(number) {
            return Err(io::Error::other("injected I/O error"));
        }
        let shortage =
            self.shortage.as_ref().filter(|(of, during)| of.hits(what) && during.contains(&number));
        match shortage.map(|(of, _)| *of) {
            Some(Shortage::Room) if what == "write" => return Ok(Fate::Full),
            Some(of) => return Err(of.error()),
            None => {}
        }
        self.crashed = self.crash_at.is_some_and(|at| number >= at);
        Ok(if self.crashed { Fate::Crash } else { Fate::Succeed })
    }

    fn check_power(&self) -> io::Result<()> {
        if self.crashed { Err(power_lost()) } else { Ok(()) }
    }

    /// Counts an opening.
    fn check_files(&mut self) -> io::Result<()> {
        let number = self.openings;
        self.openings += 1;
        let short = matches!(&self.shortage, Some((Shortage::Files, during)) if during.contains(&number));
        if self.files_out || short { Err(Shortage::Files.error()) } else { Ok(()) }
    }

    fn used_bytes(&self) -> u64 {
        self.tree.files().map(|inode| self.inodes[&inode].len() as u64).sum()
    }

    /// How long a file can be, of the `len` that it is to reach.
    fn room_for(&mut self, inode: u64, len: usize) -> io::Result<usize> {
        let before = self.inode(inode)?.len();
        let Some(capacity) = self.capacity_bytes else { return Ok(len) };
        let room = capacity.saturating_sub(self.used_bytes()) as usize;
        Ok(len.min(before.saturating_add(room).max(before)))
    }

    fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Fate {
    fn finish<T>(self, value: T) -> io::Result<T> {
        match self {
            Self::Succeed => Ok(value),
            Self::Full => Err(Shortage::Room.error()),
            Self::Crash => Err(power_lost()),
        }
    }
}

fn power_lost() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the simulated disk has lost its power")
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.tree.is_dir(path) {
            return state.check_power();
        }
        let fate = state.begin("create_dir", path, 0)?;
        state.tree.create_dir_all(path)?;
        fate.finish(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.check_power()?;
        state.check_files()?;
        let found = state.tree.file(path);
        let inode = match found {
            Some(_) if mode.create_new => return Err(io::ErrorKind::AlreadyExists.into()),
            Some(inode) => inode,
            None if mode.create || mode.create_new => {
                let fate = state.begin("create", path, 0)?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.tree.link(path, inode)?;
                state.inodes.insert(inode, Inode::default());
                fate.finish(inode)?
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let (disk, life) = (Arc::clone(&self.state), state.life);
        Ok(Arc::new(SimFile { disk, inode, life, mode, path: path.to_owned() }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.state.lock();
        state.check_power()?;
        state.check_files()?;
        let len = |inode: u64| state.inodes[&inode].len() as u64;
        let entries = state.tree.list(path)?.into_iter().map(|(name, file)| DirEntry {
            name,
            is_dir: file.is_none(),
            len: file.map_or(0, len),
        });
        Ok(entries.collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if split(from)?.0 != split(to)?.0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "renaming stays within a directory"));
        }
        let mut state = self.state.lock();
        let fate = state.begin("rename", from, 0)?;
        state.tree.rename(from, to)?;
        fate.finish(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        if state.tree.file(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let fate = state.begin("remove", path, 0)?;
        state.tree.unlink(path)?;
        fate.finish(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let fate = state.begin("remove_dir", path, 0)?;
        for (name, _) in state.tree.list(path)? {
            state.tree.unlink(&path.join(name))?;
        }
        state.tree.unlink(path)?;
        fate.finish(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_files()?;
        let fate = state.begin("sync_dir", path, 0)?;
        if fate == Fate::Succeed {
            state.tree.sync(path)?;
        }
        fate.finish(())
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_files()?;
        let fate = state.begin("sync_all", path, 0)?;
        if fate == Fate::Succeed {
            state.tree.sync_all();
            state.inodes.values_mut().for_each(Inode::sync);
        }
        fate.finish(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.state.lock();
        state.check_power()?;
        if state.locks.get(path).is_some_and(|held| held.strong_count() > 0) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "simulated"));
        }
        let guard = Arc::new(());
        state.locks.insert(path.to_owned(), Arc::downgrade(&guard));
        Ok(Box::new(guard))
    }

    fn entropy(&self) -> u128 {
        let random = &mut self.state.lock().random;
        u128::from(random.next()) << 64 | u128::from(random.next())
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
