//! Walks a local folder, parents before children, names in byte order.
//!
//! Symbolic links are reported and not followed. Sockets, pipes and devices have no content that could be
//! kept; they are reported as skipped, and so are the temporary files of fetches that were interrupted and the folder of
//! the node's own store. A folder that cannot be read is an error of its own, not of the walk.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::exclude::Exclude;
use super::target::is_temporary;

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A folder; its children follow.
    Folder(Item),
    /// A regular file.
    File(Item),
    /// A symbolic link and where it points.
    Link(Item, PathBuf),
    /// Something that was to be left out; what is below it is not looked at.
    Excluded,
    /// Something that is not to be kept: it has no content, or is what an interrupted fetch left behind.
    Skipped {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Something that could not be looked at.
    Failed {
        /// Where it is.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Something that can be kept.
#[derive(Debug)]
pub struct Item {
    /// Where it is.
    pub path: PathBuf,
    /// Its path below where the walk began; empty for the beginning itself.
    pub relative: PathBuf,
    /// What the file system says of it (of the link itself, for links).
    pub metadata: Metadata,
}

impl Item {
    /// Time of last modification in nanoseconds since 1970.
    #[must_use]
    pub fn mtime_ns(&self) -> i64 {
        self.metadata.mtime().saturating_mul(1_000_000_000).saturating_add(self.metadata.mtime_nsec())
    }

    /// Mode bits and file type.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.metadata.mode()
    }
}

/// A walk in progress.
pub struct Walk {
    root: PathBuf,
    /// Still to be looked at, next one last.
    stack: Vec<PathBuf>,
    rules: Rules,
    /// The device that the walk began on.
    device: Option<u64>,
}

/// What a walk leaves out.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// By name.
    pub exclude: Exclude,
    /// What is on another file system than the beginning.
    pub one_file_system: bool,
    /// The folder in which the node of this machine keeps what it is given: all of it would be stored in itself, and
    /// twice as much the next time.
    pub store: Option<FolderId>,
}

/// A folder, whatever names lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderId {
    device: u64,
    inode: u64,
}

impl FolderId {
    /// The folder at this path; `None` if there is none.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().filter(Metadata::is_dir).map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Walk {
    /// Begins at a path, which is reported first.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, rules: Rules) -> Self {
        let root = root.into();
        Self { stack: vec![root.clone()], root, rules, device: None }
    }

    fn look(&mut self, path: PathBuf) -> Found {
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => return Found::Failed { path, error },
        };
        let kind = metadata.file_type();
        let relative = path.strip_prefix(&self.root).unwrap_or(Path::new("")).to_path_buf();
        if self.rules.exclude.leaves_out(&relative, kind.is_dir()) {
            return Found::Excluded;
        }
        if kind.is_dir() {
            if *self.device.get_or_insert(metadata.dev()) != metadata.dev() && self.rules.one_file_system {
                return Found::Skipped { path, what: "on another file system" };
            }
            if self.rules.store == Some(FolderId::of(&metadata)) {
                return Found::Skipped {
                    path,
                    what: "where the node keeps what it is given; it is not stored in itself",
                };
            }
            return match self.children(&path) {
                Ok(children) => {
                    self.stack.extend(children);
                    Found::Folder(Item { path, relative, metadata })
                }
                Err(error) => Found::Failed { path, error },
            };
        }
        if (kind.is_file() || kind.is_symlink()) && is_temporary(&path) {
            return Found::Skipped { path, what: "left behind by a get that was interrupted; delete it" };
        }
        if kind.is_symlink() {
            return match std::fs::read_link(&path) {
                Ok(target) => Found::Link(Item { path, relative, metadata }, target),
                Err(error) => Found::Failed { path, error },
            };
        }
        if kind.is_file() {
            return Found::File(Item { path, relative, metadata });
        }
        let what = match () {
            () if kind.is_socket() => "socket",
            () if kind.is_fifo() => "named pipe",
            () if kind.is_block_device() => "block device",
            () if kind.is_char_device() => "character device",
            () => "special file",
        };
        Found::Skipped { path, what }
    }

    /// Children in reverse order, so that the first is taken from the stack first.
    fn children(&self, path: &Path) -> std::io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.push(entry?.path());
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let path = self.stack.pop()?;
        Some(self.look(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_special_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/c")).unwrap();
        std::fs::File::create(dir.path().join("b/c/file")).unwrap();
        std::fs::File::create(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let left = ".larder-0123456789abcdef.part";
        std::fs::File::create(dir.path().join("b").join(left)).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("b/c").join(left)).unwrap();
        std::fs::create_dir(dir.path().join(left)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let seen: Vec<String> = Walk::new(dir.path(), Rules::default())
            .map(|found| match found {
                Found::Folder(i) => format!("d:{}", i.relative.display()),
                Found::File(i) => format!("f:{}", i.relative.display()),
                Found::Link(i, target) => format!("l:{}:{}", i.relative.display(), target.display()),
                Found::Excluded => "x".to_owned(),
                Found::Skipped { what, .. } => format!("s:{what}"),
                Found::Failed { error, .. } => format!("e:{error}"),
            })
            .collect();
        let left = "s:left behind by a get that was interrupted; delete it";
        let folder = "d:.larder-0123456789abcdef.part";
        let below = [left, "d:b/c", left, "f:b/c/file"];
        let expected = [&["d:", folder, "f:a", "d:b"], &below[..], &["l:link:nowhere", "s:socket"]].concat();
        assert_eq!(seen, expected);
    }
}
