//! What a reserve gives up, for whom, and when it is whole again; on every disk.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use millrace_disk::sim::SimDisk;
use millrace_disk::{Disk, Need, OpenMode, RealDisk, Reserve};

const BYTES: u64 = 160 * 1024;

fn open(disk: Arc<dyn Disk>, path: &Path, bytes: u64) -> Arc<Reserve> {
    let reserve = Reserve::new(disk, path, bytes);
    reserve.restore().unwrap();
    reserve
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

#[test]
fn it_takes_its_room_on_every_disk_and_shrinks_to_a_smaller_setting() {
    use std::os::unix::fs::MetadataExt;
    let dirs = [tempfile::tempdir().unwrap()].into_iter().chain(tempfile::tempdir_in("/dev/shm"));
    for dir in dirs {
        let path = dir.path().join("reserve");
        let reserve = open(Arc::new(RealDisk), &path, BYTES);
        assert!(reserve.is_whole());
        let blocks = |path: &Path| std::fs::metadata(path).unwrap().blocks() * 512;
        assert!(blocks(&path) >= BYTES, "blocks, not a length only");
        let reserve = open(Arc::new(RealDisk), &path, BYTES / 2);
        assert!(reserve.is_whole());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), BYTES / 2);
    }
}

#[test]
fn it_is_given_up_in_parts_and_the_last_ones_for_control_alone() {
    let reserve = open(Arc::new(SimDisk::new(1)), Path::new("/reserve"), BYTES);
    let told = Arc::new(AtomicU32::new(0));
    let tell = Arc::clone(&told);
    reserve.watch(move || _ = tell.fetch_add(1, Ordering::SeqCst));
    let mut tries = 0;
    let third_time = || {
        tries += 1;
        if tries < 3 { Err(full()) } else { Ok(tries) }
    };
    assert_eq!(reserve.with_room(Need::Data, third_time).unwrap(), 3);
    assert_eq!(told.load(Ordering::SeqCst), 2);
    assert!(reserve.held_bytes() > BYTES / 2 && !reserve.is_whole());

    let outcome: io::Result<()> = reserve.with_room(Need::Data, || Err(full()));
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::StorageFull);
    let for_control = reserve.held_bytes();
    assert!(for_control >= BYTES / 8, "{for_control}");
    let outcome: io::Result<()> = reserve.with_room(Need::Control, || Err(full()));
    assert!(outcome.is_err());
    assert_eq!(reserve.held_bytes(), 0);
    assert!(reserve.restore().unwrap() && reserve.is_whole());
}

#[test]
fn other_errors_cost_nothing() {
    let reserve = open(Arc::new(SimDisk::new(1)), Path::new("/reserve"), BYTES);
    let outcome: io::Result<()> = reserve.with_room(Need::Control, || Err(io::Error::other("damage")));
    assert!(outcome.is_err() && reserve.is_whole());
    let none = Reserve::none();
    assert!(none.is_whole() && none.restore().unwrap());
    assert!(none.with_room::<()>(Need::Control, || Err(full())).is_err());
}

#[test]
fn on_a_full_disk_it_is_what_there_is_room_for_and_grows_with_it() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(BYTES / 2));
    let reserve = open(Arc::new(disk.clone()), Path::new("/reserve"), BYTES);
    assert!(!reserve.is_whole() && reserve.held_bytes() > 0);
    assert_eq!(reserve.held_bytes(), disk.used_bytes(), "nothing is held that nobody knows of");
    let file = reserve.with_room(Need::Control, || {
        let file = disk.open(Path::new("/new"), OpenMode { create: true, ..OpenMode::default() })?;
        file.write_all_at(&[&[1; 20_000]], 0)
    });
    file.unwrap();
    disk.set_capacity(None);
    assert!(reserve.restore().unwrap());
    assert_eq!(disk.used_bytes(), BYTES + 20_000);
}
