//! Directories: the names that programs see, those that are durable, and the changes between the two.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Dir(u64),
}

/// Names that change together: one if a file is made or removed, two if it is renamed.
type Change = Vec<(String, Option<Node>)>;

#[derive(Debug, Default)]
struct Dir {
    names: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// Changes of `names` that are not in `durable`, in order.
    unsynced: Vec<Change>,
}

impl Dir {
    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        self.durable = self.names.clone();
        self.unsynced.clear();
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: &Change) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

/// All directories; number 0 is the root, which always exists.
#[derive(Debug)]
pub(super) struct Tree {
    dirs: BTreeMap<u64, Dir>,
    next_dir: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self { dirs: BTreeMap::from([(0, Dir::default())]), next_dir: 1 }
    }
}

/// A path's directory and its last name.
pub(super) fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok((parent, name.to_string_lossy().into_owned()))
}

fn names(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|component| match component {
        std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

impl Tree {
    fn dir_number(&self, path: &Path) -> Option<u64> {
        let mut number = 0;
        for name in names(path) {
            match self.dirs[&number].names.get(&name) {
                Some(Node::Dir(next)) => number = *next,
                _ => return None,
            }
        }
        Some(number)
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        let number = self.dir_number(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.dirs.entry(number).or_default())
    }

    fn node(&self, path: &Path) -> Option<Node> {
        let (parent, name) = split(path).ok()?;
        self.dirs[&self.dir_number(&parent)?].names.get(&name).copied()
    }

    pub fn is_dir(&self, path: &Path) -> bool {
        self.dir_number(path).is_some()
    }

    pub fn file(&self, path: &Path) -> Option<u64> {
        match self.node(path)? {
            Node::File(inode) => Some(inode),
            Node::Dir(_) => None,
        }
    }

    pub fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut reached = PathBuf::new();
        for name in names(path) {
            let next = reached.join(&name);
            if !self.is_dir(&next) {
                let number = self.next_dir;
                self.next_dir += 1;
                self.dirs.insert(number, Dir::default());
                self.dir(&reached)?.change(vec![(name, Some(Node::Dir(number)))]);
            }
            reached = next;
        }
        Ok(())
    }

    pub fn link(&mut self, path: &Path, inode: u64) -> io::Result<()> {
        let (parent, name) = split(path)?;
        self.dir(&parent)?.change(vec![(name, Some(Node::File(inode)))]);
        Ok(())
    }

    pub fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path)?;
        self.node(path).ok_or(io::ErrorKind::NotFound)?;
        self.dir(&parent)?.change(vec![(name, None)]);
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.node(from).ok_or(io::ErrorKind::NotFound)?;
        if matches!(self.node(to), Some(Node::Dir(_))) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let ((parent, old), (_, new)) = (split(from)?, split(to)?);
        self.dir(&parent)?.change(vec![(old, None), (new, Some(node))]);
        Ok(())
    }

    /// Names in order, with the inode of those that are files.
    pub fn list(&self, path: &Path) -> io::Result<Vec<(String, Option<u64>)>> {
        let number = self.dir_number(path).ok_or(io::ErrorKind::NotFound)?;
        let entries = self.dirs[&number].names.iter().map(|(name, node)| match node {
            Node::File(inode) => (name.clone(), Some(*inode)),
            Node::Dir(_) => (name.clone(), None),
        });
        Ok(entries.collect())
    }

    pub fn sync(&mut self, path: &Path) -> io::Result<()> {
        self.dir(path)?.sync();
        Ok(())
    }

    pub fn sync_all(&mut self) {
        self.dirs.values_mut().for_each(Dir::sync);
    }

    /// Inodes of all files that have a name.
    pub fn files(&self) -> impl Iterator<Item = u64> {
        self.dirs.values().flat_map(|dir| dir.names.values()).filter_map(|node| match node {
            Node::File(inode) => Some(*inode),
            Node::Dir(_) => None,
        })
    }

    /// Every change that was not synced has happened or not.
    pub fn lose_power(&mut self, random: &mut Random) {
        for dir in self.dirs.values_mut() {
            let mut names = std::mem::take(&mut dir.durable);
            for change in dir.unsynced.drain(..) {
                if random.coin() {
                    apply(&mut names, &change);
                }
            }
            dir.durable = names.clone();
            dir.names = names;
        }
    }
}
