//! What every disk must do alike, and what the simulated one loses.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use millrace_disk::sim::SimDisk;
use millrace_disk::{Disk, OpenMode, RealDisk, make_dir, read, replace};

const NEW: OpenMode =
    OpenMode { create_new: true, create: false, direct: false, durable: false, read_only: false };
const OLD: OpenMode =
    OpenMode { create_new: false, create: false, direct: false, durable: false, read_only: false };

/// Runs `check` on an empty directory of each disk.
fn on_every_disk(check: impl Fn(&dyn Disk, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    check(&RealDisk, dir.path());
    // Another file system: tmpfs has its own ideas of direct I/O.
    if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
        check(&RealDisk, dir.path());
    }
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    check(&disk, Path::new("/data"));
}

/// Bytes at an address that direct I/O accepts.
fn aligned(memory: &mut Vec<u8>, len: usize, fill: u8) -> &[u8] {
    *memory = vec![fill; len + 4096];
    let start = memory.as_ptr().align_offset(4096);
    &memory[start..start + len]
}

#[test]
fn bytes_are_read_where_they_were_written() {
    on_every_disk(|disk, dir| {
        let file = disk.open(&dir.join("a"), NEW).unwrap();
        file.write_all_at(&[b"one", b"", b"two"], 2).unwrap();
        assert_eq!(file.len().unwrap(), 8);
        let mut buffer = [9; 10];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 8);
        assert_eq!(&buffer[..8], b"\0\0onetwo");
        assert_eq!(file.read_at(&mut buffer, 8).unwrap(), 0);
        assert!(file.read_exact_at(&mut buffer, 0).is_err());
        file.truncate(4).unwrap();
        file.truncate(6).unwrap();
        file.read_exact_at(&mut buffer[..6], 0).unwrap();
        assert_eq!(&buffer[..6], b"\0\0on\0\0");
        file.sync().unwrap();
        let again = disk.open(&dir.join("a"), OLD).unwrap();
        assert_eq!(again.len().unwrap(), 6);
        let modified_ms = again.modified_ms().unwrap();
        assert_eq!(file.modified_ms().unwrap(), modified_ms, "it is the file's");
        file.write_all_at(&[b"x"], 0).unwrap();
        assert!(again.modified_ms().unwrap() >= modified_ms);
        file.set_modified_ms(1_234_567).unwrap();
        assert_eq!(again.modified_ms().unwrap(), 1_234_567);
    });
}

#[test]
fn a_file_that_is_opened_for_reading_only_takes_no_write() {
    on_every_disk(|disk, dir| {
        let path = dir.join("a");
        disk.open(&path, NEW).unwrap().write_all_at(&[b"kept"], 0).unwrap();
        let file = disk.open(&path, OpenMode { read_only: true, ..OLD }).unwrap();
        assert!(file.write_all_at(&[b"x"], 0).is_err());
        assert!(file.truncate(1).is_err());
        assert!(file.allocate(100).is_err());
        assert_eq!(read(disk, &path).unwrap(), b"kept");
        assert_eq!(read(disk, &dir.join("b")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn direct_writes_are_seen_by_readers_and_may_overwrite() {
    on_every_disk(|disk, dir| {
        for durable in [false, true] {
            let path = dir.join(format!("direct-{durable}"));
            let mode = OpenMode { create: true, direct: true, durable, ..OpenMode::default() };
            let file = disk.open(&path, mode).unwrap();
            let mut memory = (Vec::new(), Vec::new());
            let (first, second) = (aligned(&mut memory.0, 8192, 1), aligned(&mut memory.1, 4096, 2));
            file.write_all_at(&[first, second], 0).unwrap();
            file.write_all_at(&[second], 4096).unwrap();
            let mut buffer = vec![0; 12288];
            disk.open(&path, OLD).unwrap().read_exact_at(&mut buffer, 0).unwrap();
            let expected: Vec<u8> = [[1u8; 4096], [2; 4096], [2; 4096]].concat();
            assert!(buffer == expected);
            file.sync().unwrap();
        }
    });
}

#[test]
fn names_are_made_listed_renamed_and_removed() {
    on_every_disk(|disk, dir| {
        let error = |mode| disk.open(&dir.join("a"), mode).err().map(|error| error.kind());
        assert_eq!(error(OLD), Some(ErrorKind::NotFound));
        disk.open(&dir.join("a"), NEW).unwrap().write_all_at(&[b"aa"], 0).unwrap();
        assert_eq!(error(NEW), Some(ErrorKind::AlreadyExists));
        disk.open(&dir.join("b"), NEW).unwrap();
        disk.create_dir_all(&dir.join("d/e")).unwrap();
        disk.create_dir_all(&dir.join("d/e")).unwrap();
        let names = || {
            let entries = disk.list(dir).unwrap();
            entries
                .iter()
                .map(|e| (e.name.clone(), e.is_dir, if e.is_dir { 0 } else { e.len }))
                .collect::<Vec<_>>()
        };
        let entry = |name: &str, is_dir, len| (name.to_owned(), is_dir, len);
        assert_eq!(names(), [entry("a", false, 2), entry("b", false, 0), entry("d", true, 0)]);
        disk.rename(&dir.join("a"), &dir.join("b")).unwrap();
        assert_eq!(names(), [entry("b", false, 2), entry("d", true, 0)]);
        disk.sync_dir(dir).unwrap();
        disk.sync_all(dir).unwrap();
        disk.remove_file(&dir.join("b")).unwrap();
        assert_eq!(disk.remove_file(&dir.join("b")).unwrap_err().kind(), ErrorKind::NotFound);
        disk.rename(&dir.join("d"), &dir.join("c")).unwrap();
        assert_eq!(disk.list(&dir.join("c")).unwrap().len(), 1);
        disk.remove_dir_all(&dir.join("c")).unwrap();
        assert_eq!(names(), []);
        assert_eq!(disk.list(&dir.join("c")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_removed_file_lives_as_long_as_it_is_open() {
    on_every_disk(|disk, dir| {
        let file = disk.open(&dir.join("a"), NEW).unwrap();
        file.write_all_at(&[b"x"], 0).unwrap();
        disk.remove_file(&dir.join("a")).unwrap();
        let mut buffer = [0];
        file.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"x");
    });
}

#[test]
fn a_lock_is_held_by_one_until_it_is_dropped() {
    on_every_disk(|disk, dir| {
        let path = dir.join("lock");
        let held = disk.lock(&path).unwrap();
        assert_eq!(disk.lock(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop(held);
        let _held = disk.lock(&path).unwrap();
        disk.lock(&dir.join("another")).unwrap();
    });
}

#[test]
fn a_directory_that_was_made_durably_is_there_after_a_crash_at_any_operation() {
    on_every_disk(|disk, dir| {
        for _ in 0..2 {
            make_dir(disk, &dir.join("d/e/f")).unwrap();
            assert_eq!(disk.list(&dir.join("d/e/f")).unwrap(), []);
        }
    });
    let dir = Path::new("/d/e/f");
    for seed in 0..50 {
        for operation in 0..6 {
            // The power goes, or the process ends and starts again before the power goes.
            for ends_before in [false, true] {
                let disk = SimDisk::new(seed);
                if ends_before {
                    disk.fail_at(operation);
                } else {
                    disk.crash_at(operation);
                }
                assert!(make_dir(&disk, dir).is_err(), "there are six operations");
                if ends_before {
                    make_dir(&disk, dir).unwrap();
                }
                disk.crash();
                disk.restart();
                assert!(!ends_before || disk.list(dir).is_ok(), "seed {seed}, operation {operation}");
                make_dir(&disk, dir).unwrap();
                disk.crash();
                disk.restart();
                disk.list(dir).unwrap();
            }
        }
    }
}

/// A disk with one synced file, `a`, and what `change` did to it, after the power was lost.
fn after_power_loss(seed: u64, change: impl Fn(&SimDisk)) -> SimDisk {
    let disk = SimDisk::new(seed);
    let dir = Path::new("/d");
    disk.create_dir_all(dir).unwrap();
    let file = disk.open(&dir.join("a"), NEW).unwrap();
    file.write_all_at(&[&[1; 2048]], 0).unwrap();
    disk.sync_all(dir).unwrap();
    change(&disk);
    disk.crash();
    assert!(file.sync().is_err());
    disk.restart();
    assert!(file.sync().is_err(), "a file opened before the crash is dead");
    disk
}

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), OLD).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

#[test]
fn power_loss_keeps_what_was_synced_and_tears_what_was_not() {
    let overwrite = |disk: &SimDisk| {
        let file = disk.open(Path::new("/d/a"), OLD).unwrap();
        file.write_all_at(&[&[2; 2048]], 0).unwrap();
    };
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let bytes = content(&after_power_loss(seed, overwrite), "/d/a").unwrap();
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert_eq!(sectors.len(), 4);
        seen.insert(sectors);
    }
    assert!(seen.contains(&vec![1; 4]) && seen.contains(&vec![2; 4]) && seen.len() > 4, "{seen:?}");
    let synced = |disk: &SimDisk| {
        overwrite(disk);
        disk.open(Path::new("/d/a"), OLD).unwrap().sync().unwrap();
    };
    for seed in 0..20 {
        assert_eq!(content(&after_power_loss(seed, synced), "/d/a").unwrap(), [2; 2048]);
    }
}

#[test]
fn power_loss_keeps_names_only_of_synced_directories() {
    let make = |sync: bool| {
        move |disk: &SimDisk| {
            let file = disk.open(Path::new("/d/b"), NEW).unwrap();
            file.write_all_at(&[b"b"], 0).unwrap();
            file.sync().unwrap();
            if sync {
                disk.sync_dir(Path::new("/d")).unwrap();
            }
        }
    };
    let kept =
        |sync| (0..50).filter(|seed| content(&after_power_loss(*seed, make(sync)), "/d/b").is_some()).count();
    assert_eq!(kept(true), 50);
    assert!((10..40).contains(&kept(false)));
}

#[test]
fn the_same_seed_loses_the_same() {
    let run = |seed| {
        let disk = after_power_loss(seed, |disk| {
            let file = disk.open(Path::new("/d/a"), OLD).unwrap();
            file.write_all_at(&[&[2; 5000]], 100).unwrap();
        });
        (content(&disk, "/d/a"), disk.trace(), disk.operations())
    };
    assert_eq!(run(7), run(7));
}

#[test]
fn a_full_disk_takes_what_fits_and_overwrites() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    disk.set_capacity(Some(1000));
    assert_eq!(file.write_all_at(&[&[1; 1500]], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 1000);
    file.write_all_at(&[&[2; 500]], 500).unwrap();
    disk.set_capacity(None);
    file.write_all_at(&[&[3; 500]], 1000).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk);
    assert_eq!(shared.list(Path::new("/d")).unwrap()[0].len, 1500);
}

#[test]
fn a_replaced_file_is_new_as_a_whole_and_its_directory_holds_nothing_else() {
    on_every_disk(|disk, dir| {
        let path = dir.join("file");
        for content in [&b"the first"[..], b"", b"a longer one than the first"] {
            replace(disk, &path, content).unwrap();
            assert_eq!(content_of(disk, &path).unwrap(), content);
            let names: Vec<_> = disk.list(dir).unwrap().into_iter().map(|entry| entry.name).collect();
            assert_eq!(names, ["file"]);
        }
    });
}

#[test]
fn a_crash_at_any_operation_of_a_replacement_leaves_the_old_file_or_the_new() {
    let (dir, path) = (Path::new("/data"), Path::new("/data/file"));
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..50 {
        for operation in 0.. {
            let disk = SimDisk::new(seed);
            disk.create_dir_all(dir).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            replace(&disk, path, b"old").unwrap();
            disk.crash_at(disk.operations() + operation);
            let replaced = replace(&disk, path, b"new").is_ok();
            disk.crash();
            disk.restart();
            let found = content_of(&disk, path).unwrap();
            assert!(found == b"new" || (found == b"old" && !replaced), "seed {seed}, {operation}: {found:?}");
            outcomes.insert(found);
            if replaced {
                break;
            }
        }
    }
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn a_replacement_that_finds_no_room_leaves_the_old_file_and_takes_none() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    let path = Path::new("/data/file");
    replace(&disk, path, b"old").unwrap();
    disk.set_capacity(Some(10));
    assert_eq!(replace(&disk, path, &[1; 20]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(content_of(&disk, path).unwrap(), b"old");
    assert_eq!(disk.list(Path::new("/data")).unwrap().len(), 1);
    replace(&disk, path, b"small").unwrap();
}

fn content_of(disk: &dyn Disk, path: &Path) -> std::io::Result<Vec<u8>> {
    let file = disk.open(path, OLD)?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
