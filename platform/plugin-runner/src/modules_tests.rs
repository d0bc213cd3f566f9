//! Modules arrive whole or not at all, and unfinished uploads end.

use millrace_base::{ManualClock, Random};
use millrace_disk::RealDisk;
use millrace_disk::sim::SimDisk;
use millrace_protocol::plugins::ErrorKind;

use super::*;
use crate::testing::guests::guest;

fn piece(module: &Bytes, range: std::ops::Range<usize>) -> ModuleChunk {
    ModuleChunk {
        module: ModuleDigest::of(module),
        total: module.len() as u64,
        offset: range.start as u64,
        bytes: module.slice(range),
    }
}

fn open(dir: &Path) -> io::Result<Modules> {
    Modules::open(Arc::new(RealDisk), dir, Arc::new(ManualClock::at_ms(1_000_000)))
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_module_arrives_in_pieces_and_outlives_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let modules = open(dir.path()).unwrap();
    let module = guest("sink", "sink");
    let (digest, half) = (ModuleDigest::of(&module), module.len() / 2);
    // Pieces at a wrong place are answered with the right one.
    let answer = |offset| UploadReply::Continue { offset };
    assert_eq!(modules.upload(piece(&module, half..module.len())).await, Ok(answer(0)));
    assert_eq!(modules.upload(piece(&module, 0..half)).await, Ok(answer(half as u64)));
    assert_eq!(modules.upload(piece(&module, 0..half)).await, Ok(answer(half as u64)));
    assert_eq!(modules.load(digest).await.unwrap(), None);
    let stored = modules.upload(piece(&module, half..module.len())).await.unwrap();
    assert!(matches!(&stored, UploadReply::Stored(info) if info.digest == digest), "{stored:?}");
    assert_eq!(files(dir.path()), [format!("{digest}.wasm")]);
    // Once it is here, any piece is told so.
    assert_eq!(modules.upload(piece(&module, 0..1)).await.unwrap(), stored);

    let again = open(dir.path()).unwrap();
    assert_eq!(again.load(digest).await.unwrap(), Some(module));
    assert_eq!(again.info(digest).await.unwrap().unwrap().digest, digest);
    assert_eq!(again.stored().await.unwrap()[0].digest, digest);
    again.remove(digest).await.unwrap();
    again.remove(digest).await.unwrap();
    assert_eq!(again.load(digest).await.unwrap(), None);
    assert_eq!(again.info(digest).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_module_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let modules = open(dir.path()).unwrap();
    let refused = async |chunk| {
        let error = modules.upload(chunk).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(files(dir.path()).is_empty(), "{:?}", files(dir.path()));
        error.message
    };
    let bytes = Bytes::from_static(b"#!/bin/sh");
    assert!(refused(piece(&bytes, 0..bytes.len())).await.contains("upload the .wasm file"));
    let wrong = ModuleChunk { module: ModuleDigest::of(b"else"), ..piece(&bytes, 0..bytes.len()) };
    assert!(refused(wrong).await.contains("upload it again"));
    let large = ModuleChunk { total: MODULE_BYTES_MAX as u64 + 1, ..piece(&bytes, 0..1) };
    assert!(refused(large).await.contains("67108864"));
    let beyond = ModuleChunk { total: 3, ..piece(&bytes, 0..4) };
    assert!(refused(beyond).await.contains("does not fit"));
    let overflow = ModuleChunk { offset: u64::MAX, ..piece(&bytes, 0..4) };
    assert!(refused(overflow).await.contains("does not fit"));
}

#[tokio::test]
async fn unfinished_uploads_are_few_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap().0;
    let begun = Instant::now();
    let bytes = |n: usize| Bytes::from(vec![u8::try_from(n).unwrap(); 400_000]);
    for n in 0..UPLOADS_MAX {
        assert_eq!(store.take(&piece(&bytes(n), 0..2), begun), Ok(UploadReply::Continue { offset: 2 }));
    }
    let late = begun + UPLOAD_IDLE_MAX - Duration::from_millis(1);
    let refused = store.take(&piece(&bytes(UPLOADS_MAX), 0..2), late).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    // One goes on, and all others are dropped when room is needed: one that repeats itself, and one that gets a byte
    // now and then, too. A piece of any kind was once enough to stay.
    assert_eq!(
        store.take(&piece(&bytes(3), 2..200_000), late),
        Ok(UploadReply::Continue { offset: 200_000 })
    );
    assert_eq!(store.take(&piece(&bytes(4), 0..2), late), Ok(UploadReply::Continue { offset: 2 }));
    assert_eq!(store.take(&piece(&bytes(5), 2..3), late), Ok(UploadReply::Continue { offset: 3 }));
    let later = begun + UPLOAD_IDLE_MAX + Duration::from_millis(1);
    let begins = store.take(&piece(&bytes(UPLOADS_MAX), 0..2), later);
    assert_eq!(begins, Ok(UploadReply::Continue { offset: 2 }));
    assert_eq!(files(dir.path()).len(), 2);
    assert_eq!(store.take(&piece(&bytes(0), 2..4), later), Ok(UploadReply::Continue { offset: 0 }));
    assert_eq!(store.take(&piece(&bytes(3), 0..1), later), Ok(UploadReply::Continue { offset: 200_000 }));
    // Nor does any outlive the store.
    drop(store);
    open(dir.path()).unwrap();
    assert!(files(dir.path()).is_empty());
}

/// The smallest modules that are accepted, and others than each other.
fn small_modules() -> Vec<Bytes> {
    let module = guest("sink", "sink");
    // A custom section of its own at the end.
    let tagged = |tag: u8| Bytes::from([&module[..], &[0, 3, 1, b'n', tag]].concat());
    (0..3).map(tagged).collect()
}

/// Uploads each module in three pieces and removes the first; what is stored, removed and being done goes to `told`.
fn work(store: &Store, modules: &[Bytes], told: &mut (Vec<usize>, bool)) -> Result<(), PluginError> {
    for (number, module) in modules.iter().enumerate() {
        let mut offset = 0;
        while offset < module.len() {
            let end = (offset + module.len() / 3 + 1).min(module.len());
            match store.take(&piece(module, offset..end), Instant::now())? {
                UploadReply::Stored(_) => break,
                UploadReply::Continue { offset: next } => offset = next as usize,
            }
        }
        told.0.push(number);
        // It counts as uploaded again.
        store.take(&piece(module, 0..1), Instant::now())?;
    }
    told.1 = true;
    store.remove(&store.path(ModuleDigest::of(&modules[0]))).map_err(|error| unavailable("remove", &error))
}

#[test]
fn a_crash_at_any_operation_loses_no_stored_module_and_leaves_none_in_part() {
    let modules = small_modules();
    let dir = Path::new("/data/plugins/modules");
    let open =
        |disk: &SimDisk| Modules::open(Arc::new(disk.clone()), dir, Arc::new(ManualClock::at_ms(1_000_000)));
    let check = |disk: &SimDisk, told: &(Vec<usize>, bool), what: &str| {
        let store = open(disk).unwrap_or_else(|error| panic!("{what}: {error}")).0;
        assert!(disk.list(dir).unwrap().iter().all(|entry| entry.name.ends_with(MODULE_SUFFIX)), "{what}");
        for (number, module) in modules.iter().enumerate() {
            let found = store.read(ModuleDigest::of(module)).unwrap();
            assert!(
                found.is_none() || found.as_deref() == Some(&module[..]),
                "{what}: module {number} in part"
            );
            let may_lack = !told.0.contains(&number) || (number == 0 && told.1);
            assert!(found.is_some() || may_lack, "{what}: module {number} is gone");
        }
        store
    };
    for seed in 0..3 {
        for operation in 0.. {
            let disk = SimDisk::new(seed);
            disk.crash_at(operation);
            let mut told = (Vec::new(), false);
            let done = open(&disk).is_ok_and(|opened| work(&opened.0, &modules, &mut told).is_ok());
            disk.crash();
            disk.restart();
            let what = format!("seed {seed}, power lost at operation {operation}");
            // A start is interrupted, too.
            let dice = Random::seeded(seed ^ operation << 20);
            disk.crash_at(disk.operations() + dice.below(5));
            let _ = open(&disk);
            disk.crash();
            disk.restart();
            let store = check(&disk, &told, &what);
            let mut again = (Vec::new(), false);
            work(&store, &modules, &mut again).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            check(&disk, &again, &what);
            if done {
                assert!(operation > 20, "every piece is written, every module synced and published");
                break;
            }
        }
    }
}

#[test]
fn an_operation_that_fails_leaves_the_store_in_use() {
    let modules = small_modules();
    let dir = Path::new("/data/plugins/modules");
    for operation in 0.. {
        let disk = SimDisk::new(1);
        let clock = Arc::new(ManualClock::at_ms(1_000_000));
        let store = Modules::open(Arc::new(disk.clone()), dir, clock).unwrap().0;
        disk.fail_at(disk.operations() + operation);
        let failed = work(&store, &modules, &mut (Vec::new(), false)).is_err();
        disk.fail_at(u64::MAX);
        work(&store, &modules, &mut (Vec::new(), false)).unwrap();
        disk.crash();
        disk.restart();
        let found: Vec<_> = disk.list(dir).unwrap().into_iter().map(|entry| entry.name).collect();
        for module in &modules[1..] {
            assert!(found.contains(&format!("{}.wasm", ModuleDigest::of(module))), "{operation}: {found:?}");
        }
        if !failed && operation > 20 {
            break;
        }
    }
}
