//! Writes a local file so that its name shows the old content or the new, never half of it: everything goes
//! to a temporary file beside it, which takes its name at the end.

use std::fs::{File, Permissions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use larder_format::head::Attributes;
use larder_format::rng::{Rng, SystemRng};

use super::{part, xattrs};

/// Shortest run of zeros left as a hole, in bytes: a file system block.
const HOLE_BYTES_MIN: usize = 4096;

/// Mode bits that a file gets. Never setuid, setgid or sticky: whoever may write the vault would else say what runs with
/// the rights of the one who fetches, who may be root.
pub(super) const FILE_MODE_BITS: u32 = 0o777;

/// Mode bits that a folder gets: as a file's, and sticky, which only takes rights away.
const FOLDER_MODE_BITS: u32 = 0o1777;

/// Mode bits by which a folder's owner can work in it.
const OWNER_MODE_BITS: u32 = 0o700;

/// Less than this is not left behind, in bytes: a chunk.
const REST_BYTES_MIN: u64 = 1 << 20;

/// A file being written. Dropped before [`Target::finish`] it leaves nothing behind; with a number of its own it leaves
/// what was written, for the next try to go on with.
#[derive(Debug)]
pub struct Target {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    /// It had a number, and what is written stays if it is dropped.
    resumable: bool,
    /// It was there before.
    found: bool,
    finished: bool,
}

impl Target {
    /// Begins writing the file that will be at `path`. Nobody else can read it until it is finished. What is
    /// there may be a regular file, or a link, which is replaced and never followed. With a number, that is its
    /// temporary name, and what an earlier try left under it is taken up, unless somebody is at it.
    ///
    /// # Errors
    /// The system's error, for instance because the folder is missing or read-only; `AlreadyExists` if a
    /// pipe, a socket or a device is there.
    pub fn create(path: &Path, number: Option<u64>) -> std::io::Result<Self> {
        check_replaceable(path)?;
        let name = path
            .file_name()
            .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "a file name is needed"))?;
        if let Some(part) = number.and_then(|number| part::open(&path.with_file_name(temporary_name(number))))
        {
            let (temporary, path) = (part.path, path.to_path_buf());
            return Ok(Self {
                file: part.file,
                temporary,
                path,
                resumable: true,
                found: part.found,
                finished: false,
            });
        }
        // The name may be as long as the file system allows, so the temporary one does not contain it.
        let temporary = path.with_file_name(temporary_name(SystemRng.u64()));
        debug_assert_ne!(temporary.file_name(), Some(name), "a random name");
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let path = path.to_path_buf();
        Ok(Self { file, temporary, path, resumable: false, found: false, finished: false })
    }

    /// What an earlier try left, to be read from its beginning; `None` if there was none.
    #[must_use]
    pub fn rest(&self) -> Option<File> {
        if self.found { File::open(&self.temporary).ok() } else { None }
    }

    /// Takes away what is beyond this length: what is written from there on may leave holes.
    ///
    /// # Errors
    /// The system's error.
    pub fn cut(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    /// Removes what was written, for good.
    pub fn discard(mut self) {
        self.resumable = false;
    }

    /// Writes a part. Long runs of zeros are left as holes. Parts may come in any order.
    ///
    /// # Errors
    /// The system's error.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        if bytes.len() >= HOLE_BYTES_MIN && bytes.iter().all(|b| *b == 0) {
            return Ok(());
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Gives the file its length, attributes and name, replacing what had it. Answers whether its extended attributes
    /// could be kept: not every file system has them.
    ///
    /// # Errors
    /// The system's error; then the old file is still there.
    pub fn finish(mut self, len: u64, attributes: &Attributes, sync: bool) -> std::io::Result<bool> {
        let given = self.give(len, attributes, sync);
        // Nothing that comes later would be right.
        self.resumable &= given.is_ok();
        given
    }

    fn give(&mut self, len: u64, attributes: &Attributes, sync: bool) -> std::io::Result<bool> {
        self.file.set_len(len)?;
        let kept = xattrs::apply(&self.file, attributes)?;
        if attributes.mode != 0 {
            self.file.set_permissions(Permissions::from_mode(attributes.mode & FILE_MODE_BITS))?;
        }
        if attributes.mtime_ns != 0 {
            self.file.set_modified(time_of(attributes.mtime_ns))?;
        }
        if sync {
            self.file.sync_all()?;
        }
        std::fs::rename(&self.temporary, &self.path)?;
        self.finished = true;
        Ok(kept)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let worth_it = || self.file.metadata().is_ok_and(|m| m.len() >= REST_BYTES_MIN);
        let stays = self.finished || (self.resumable && worth_it());
        if !stays {
            // Nothing to be told to anyone: the error that led here is.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// What a temporary file's name begins and ends with; between them are the digits of a random number.
const TEMPORARY_NAME: (&str, &str) = (".larder-", ".part");

/// Digits of the random number, which is written in base 16.
const TEMPORARY_DIGITS: usize = 16;

fn temporary_name(number: u64) -> String {
    let (begin, end) = TEMPORARY_NAME;
    format!("{begin}{number:0TEMPORARY_DIGITS$x}{end}")
}

/// Whether this is the name of a temporary file: one of a fetch that is under way, or was ended by force.
#[must_use]
pub fn is_temporary(path: &Path) -> bool {
    let (begin, end) = TEMPORARY_NAME;
    let name = path.file_name().and_then(|name| name.to_str());
    let digits = name.and_then(|name| name.strip_prefix(begin)?.strip_suffix(end));
    let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    digits.is_some_and(|digits| digits.len() == TEMPORARY_DIGITS && digits.bytes().all(is_digit))
}

/// Whether a file or link may take this name: a rename would put it in the place of a pipe or a device, too.
fn check_replaceable(path: &Path) -> std::io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_file() || kind.is_symlink() {
        return Ok(());
    }
    if kind.is_dir() {
        // The rename would refuse it, too: after everything was fetched.
        let message = "is a folder here, and nothing that is fetched takes a folder's place: move it away";
        return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, message));
    }
    let message = "is there already and is not a regular file; it is left as it is";
    Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, message))
}

fn time_of(ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(ns.unsigned_abs());
    if ns >= 0 { SystemTime::UNIX_EPOCH + distance } else { SystemTime::UNIX_EPOCH - distance }
}

/// Gives a file that is there its mode, time and extended attributes.
///
/// # Errors
/// The system's error.
pub fn set_attributes(path: &Path, attributes: &Attributes) -> std::io::Result<bool> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW;
    let flags = i32::try_from(nofollow.bits()).unwrap_or(0);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kept = xattrs::apply(&file, attributes)?;
    if attributes.mode != 0 {
        file.set_permissions(Permissions::from_mode(attributes.mode & FILE_MODE_BITS))?;
    }
    if attributes.mtime_ns != 0 {
        file.set_modified(time_of(attributes.mtime_ns))?;
    }
    Ok(kept)
}

/// Makes a folder that gets its mode when everything in it is written ([`finish_folder`]): nobody else can look into it
/// until then, for what it will let others see is not known before. Folders above it are made as the system makes them.
///
/// # Errors
/// The system's error.
pub fn begin_folder(path: &Path) -> std::io::Result<()> {
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        std::fs::create_dir_all(above)?;
    }
    std::fs::DirBuilder::new().mode(OWNER_MODE_BITS).create(path)
}

/// Lets its owner write in a folder that is there and gets its mode anew ([`finish_folder`]): an earlier fetch may have made
/// it read-only.
///
/// # Errors
/// The system's error.
pub fn reopen_folder(path: &Path) -> std::io::Result<()> {
    let mode = std::fs::symlink_metadata(path)?.permissions().mode();
    if mode & OWNER_MODE_BITS == OWNER_MODE_BITS {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | OWNER_MODE_BITS))
}

/// Gives a folder its mode, time and extended attributes, once everything in it is written. Answers whether those could
/// be kept.
///
/// # Errors
/// The system's error.
pub fn finish_folder(path: &Path, attributes: &Attributes) -> std::io::Result<bool> {
    let mut kept = true;
    // The mode last: it may be one that lets nobody open it.
    if attributes.mtime_ns != 0 || xattrs::among(attributes).next().is_some() {
        let folder = File::open(path)?;
        kept = xattrs::apply(&folder, attributes)?;
        if attributes.mtime_ns != 0 {
            folder.set_modified(time_of(attributes.mtime_ns))?;
        }
    }
    if attributes.mode != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(attributes.mode & FOLDER_MODE_BITS))?;
    }
    Ok(kept)
}

/// Makes a symbolic link with a time of its own (in nanoseconds since 1970; 0: that of now), replacing a file or link of
/// that name.
///
/// # Errors
/// The system's error, or `AlreadyExists` if a pipe, a socket or a device is there; then what was there still is.
pub fn link(target: &Path, path: &Path, mtime_ns: i64) -> std::io::Result<()> {
    check_replaceable(path)?;
    let temporary = path.with_file_name(temporary_name(SystemRng.u64()));
    std::os::unix::fs::symlink(target, &temporary)?;
    let timed = if mtime_ns == 0 { Ok(()) } else { set_link_time(&temporary, mtime_ns) };
    timed.and_then(|()| std::fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

fn set_link_time(path: &Path, mtime_ns: i64) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
        },
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn an_unfinished_file_leaves_the_old_one_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let old = Target::create(&path, None).unwrap();
        old.write_at(b"old", 0).unwrap();
        old.finish(3, &Attributes { mode: 0o640, mtime_ns: 1_000_000_001, ..Attributes::default() }, false)
            .unwrap();
        let new = Target::create(&path, None).unwrap();
        new.write_at(b"new content", 0).unwrap();
        drop(new);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1, 1));
    }

    #[test]
    fn nothing_fetched_runs_with_the_rights_of_who_fetched_it() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("f"), dir.path().join("d"));
        let attributes = Attributes { mode: 0o7755, ..Attributes::default() };
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        Target::create(&file, None).unwrap().finish(0, &attributes, false).unwrap();
        assert_eq!(mode(&file), 0o755);
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        set_attributes(&file, &attributes).unwrap();
        assert_eq!(mode(&file), 0o755);
        std::fs::create_dir(&folder).unwrap();
        finish_folder(&folder, &attributes).unwrap();
        assert_eq!(mode(&folder), 0o1755);
    }

    #[test]
    fn temporary_names_are_known_and_no_others_are() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::create(&dir.path().join("f"), None).unwrap();
        assert!(is_temporary(&target.temporary), "{:?}", target.temporary);
        for other in [
            "f",
            ".larder-.part",
            ".larder-0123456789abcde.part",
            ".larder-0123456789abcdef0.part",
            ".larder-0123456789abcdeg.part",
            ".larder-0123456789ABCDEF.part",
            ".larder-0123456789abcdef.part.gz",
            "larder-0123456789abcdef.part",
        ] {
            assert!(!is_temporary(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_pipe_is_not_replaced_and_a_link_is_not_followed() {
        use std::os::unix::fs::FileTypeExt;
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(Target::create(&pipe, None).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(link(Path::new("x"), &pipe, 0).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        assert!(std::fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        let to_pipe = dir.path().join("to-pipe");
        link(&pipe, &to_pipe, -1).unwrap();
        Target::create(&to_pipe, None).unwrap().finish(0, &Attributes::default(), false).unwrap();
        assert!(std::fs::symlink_metadata(&to_pipe).unwrap().is_file());
        assert!(std::fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }

    #[test]
    fn zeros_become_a_hole_and_read_back_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let target = Target::create(&path, None).unwrap();
        target.write_at(&vec![0; 1 << 20], 0).unwrap();
        target.write_at(b"end", 1 << 20).unwrap();
        target.finish((1 << 20) + 3, &Attributes::default(), false).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), (1 << 20) + 3);
        assert!(bytes.ends_with(b"\0end"));
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 1 << 19);
    }
}
