//! Round trips, and what recovery makes of files that a crash or a bad disk left behind.

use millrace_disk::RealDisk;
use millrace_disk::sim::{Shortage, SimDisk};
use proptest::prelude::*;

use super::*;

fn entry(index: u64, payload: &[u8]) -> Record {
    let id = EntryId { term: 3, leader: 1, index };
    Record::Entry { id, kind: PayloadKind::Proposal, payload: payload.to_vec() }
}

fn any_record() -> impl Strategy<Value = Record> {
    let id = || {
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(term, leader, index)| EntryId {
            term,
            leader,
            index,
        })
    };
    let kind =
        prop_oneof![Just(PayloadKind::Blank), Just(PayloadKind::Proposal), Just(PayloadKind::Membership)];
    prop_oneof![
        (id(), kind, prop::collection::vec(any::<u8>(), 0..50))
            .prop_map(|(id, kind, payload)| Record::Entry { id, kind, payload }),
        any::<u64>().prop_map(|from| Record::Truncate { from }),
        id().prop_map(|upto| Record::Purge { upto }),
    ]
}

fn open(path: &Path) -> Result<(LogFile, Recovered), LogFileError> {
    LogFile::open(&(Arc::new(RealDisk) as Arc<dyn Disk>), path, 7)
}

/// A file with three frames, its records, and where the frames end.
fn three_frames(path: &Path) -> (Vec<Record>, [u64; 3]) {
    let (mut log, _) = open(path).unwrap();
    let frames = [
        vec![entry(0, b"first"), entry(1, b"second")],
        vec![Record::Truncate { from: 1 }, entry(1, b"another second")],
        vec![entry(2, b"third"), entry(3, b"the last")],
    ];
    let ends = [0, 1, 2].map(|i| {
        log.append(&frames[i]).unwrap();
        log.len_bytes()
    });
    (frames.concat(), ends)
}

proptest! {
    #[test]
    fn records_survive_reopening(frames in prop::collection::vec(prop::collection::vec(any_record(), 0..4), 0..4)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raft.log");
        let (mut log, _) = open(&path).unwrap();
        for frame in &frames {
            log.append(frame).unwrap();
        }
        let (mut log, recovered) = open(&path).unwrap();
        prop_assert_eq!(&recovered, &Recovered { records: frames.concat(), torn_bytes: 0 });
        log.rewrite(&frames.concat()).unwrap();
        log.append(&[entry(9, b"after")]).unwrap();
        let expected = [frames.concat(), vec![entry(9, b"after")]].concat();
        prop_assert_eq!(open(&path).unwrap().1.records, expected);
    }

    #[test]
    fn no_bytes_make_recovery_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raft.log");
        std::fs::write(&path, [&header(7, [5; 16])[..], &tail].concat()).unwrap();
        let _ = open(&path);
        let _ = decode_records(&tail);
    }
}

/// A crash leaves the last frame cut off or garbled anywhere; all earlier ones must come back, nothing else,
/// and the log must be writable again.
#[test]
fn a_last_write_torn_at_any_byte_is_cut_off_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raft.log");
    let (records, ends) = three_frames(&path);
    let whole = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8], kept: usize, what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let (mut log, recovered) = open(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(recovered.records, records[..kept], "{what}");
        log.append(&[entry(2, b"again")]).unwrap();
        let expected = [&records[..kept], &[entry(2, b"again")]].concat();
        assert_eq!(open(&path).unwrap().1.records, expected, "{what}");
    };
    check(&whole, 6, "whole");
    for cut in ends[1] as usize..whole.len() {
        check(&whole[..cut], 4, &format!("cut at {cut}"));
        // The file's new length reached the disk, its contents from here on did not.
        let mut zeroed = whole.clone();
        zeroed[cut..].fill(0);
        check(&zeroed, 4, &format!("zeroes from {cut}"));
        let mut flipped = whole.clone();
        flipped[cut] ^= 0x40;
        check(&flipped, 4, &format!("bit flipped at {cut}"));
    }
    // Down to the header: the frames before the second are never touched.
    for cut in ends[0] as usize..ends[1] as usize {
        check(&whole[..cut], 2, &format!("cut at {cut}"));
    }
}

#[test]
fn damage_before_acknowledged_entries_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raft.log");
    let (_, ends) = three_frames(&path);
    let whole = std::fs::read(&path).unwrap();
    for at in HEADER_LEN..ends[1] as usize {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let refused = open(&path).err().unwrap();
        assert!(matches!(refused, LogFileError::Damaged { .. }), "byte {at}: {refused}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "byte {at}: the evidence stays");
    }
}

/// After a failed write or sync nobody knows what the disk holds, so nothing is written behind it.
#[test]
fn a_failed_write_is_the_last() {
    for operation in 0..2 {
        let (disk, shared) = simulated(1);
        let (mut log, _) = LogFile::open(&shared, SIMULATED.as_ref(), 7).unwrap();
        log.append(&[entry(0, b"kept")]).unwrap();
        disk.fail_at(disk.operations() + operation);
        assert!(log.append(&[entry(1, b"lost")]).is_err());
        assert!(log.append(&[entry(1, b"late")]).is_err());
        assert!(log.rewrite(&[]).is_err());
    }
}

const SIMULATED: &str = "/metadata/raft.log";

fn simulated(seed: u64) -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new("/metadata")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (disk.clone(), Arc::new(disk))
}

/// Appends and rewrites, each until it succeeds; returns what must be there. Each try is `count`ed.
fn write_patiently(log: &mut LogFile, mut count: impl FnMut()) -> Vec<Record> {
    let mut records = Vec::new();
    let mut patiently = |log: &mut LogFile, write: &dyn Fn(&mut LogFile) -> io::Result<()>| {
        while let Err(error) = write(log) {
            assert!(is_passing(&error), "{error}");
            count();
        }
    };
    for index in 0..3 {
        let long = entry(index, &vec![index as u8; 700]);
        patiently(log, &|log| log.append(&[long.clone(), Record::Truncate { from: 90 }]));
        records.extend([long, Record::Truncate { from: 90 }]);
        if index == 1 {
            records.retain(|record| matches!(record, Record::Entry { .. }));
            patiently(log, &|log| log.rewrite(&records));
        }
    }
    records
}

/// At every operation, once and for some, and then the power goes: what was acknowledged is there, and nothing else.
#[test]
fn a_shortage_at_any_operation_passes_without_reopening() {
    for of in [Shortage::Room, Shortage::Memory, Shortage::Files] {
        let mut met = 0;
        for (from, len) in (0..30).flat_map(|from| [(from, 1), (from, 5)]) {
            let (disk, shared) = simulated(from);
            let (mut log, _) = LogFile::open(&shared, SIMULATED.as_ref(), 7).unwrap();
            let base = if of == Shortage::Files { disk.openings() } else { disk.operations() };
            disk.run_short(of, base + from..base + from + len);
            let expected = write_patiently(&mut log, || met += 1);
            drop(log);
            disk.crash();
            disk.restart();
            let (_, recovered) = LogFile::open(&shared, SIMULATED.as_ref(), 7).unwrap();
            assert_eq!(recovered.records, expected, "{of:?} from {from} for {len}");
        }
        assert!(met > 5, "{of:?}: {met}");
    }
}

#[test]
fn foreign_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raft.log");
    let mut newer = header(7, [5; 16]);
    newer[8] = 3;
    for bytes in [&b"no log"[..], &[0; 100], &newer, &header(8, [5; 16])] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(open(&path), Err(LogFileError::Foreign { .. })), "{bytes:?}");
    }
}

/// A client's text stands in the last frame, which a crash has torn.
#[test]
fn a_payload_that_looks_like_a_later_frame_does_not_keep_the_log_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raft.log");
    let (mut log, _) = open(&path).unwrap();
    log.append(&[entry(0, b"kept")]).unwrap();
    let kept = log.len_bytes();
    // An empty frame of number 3, as far as somebody can know it who does not see the file.
    let mut forged = [0; FRAME_HEADER_LEN];
    forged[8] = 3;
    let crc = crc32c(&forged[4..]);
    forged[..4].copy_from_slice(&crc.to_le_bytes());
    log.append(&[entry(1, &forged)]).unwrap();
    let mut torn = std::fs::read(&path).unwrap();
    torn[kept as usize] ^= 1;
    std::fs::write(&path, torn).unwrap();
    assert_eq!(open(&path).unwrap().1.records, [entry(0, b"kept")]);
}
