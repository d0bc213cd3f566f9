//! Compiled modules on disk, one file a module, for the next time that it is loaded.
//!
//! ```text
//! <dir>/<engine>/<digest>.cwasm
//! ```
//!
//! `engine` names the engine's version and settings, `digest` is the module's. A file is what the compiler
//! writes, which can be mapped and run as it is, and a trailer of 16 bytes:
//!
//! | bytes | field, little-endian |
//! |---|---|
//! | 0..8 | length of what stands before |
//! | 8..12 | CRC-32C of what stands before |
//! | 12..16 | `MRC1` |
//!
//! A file is written under another name, synced and renamed. One that is cut short or damaged is as good as
//! none. The directory is the broker's own: whoever can write there can run code in it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use millrace_protocol::crc::crc32c;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::module::ModuleDigest;

const TRAILER_LEN: usize = 16;
const TRAILER_MARK: [u8; 4] = *b"MRC1";

#[derive(Debug)]
pub(super) struct CompiledCache {
    dir: PathBuf,
}

impl CompiledCache {
    /// Opens the cache in `dir` for `engine`; what other engines left there is deleted.
    pub fn open(dir: &Path, engine: &Engine) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        fs::create_dir_all(dir.join(&name))?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name() != *name && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { dir: dir.join(name) })
    }

    fn path(&self, digest: ModuleDigest) -> PathBuf {
        self.dir.join(format!("{digest}.cwasm"))
    }

    /// The compiled module, if it is here and whole.
    #[expect(unsafe_code, reason = "running native code that is read from disk")]
    pub fn load(&self, engine: &Engine, digest: ModuleDigest) -> Option<Component> {
        let path = self.path(digest);
        match is_whole(&path) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(%digest, "a compiled module is damaged and is compiled again");
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%digest, %error, "read a compiled module");
                return None;
            }
        }
        // SAFETY: the file was written by this cache from what the compiler gave for this engine, the
        // checksum just read says that it still is that, and nobody writes to it: it is only ever replaced.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%digest, %error, "a compiled module is not accepted and is compiled again");
                None
            }
        }
    }

    /// Keeps the compiled module.
    pub fn store(&self, digest: ModuleDigest, compiled: &[u8]) -> io::Result<()> {
        let temporary = self.dir.join(format!("{digest}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(compiled)?;
        file.write_all(&trailer(compiled))?;
        file.sync_all()?;
        fs::rename(&temporary, self.path(digest))
    }

    /// Forgets the compiled module.
    pub fn remove(&self, digest: ModuleDigest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn trailer(compiled: &[u8]) -> [u8; TRAILER_LEN] {
    let mut trailer = [0; TRAILER_LEN];
    trailer[..8].copy_from_slice(&(compiled.len() as u64).to_le_bytes());
    trailer[8..12].copy_from_slice(&crc32c(compiled).to_le_bytes());
    trailer[12..].copy_from_slice(&TRAILER_MARK);
    trailer
}

fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    let Some((compiled, found)) = bytes.split_last_chunk::<TRAILER_LEN>() else { return Ok(false) };
    Ok(*found == trailer(compiled))
}
