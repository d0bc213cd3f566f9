//! The file `snapshot`: the image up to some entry, sealed as [`super::durable`] says.
//!
//! Its body, integers little-endian:
//!
//! ```text
//!  0  4  m, length of the description
//!  4  m  description, JSON: last entry, membership, snapshot id
//!  4+m   image, JSON (crate::image_form), to the end
//! ```

use std::io;
use std::path::{Path, PathBuf};

use millrace_disk::{Disk, replace};
use serde::{Deserialize, Serialize};

use super::codec::{MembershipForm, entry_id, log_id};
use super::durable::{open_sealed, read_if_exists, seal};
use super::log_file::EntryId;
use super::{LogId, SnapshotMeta, StoredMembership};

const MAGIC: [u8; 8] = *b"MRSNAPSH";
const VERSION: u32 = 1;

/// A snapshot that cannot be read; without it the log, which has been purged up to it, is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    #[error("read {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{path} is damaged: {reason}; restore it from a backup, or remove this broker from the voters, empty \
         the directory and let it join again",
        path = path.display()
    )]
    Damaged { path: PathBuf, reason: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    id: String,
    last: Option<(u64, u64, u64)>,
    membership: MembershipForm,
    membership_entry: Option<(u64, u64, u64)>,
}

fn to_tuple(id: &LogId) -> (u64, u64, u64) {
    let id = entry_id(id);
    (id.term, id.leader, id.index)
}

fn from_tuple((term, leader, index): (u64, u64, u64)) -> LogId {
    log_id(EntryId { term, leader, index })
}

pub(super) fn write(disk: &dyn Disk, dir: &Path, meta: &SnapshotMeta, image: &[u8]) -> io::Result<()> {
    let description = serde_json::to_vec(&Description {
        id: meta.snapshot_id.clone(),
        last: meta.last_log_id.as_ref().map(to_tuple),
        membership: meta.last_membership.membership().into(),
        membership_entry: meta.last_membership.log_id().as_ref().map(to_tuple),
    })?;
    let len = u32::try_from(description.len()).map_err(|_| io::Error::other("a description over 4 GiB"))?;
    let body = [&len.to_le_bytes()[..], &description, image].concat();
    replace(disk, &dir.join("snapshot"), &seal(MAGIC, VERSION, &body))
}

/// The snapshot and the image's bytes.
pub(super) fn read(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<(SnapshotMeta, Vec<u8>)>, SnapshotFileError> {
    let path = dir.join("snapshot");
    let sealed = match read_if_exists(disk, &path) {
        Ok(Some(sealed)) => sealed,
        Ok(None) => return Ok(None),
        Err(source) => return Err(SnapshotFileError::Io { path, source }),
    };
    match parse(&sealed) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(reason) => Err(SnapshotFileError::Damaged { path, reason }),
    }
}

fn parse(sealed: &[u8]) -> Result<(SnapshotMeta, Vec<u8>), String> {
    let body = open_sealed(MAGIC, VERSION, sealed)?;
    let (len, rest) = body.split_first_chunk::<4>().ok_or("it is too short")?;
    let (description, image) =
        rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("its description is cut off")?;
    let description: Description = serde_json::from_slice(description).map_err(|error| error.to_string())?;
    let membership_entry = description.membership_entry.map(from_tuple);
    let meta = SnapshotMeta {
        last_log_id: description.last.map(from_tuple),
        last_membership: StoredMembership::new(membership_entry, description.membership.into()),
        snapshot_id: description.id,
    };
    Ok((meta, image.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millrace_disk::RealDisk;

    use super::*;
    use crate::raft::Membership;

    #[test]
    fn a_snapshot_survives_its_file_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&RealDisk, dir.path()).unwrap().is_none());
        let membership = Membership::new(vec![BTreeSet::from([1, 2])], BTreeSet::from([1, 2, 3]));
        let meta = SnapshotMeta {
            last_log_id: Some(from_tuple((2, 1, 99))),
            last_membership: StoredMembership::new(Some(from_tuple((1, 1, 3))), membership),
            snapshot_id: "2-1-99".into(),
        };
        for image in [&b"an image"[..], b"", b"a later one"] {
            write(&RealDisk, dir.path(), &meta, image).unwrap();
            assert_eq!(read(&RealDisk, dir.path()).unwrap(), Some((meta.clone(), image.to_vec())));
        }
        let path = dir.path().join("snapshot");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(
                matches!(read(&RealDisk, dir.path()), Err(SnapshotFileError::Damaged { .. })),
                "byte {at}"
            );
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(
                matches!(read(&RealDisk, dir.path()), Err(SnapshotFileError::Damaged { .. })),
                "cut at {at}"
            );
        }
    }
}
