//! Compiled modules on disk, one file a module, for the next time that it is loaded.
//!
//! ```text
//! <dir>/<engine>/<digest>.cwasm
//! ```
//!
//! `engine` names the engine's version and settings, `digest` is the module's. A file is what the compiler
//! writes, and a trailer of 44 bytes:
//!
//! | bytes | field, little-endian |
//! |---|---|
//! | 0..8 | length of what stands before |
//! | 8..40 | HMAC-SHA256, under the cache's key, of `engine`, `digest` and what stands before |
//! | 40..44 | `MRC2` |
//!
//! A file is [replaced](millrace_disk::replace) as a whole. One that is cut short, damaged, another module's or
//! not written with this key is as good as none, and one of an earlier form (`MRC1`) too. What runs are the very
//! bytes that were checked: compiled code is never mapped from a file, which somebody might write to later.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use millrace_disk::{Disk, read, replace};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::module::ModuleDigest;

/// Key of the authentication code in every file.
pub type CacheKey = [u8; 32];

const CODE_LEN: usize = 32;
const TRAILER_LEN: usize = 12 + CODE_LEN;
const TRAILER_MARK: [u8; 4] = *b"MRC2";

pub(super) struct CompiledCache {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    engine: String,
    key: hmac::Key,
}

impl CompiledCache {
    /// Opens the cache in `dir` for `engine`; what other engines left there is deleted.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, key: &CacheKey, engine: &Engine) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        disk.create_dir_all(&dir.join(&name))?;
        for entry in disk.list(dir)? {
            if entry.name != name && entry.is_dir {
                disk.remove_dir_all(&dir.join(entry.name))?;
            }
        }
        Ok(Self { disk, dir: dir.join(&name), engine: name, key: hmac::Key::new(hmac::HMAC_SHA256, key) })
    }

    fn path(&self, digest: ModuleDigest) -> PathBuf {
        self.dir.join(format!("{digest}.cwasm"))
    }

    /// The compiled module, if it is here and whole.
    #[expect(unsafe_code, reason = "running native code that is read from disk")]
    pub fn load(&self, engine: &Engine, digest: ModuleDigest) -> Option<Component> {
        let file = match read(&*self.disk, &self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%digest, %error, "read a compiled module");
                return None;
            }
        };
        let Some(compiled) = self.checked(digest, &file) else {
            tracing::warn!(%digest, "a compiled module is damaged or not this broker's, and is compiled again");
            return None;
        };
        // SAFETY: the authentication code just checked says that this cache wrote these bytes, for this module, from
        // what the compiler gave for this engine; they are in memory of our own.
        match unsafe { Component::deserialize(engine, compiled) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%digest, %error, "a compiled module is not accepted and is compiled again");
                None
            }
        }
    }

    /// Keeps the compiled module.
    pub fn store(&self, digest: ModuleDigest, compiled: &[u8]) -> io::Result<()> {
        replace(&*self.disk, &self.path(digest), &[compiled, &self.trailer(digest, compiled)].concat())
    }

    /// Forgets the compiled module.
    pub fn remove(&self, digest: ModuleDigest) -> io::Result<()> {
        match self.disk.remove_file(&self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn trailer(&self, digest: ModuleDigest, compiled: &[u8]) -> [u8; TRAILER_LEN] {
        let mut code = hmac::Context::with_key(&self.key);
        // Both texts are of a fixed length.
        code.update(self.engine.as_bytes());
        code.update(digest.to_string().as_bytes());
        code.update(compiled);
        let mut trailer = [0; TRAILER_LEN];
        trailer[..8].copy_from_slice(&(compiled.len() as u64).to_le_bytes());
        trailer[8..8 + CODE_LEN].copy_from_slice(code.sign().as_ref());
        trailer[8 + CODE_LEN..].copy_from_slice(&TRAILER_MARK);
        trailer
    }

    /// What the compiler wrote, if the trailer is its.
    fn checked<'f>(&self, digest: ModuleDigest, file: &'f [u8]) -> Option<&'f [u8]> {
        let (compiled, found) = file.split_last_chunk::<TRAILER_LEN>()?;
        constant_time::verify_slices_are_equal(found, &self.trailer(digest, compiled)).ok()?;
        Some(compiled)
    }
}
