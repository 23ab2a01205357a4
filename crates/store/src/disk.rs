//! The only way to the disk. Every call that touches a file goes through [`Disk`] and [`DiskFile`], so that
//! the same code runs on a real folder ([`real`]) and on a simulated one ([`sim`]) where every call can be
//! made to fail and unsynced writes can be lost.
//!
//! Names are plain file names inside one folder. Nothing is durable before `sync` (contents) and `sync_dir`
//! (names) have returned.

pub mod real;
pub mod sim;

use std::io::{self, IoSlice};
use std::sync::Arc;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; reading only.
    Read,
    /// It must exist.
    ReadWrite,
    /// Must not exist yet.
    CreateNew,
}

/// An open file. All calls may come from several threads at once.
pub trait DiskFile: Send + Sync {
    /// Reads at `offset` until `out` is full or the file ends; answers how many bytes were read.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;

    /// Writes all parts, one after the other, at `offset`, extending the file where need be.
    ///
    /// # Errors
    /// What the system says; then any part of the bytes may have been written.
    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;

    /// Makes contents and length durable. After an error nothing is known and nothing may be retried.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros).
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Takes disk space for the first `len` bytes without writing them.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if the file system cannot; what the system says.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Lets go of what the system holds in memory of a part of the file, so that the next read comes from the disk. A
    /// wish: what is not written yet stays.
    fn forget_cached(&self, _offset: u64, _len: u64) {}

    /// Says that a part of the file is read soon. A wish.
    fn will_read(&self, _offset: u64, _len: u64) {}
}

/// One folder.
pub trait Disk: Send + Sync {
    /// What to call the folder in messages.
    fn name(&self) -> Arc<str>;

    /// Keeps other processes out until the disk is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another holds it; what the system says.
    fn lock(&self) -> io::Result<()>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Names and lengths of all files, sorted by name.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Renames, replacing what has the new name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes left for new data.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Whether the system found no room: on the disk, or within a quota of the file system.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the disk could not give back what is stored at that place; the rest of it may be fine.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let known = [Errno::IO, Errno::BADMSG, Errno::ILSEQ];
    error.raw_os_error().is_some_and(|number| known.iter().any(|errno| errno.raw_os_error() == number))
}

/// Reads exactly `out.len()` bytes.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if the file ends before; what the system says.
pub fn read_exact_at(file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
    if file.read_at(offset, out)? < out.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
