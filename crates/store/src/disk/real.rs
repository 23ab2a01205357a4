//! A folder of the machine's file system. All of the store's system calls on files are in here.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
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

/// Makes a folder and what is missing above it, each readable by its owner only and durable in its parent
/// before anything is put in it. `sync_folder` makes a folder's entries durable.
fn make_folder(folder: &Path, sync_folder: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let parent = match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return sync_folder(parent),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_folder(parent, sync_folder)?;
            return make_folder(folder, sync_folder);
        }
        Err(e) => return Err(e),
    }
    // One that holds nothing yet may be what was left when a start was killed before the folder was durable.
    // Where its parents cannot be opened, it was made by somebody else.
    if std::fs::read_dir(folder)?.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOCK_NAME)) {
        for above in folder.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match sync_folder(above) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
    }
    Ok(())
}

impl RealDisk {
    /// Opens a folder, creating it (readable by its owner only) if it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path) -> io::Result<Self> {
        make_folder(folder, &mut |parent| File::open(parent)?.sync_all())?;
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
            let Ok(name) = entry.file_name().into_string() else { continue };
            let meta = match entry.metadata() {
                // Another thread renamed or removed it since the folder was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
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

    fn forget_cached(&self, offset: u64, len: u64) {
        let _wish = rustix::fs::fadvise(
            &self.file,
            offset,
            std::num::NonZeroU64::new(len),
            rustix::fs::Advice::DontNeed,
        );
    }

    fn will_read(&self, offset: u64, len: u64) {
        let _wish = rustix::fs::fadvise(
            &self.file,
            offset,
            std::num::NonZeroU64::new(len),
            rustix::fs::Advice::WillNeed,
        );
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(folder: &Path) -> Vec<PathBuf> {
        let mut synced = Vec::new();
        let mut note = |parent: &Path| {
            synced.push(parent.to_owned());
            Ok(())
        };
        make_folder(folder, &mut note).unwrap();
        assert!(folder.is_dir());
        synced
    }

    #[test]
    fn every_folder_that_was_made_is_durable_in_its_parent() {
        let base = tempfile::tempdir().unwrap();
        let (a, b) = (base.path().join("a"), base.path().join("a/b"));
        assert_eq!(made(&b.join("c")), [base.path(), &a, &b]);
        // Nothing in it yet: the start that made it may have been killed. All parents again.
        assert_eq!(made(&b.join("c"))[..3], [&b, &a, base.path()]);
        drop(RealDisk::open(&b).unwrap());
        // With something in it somebody went on after that.
        assert_eq!(made(&b), Vec::<PathBuf>::new());
        let file = b.join("file");
        drop(File::create(&file).unwrap());
        assert!(make_folder(&file, &mut |_| Ok(())).is_err());
    }

    #[test]
    fn a_folder_is_listed_whatever_is_renamed_and_removed_meanwhile() {
        let base = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(base.path()).unwrap();
        for number in 0..200 {
            drop(disk.open(&format!("{number:04}"), OpenMode::CreateNew).unwrap());
        }
        let done = std::sync::atomic::AtomicBool::new(false);
        let rounds = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    drop(disk.open("a.free", OpenMode::CreateNew).unwrap());
                    disk.rename("a.free", "a.seg").unwrap();
                    disk.remove("a.seg").unwrap();
                    rounds.fetch_add(1, std::sync::atomic::Ordering::Release);
                }
            });
            let mut listed = Vec::new();
            // However the processors are shared: until much was renamed and removed meanwhile.
            while listed.len() < 500 || rounds.load(std::sync::atomic::Ordering::Acquire) < 500 {
                listed.push(disk.list().map(|names| names.len()));
            }
            done.store(true, std::sync::atomic::Ordering::Release);
            for names in listed {
                assert!(names.unwrap() >= 200);
            }
        });
    }
}
