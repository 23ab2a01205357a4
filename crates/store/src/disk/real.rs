//! A folder of the machine's file system. All of the store's system calls on files are in here.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation};

use super::{Disk, DiskFile, OpenMode};

/// Most pieces one vectored write takes on Linux (`IOV_MAX`).
const WRITE_PARTS_MAX: usize = 1024;

/// Name of the file that is locked.
const LOCK_NAME: &str = "LOCK";

/// A folder on disk.
pub struct RealDisk {
    folder: PathBuf,
    dir: File,
    lock: Mutex<Option<File>>,
}

impl RealDisk {
    /// Opens a folder, creating it (readable by its owner only) if it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let dir = File::open(folder)?;
        Ok(Self { folder: folder.to_owned(), dir, lock: Mutex::new(None) })
    }

    fn options(write: bool) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(write).mode(0o600);
        options
    }
}

impl Disk for RealDisk {
    fn name(&self) -> Arc<str> {
        self.folder.display().to_string().into()
    }

    fn lock(&self) -> io::Result<()> {
        let file = Self::options(true).create(true).truncate(false).open(self.folder.join(LOCK_NAME))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        *self.lock.lock() = Some(file);
        Ok(())
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = Self::options(mode != OpenMode::Read);
        let file = options.create_new(mode == OpenMode::CreateNew).open(self.folder.join(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (Ok(name), meta) = (entry.file_name().into_string(), entry.metadata()?) else { continue };
            if meta.is_file() {
                out.push((name, meta.len()));
            }
        }
        out.sort();
        Ok(out)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn read_at(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while !out.is_empty() {
            match self.file.read_at(out, offset) {
                Ok(0) => break,
                Ok(n) => {
                    done += n;
                    offset += n as u64;
                    out = &mut out[n..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, mut offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        for group in parts.chunks(WRITE_PARTS_MAX) {
            let mut group = group.to_vec();
            let mut rest = &mut group[..];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.file, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => {
                        offset += n as u64;
                        IoSlice::advance_slices(&mut rest, n);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)?)
    }
}
