//! Small files that are either the old ones or the new ones, also after a power cut: written beside, synced,
//! renamed or linked into place, folder synced. And reading them back without trusting their size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use larder_format::error::Kind;
use larder_format::rng::{Rng, SystemRng};

use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, shown};

/// What to do when the file is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Put the new one in its place.
    Replace,
    /// Leave it alone and fail with a conflict.
    Keep,
}

/// Writes a whole file that only this user may read (0600).
///
/// # Errors
/// A conflict with [`Existing::Keep`] if the file is there; otherwise what the file system says. Nothing is left
/// behind.
pub fn write(path: &Path, bytes: &[u8], existing: Existing) -> Outcome {
    let beside = beside(path)?;
    let result = write_beside(&beside, bytes).and_then(|()| match existing {
        Existing::Replace => fs::rename(&beside, path),
        Existing::Keep => rename_to_new(&beside, path),
    });
    if let Err(error) = result {
        // It may never have come into being; there is nothing better to do than to try.
        let _ = fs::remove_file(&beside);
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Err(Failure::new(Kind::Conflict, format!("{} is there already", shown(path))));
        }
        return Err(Failure::io("write", path, &error));
    }
    sync_folder(path)
}

/// Reads a whole file of at most `len_max` bytes; `None` if there is none.
///
/// # Errors
/// What the file system says, or damage if the file is larger than it can be.
pub fn read(path: &Path, len_max: usize) -> Outcome<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io("read", path, &error)),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(len_max).unwrap_or(u64::MAX).saturating_add(1);
    (&file).take(limit).read_to_end(&mut bytes).map_err(|e| Failure::io("read", path, &e))?;
    if bytes.len() > len_max {
        let message = format!("{} is larger than it can be len_max={len_max}", shown(path));
        return Err(Failure::new(Kind::Damaged, message));
    }
    Ok(Some(bytes))
}

/// Longest file that [`remove_if`] looks at, in bytes: what this program writes for people is a code, or a page with one.
const JUDGED_LEN_MAX: usize = 16 << 10;

/// Removes a plain file if what it holds is what it is meant to hold. What is not there, or cannot be read, stays.
///
/// # Errors
/// What the file system says of removing it.
pub fn remove_if(path: &Path, is_it: impl FnOnce(&[u8]) -> bool) -> Outcome {
    // Opening a pipe would wait for whoever writes to it.
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    let Ok(Some(held)) = read(path, JUDGED_LEN_MAX) else { return Ok(()) };
    if !is_it(&Zeroizing::new(held)) {
        return Ok(());
    }
    remove(path)
}

/// Removes a file, so that it stays gone if the power fails right after. One that is not there is gone.
///
/// # Errors
/// What the file system says.
pub fn remove(path: &Path) -> Outcome {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io("remove", path, &error)),
    }
}

fn beside(path: &Path) -> Outcome<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| Failure::invalid(format!("{} does not name a file", shown(path))))?
        .to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{:016x}", SystemRng.u64())))
}

/// Renames where nothing is. File systems without second names, as sticks have them, can do that; those that cannot have
/// second names: a hard link, too, fails where a rename would replace.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
        }
        renamed => Ok(renamed?),
    }
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> Outcome {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Failure::io("sync", folder, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_or_keeps_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, b"one", Existing::Keep).unwrap();
        let failure = write(&path, b"two", Existing::Keep).unwrap_err();
        assert_eq!(failure.kind(), Some(Kind::Conflict));
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"one");
        write(&path, b"three", Existing::Replace).unwrap();
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_a_plain_file_that_holds_the_right_thing_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        remove_if(&path, |_| true).unwrap();
        remove_if(dir.path(), |_| true).unwrap();
        write(&path, b"one", Existing::Keep).unwrap();
        remove_if(&path, |held| held == b"two").unwrap();
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"one");
        remove_if(&path, |held| held == b"one").unwrap();
        assert_eq!(read(&path, 5).unwrap(), None);
        remove(&path).unwrap();
        assert!(remove(dir.path()).is_err(), "a folder stays");
    }

    #[test]
    fn a_missing_file_is_none_and_a_huge_one_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(read(&path, 4).unwrap(), None);
        write(&path, b"12345", Existing::Replace).unwrap();
        assert_eq!(read(&path, 4).unwrap_err().kind(), Some(Kind::Damaged));
    }
}
