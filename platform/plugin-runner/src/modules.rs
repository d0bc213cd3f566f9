//! Modules on this broker's disk, named by the SHA-256 of their bytes.
//!
//! ```text
//! <dir>/<digest>.wasm     a module, exactly as it was uploaded
//! <dir>/<digest>.upload   one whose pieces are still coming; of no meaning after a restart
//! ```
//!
//! Invariant: what stands under a `.wasm` name is whole, on disk, has the digest that names it and is a module
//! that this broker accepts. It is written under the other name, synced, renamed, and the directory synced.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::Clock;
use millrace_disk::{Disk, DiskFile, OpenMode, make_dir, publish, read};
use millrace_plugin_host::limits::MODULE_BYTES_MAX;
use millrace_plugin_host::{ModuleDigest, ModuleInfo, ModuleStore, inspect};
use millrace_protocol::plugins::{ModuleChunk, PluginError, UploadReply};
use parking_lot::Mutex;

/// Unfinished uploads at one time; each may take up to [`MODULE_BYTES_MAX`] of the disk.
pub(crate) const UPLOADS_MAX: usize = 8;

/// An upload that gets nothing new for this time may be dropped, as soon as another needs its place. What is new earns
/// time back at [`UPLOAD_BYTES_PER_SECOND_MIN`], so that a byte now and then keeps no place.
pub(crate) const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(60);
const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 64 << 10;

const MODULE_SUFFIX: &str = ".wasm";
const UPLOAD_SUFFIX: &str = ".upload";

/// A module that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredModule {
    pub digest: ModuleDigest,
    /// When it was uploaded last, in milliseconds since 1970.
    pub uploaded_ms: i64,
}

/// See the module's text. Clones are the same store.
#[derive(Clone)]
pub struct Modules(Arc<Store>);

struct Store {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    /// Locked before an upload's own lock or while holding one, but never while waiting for one.
    uploads: Mutex<HashMap<ModuleDigest, Arc<Mutex<Upload>>>>,
}

struct Upload {
    /// `None` once it is finished or dropped.
    file: Option<Arc<dyn DiskFile>>,
    written: u64,
    total: u64,
    /// It may be dropped from then on.
    until: Instant,
}

impl Modules {
    /// Opens the store in `dir`, which is made if missing. Uploads that were not finished are gone.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        make_dir(&*disk, dir)?;
        for entry in disk.list(dir)? {
            if entry.name.ends_with(UPLOAD_SUFFIX) {
                disk.remove_file(&dir.join(entry.name))?;
            }
        }
        Ok(Self(Arc::new(Store { disk, dir: dir.to_owned(), clock, uploads: Mutex::default() })))
    }

    /// Takes a piece of a module.
    pub async fn upload(&self, chunk: ModuleChunk) -> Result<UploadReply, PluginError> {
        self.blocking("store a module", move |store| store.take(&chunk, Instant::now())).await?
    }

    /// What a stored module is, `None` if it is not here.
    pub async fn info(&self, digest: ModuleDigest) -> Result<Option<ModuleInfo>, PluginError> {
        self.blocking("inspect a module", move |store| store.info(digest)).await?
    }

    /// All modules that are here.
    pub async fn stored(&self) -> Result<Vec<StoredModule>, PluginError> {
        let stored = self.blocking("list modules", Store::stored).await?;
        stored.map_err(|error| unavailable("list modules", &error))
    }

    /// Removes a module that nothing names any more. One that is not here is removed already.
    pub async fn remove(&self, digest: ModuleDigest) -> Result<(), PluginError> {
        let removed =
            self.blocking("remove a module", move |store| store.remove(&store.path(digest))).await?;
        removed.map_err(|error| unavailable("remove a module", &error))
    }

    async fn blocking<R: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&Store) -> R + Send + 'static,
    ) -> Result<R, PluginError> {
        let store = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|error| PluginError::unavailable(format!("{what}: {error}")))
    }
}

impl ModuleStore for Modules {
    fn load(&self, digest: ModuleDigest) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            let bytes = tokio::task::spawn_blocking(move || store.read(digest)).await;
            Ok(bytes.map_err(io::Error::other)??.map(Bytes::from))
        })
    }
}

impl Store {
    fn path(&self, digest: ModuleDigest) -> PathBuf {
        self.dir.join(format!("{digest}{MODULE_SUFFIX}"))
    }

    fn upload_path(&self, digest: ModuleDigest) -> PathBuf {
        self.dir.join(format!("{digest}{UPLOAD_SUFFIX}"))
    }

    fn read(&self, digest: ModuleDigest) -> io::Result<Option<Vec<u8>>> {
        match read(&*self.disk, &self.path(digest)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn take(&self, chunk: &ModuleChunk, now: Instant) -> Result<UploadReply, PluginError> {
        check(chunk)?;
        loop {
            if let Some(info) = self.touch_stored(chunk.module)? {
                return Ok(UploadReply::Stored(info));
            }
            let Some(upload) = self.upload(chunk, now)? else {
                return Ok(UploadReply::Continue { offset: 0 });
            };
            let mut upload = upload.lock();
            // Otherwise somebody else has just sent the last piece, or it was dropped for being late.
            if upload.file.is_some() {
                return self.append(&mut upload, chunk, now);
            }
        }
    }

    /// A module that is here already counts as uploaded again, so that it is not collected as garbage now. Its name is
    /// made durable again: who gave it that name may have failed, or ended, before.
    fn touch_stored(&self, digest: ModuleDigest) -> Result<Option<ModuleInfo>, PluginError> {
        match self.disk.open(&self.path(digest), OpenMode::default()) {
            Ok(file) => {
                let touched = file.set_modified_ms(self.clock.now_ms());
                let kept = touched.and_then(|()| self.disk.sync_dir(&self.dir));
                kept.map_err(|error| unavailable("store a module", &error))?;
                self.info(digest)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable("open a module", &error)),
        }
    }

    /// The upload that the piece belongs to; begins one for a first piece, and returns none for another.
    fn upload(&self, chunk: &ModuleChunk, now: Instant) -> Result<Option<Arc<Mutex<Upload>>>, PluginError> {
        let mut uploads = self.uploads.lock();
        if let Some(upload) = uploads.get(&chunk.module) {
            return Ok(Some(Arc::clone(upload)));
        }
        if chunk.offset != 0 {
            return Ok(None);
        }
        uploads.retain(|digest, upload| self.is_wanted(*digest, upload, now));
        if uploads.len() >= UPLOADS_MAX {
            return Err(PluginError::unavailable(format!(
                "{UPLOADS_MAX} uploads are unfinished, which is the limit; one that gets nothing for {} \
                 seconds is dropped, so try again later",
                UPLOAD_IDLE_MAX.as_secs()
            )));
        }
        let mode = OpenMode { create: true, ..OpenMode::default() };
        let file = self.disk.open(&self.upload_path(chunk.module), mode);
        let file = file.and_then(|file| file.truncate(0).map(|()| file));
        let file = file.map_err(|error| unavailable("store a module", &error))?;
        let upload =
            Upload { file: Some(file), written: 0, total: chunk.total, until: now + UPLOAD_IDLE_MAX };
        let upload = Arc::new(Mutex::new(upload));
        uploads.insert(chunk.module, Arc::clone(&upload));
        Ok(Some(upload))
    }

    /// Whether an upload goes on; drops it otherwise.
    fn is_wanted(&self, digest: ModuleDigest, upload: &Mutex<Upload>, now: Instant) -> bool {
        // One that is locked is getting a piece.
        let Some(mut upload) = upload.try_lock() else { return true };
        let wanted = now < upload.until;
        if !wanted {
            upload.file = None;
            self.discard(digest);
        }
        wanted
    }

    fn append(
        &self,
        upload: &mut Upload,
        chunk: &ModuleChunk,
        now: Instant,
    ) -> Result<UploadReply, PluginError> {
        if upload.total != chunk.total {
            return Err(PluginError::invalid(format!(
                "module {} is being uploaded with {} bytes, and this piece says {}",
                chunk.module, upload.total, chunk.total
            )));
        }
        let Some(file) = upload.file.as_ref().filter(|_| chunk.offset == upload.written) else {
            return Ok(UploadReply::Continue { offset: upload.written });
        };
        let written = file.write_all_at(&[&chunk.bytes], upload.written);
        upload.written += chunk.bytes.len() as u64;
        let earned = chunk.bytes.len() as u64 * 1_000_000 / UPLOAD_BYTES_PER_SECOND_MIN;
        upload.until = (upload.until.max(now) + Duration::from_micros(earned)).min(now + UPLOAD_IDLE_MAX);
        if written.is_ok() && upload.written < upload.total {
            return Ok(UploadReply::Continue { offset: upload.written });
        }
        // Whatever comes of it, this upload is over.
        let file = upload.file.take();
        let finished = match (written, file) {
            (Ok(()), Some(file)) => self.finish(chunk.module, &*file),
            (Err(error), _) => Err(unavailable("store a module", &error)),
            (Ok(()), None) => Ok(None),
        };
        if !matches!(finished, Ok(Some(_))) {
            self.discard(chunk.module);
        }
        self.uploads.lock().remove(&chunk.module);
        Ok(finished?.map_or(UploadReply::Continue { offset: 0 }, UploadReply::Stored))
    }

    /// Checks a module that has arrived, and keeps it.
    fn finish(&self, digest: ModuleDigest, file: &dyn DiskFile) -> Result<Option<ModuleInfo>, PluginError> {
        let failed = |error: io::Error| unavailable("store a module", &error);
        let path = self.upload_path(digest);
        let bytes = read(&*self.disk, &path).map_err(failed)?;
        let found = ModuleDigest::of(&bytes);
        if found != digest {
            return Err(PluginError::invalid(format!(
                "the uploaded bytes have the digest {found}, not {digest}: they were changed on the way, or \
                 the digest is another file's; upload it again"
            )));
        }
        let info = inspect(&bytes).map_err(|error| PluginError::invalid(error.to_string()))?;
        file.sync().map_err(failed)?;
        publish(&*self.disk, &path, &self.path(digest)).map_err(failed)?;
        Ok(Some(info))
    }

    fn discard(&self, digest: ModuleDigest) {
        if let Err(error) = self.remove(&self.upload_path(digest)) {
            tracing::warn!(%digest, %error, "remove an unfinished upload");
        }
    }

    fn info(&self, digest: ModuleDigest) -> Result<Option<ModuleInfo>, PluginError> {
        let bytes = self.read(digest).map_err(|error| unavailable("read a module", &error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        inspect(&bytes).map(Some).map_err(|error| PluginError::invalid(error.to_string()))
    }

    fn stored(&self) -> io::Result<Vec<StoredModule>> {
        let mut stored = Vec::new();
        let mode = OpenMode { read_only: true, ..OpenMode::default() };
        for entry in self.disk.list(&self.dir)? {
            let Some(Ok(digest)) = entry.name.strip_suffix(MODULE_SUFFIX).map(str::parse) else { continue };
            match self.disk.open(&self.dir.join(&entry.name), mode) {
                Ok(file) => stored.push(StoredModule { digest, uploaded_ms: file.modified_ms()? }),
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(stored)
    }
}

/// Refuses a piece that belongs to no module.
fn check(chunk: &ModuleChunk) -> Result<(), PluginError> {
    if chunk.total == 0 || chunk.total > MODULE_BYTES_MAX as u64 {
        return Err(PluginError::invalid(format!(
            "the module has {} bytes, and may have 1 to {MODULE_BYTES_MAX}; strip its debug information",
            chunk.total
        )));
    }
    if chunk.offset.checked_add(chunk.bytes.len() as u64).is_none_or(|end| end > chunk.total) {
        return Err(PluginError::invalid(format!(
            "a piece of {} bytes at {} does not fit into a module of {} bytes",
            chunk.bytes.len(),
            chunk.offset,
            chunk.total
        )));
    }
    Ok(())
}

fn unavailable(what: &str, error: &io::Error) -> PluginError {
    PluginError::unavailable(format!("{what}: {error}"))
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
