//! Reads a local file and notices if it changed meanwhile.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use larder_format::error::Kind;
use larder_wire::answer::Failure;

use super::xattrs::{self, Xattrs};
use crate::vault::local_failure;

/// A file being read.
#[derive(Debug)]
pub struct Source {
    file: File,
    path: PathBuf,
    before: Stamp,
    mode: u32,
}

/// What changes when a file is written to.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(m: &Metadata) -> Self {
        Self {
            device: m.dev(),
            inode: m.ino(),
            len: m.len(),
            mtime: (m.mtime(), m.mtime_nsec()),
            ctime: (m.ctime(), m.ctime_nsec()),
        }
    }
}

impl Source {
    /// Opens a regular file. Does not follow a link in the last place and does not wait on a pipe that took
    /// the file's name since it was seen.
    ///
    /// # Errors
    /// The system's error; `InvalidInput` if it is not a regular file (any more).
    #[allow(clippy::missing_panics_doc, reason = "open flags fit an int by definition")]
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        let flags = i32::try_from(flags.bits()).expect("open flags fit an int");
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, path: path.to_path_buf(), before: Stamp::of(&metadata), mode: metadata.mode() })
    }

    /// Length when it was opened, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.before.len
    }

    /// Whether it was empty when it was opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.len == 0
    }

    /// A second handle on the same open file, which shares its position.
    ///
    /// # Errors
    /// The system's error.
    pub fn reader(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// Whether the file is still as it was when it was opened, by length, times and identity.
    ///
    /// # Errors
    /// The system's error.
    pub fn unchanged(&self) -> std::io::Result<bool> {
        Ok(Stamp::of(&self.file.metadata()?) == self.before)
    }

    /// Mode bits and file type.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Time of last modification in nanoseconds since 1970.
    #[must_use]
    pub fn mtime_ns(&self) -> i64 {
        let (seconds, ns) = self.before.mtime;
        seconds.saturating_mul(1_000_000_000).saturating_add(ns)
    }

    /// Its extended attributes.
    #[must_use]
    pub fn xattrs(&self) -> Xattrs {
        xattrs::read(&self.file)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.file.read(buf)
    }
}

/// How often a file that changes while it is read is read again.
const READ_TRIES: u32 = 3;

/// Reads a file of at most `len_max` bytes whole, with the mode and the time (in nanoseconds since 1970) it had
/// while it was read.
///
/// # Errors
/// [`Kind::Retry`] if it keeps changing or has grown beyond `len_max`; the system's error otherwise.
pub fn read_small(path: &Path, len_max: usize) -> Result<(Bytes, u32, i64), Failure> {
    let failed = |e: std::io::Error| local_failure(path, &e);
    for _ in 0..READ_TRIES {
        let mut source = Source::open(path).map_err(failed)?;
        let mut content = Vec::with_capacity(usize::try_from(source.len()).unwrap_or(0).min(len_max) + 1);
        (&mut source).take(len_max as u64 + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 == source.len() && source.unchanged().map_err(failed)? {
            return Ok((content.into(), source.mode(), source.mtime_ns()));
        }
    }
    Err(Failure::new(Kind::Retry, format!("{}: changed while it was read", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_change_while_reading_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one").unwrap();
        let source = Source::open(&path).unwrap();
        assert!(source.unchanged().unwrap());
        file.write_all(b"two").unwrap();
        assert!(!source.unchanged().unwrap());
    }

    #[test]
    fn a_pipe_does_not_hang_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(Source::open(&pipe).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        assert!(Source::open(&link).is_err());
    }
}
