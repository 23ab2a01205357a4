//! What a fetch that was interrupted leaves beside its target, and who may go on with it: a file that only its owner can
//! read, under a name that says which version of which file it is of, locked while somebody writes to it. Its bytes are
//! not trusted: whoever goes on hashes them.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::target::is_temporary;

/// Rests that nobody went on with for this long are removed by the next fetch into their folder.
pub const REST_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often the name is tried again because somebody finished or removed the file in between.
const OPEN_TRIES: u32 = 8;

/// A part that is ours to write to, as long as the file is open.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// It was there before.
    pub(super) found: bool,
}

/// Opens a part, or makes it. `None` if somebody else is at it, or what is there is not safe to go on with.
pub(super) fn open(path: &Path) -> Option<Part> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).ok()?;
    for _ in 0..OPEN_TRIES {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).mode(0o600).custom_flags(flags);
        let (file, found) = match options.create_new(true).open(path) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                (options.create_new(false).open(path).ok()?, true)
            }
            Err(_) => return None,
        };
        if file.try_lock().is_err() {
            return None;
        }
        // Whoever had the lock may have given the file its name meanwhile: then it is not a part any more.
        if is_still(&file, path) {
            return is_ours(&file).then(|| Part { path: path.to_path_buf(), file, found });
        }
    }
    None
}

fn is_still(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

/// A file of this user that nobody else can have open or reach by another name.
fn is_ours(file: &File) -> bool {
    let user = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|m| m.is_file() && m.uid() == user && m.nlink() == 1 && m.mode() & 0o077 == 0)
}

/// Removes rests that nobody went on with for [`REST_AGE_MAX`] from a folder. What cannot be removed stays.
pub fn remove_old(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !is_temporary(&path) {
            continue;
        }
        let old = |m: &std::fs::Metadata| {
            m.modified().ok().and_then(|t| t.elapsed().ok()).is_some_and(|age| age > REST_AGE_MAX)
        };
        if std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && old(&m))
            && let Some(part) = open(&path)
        {
            let _ = std::fs::remove_file(&part.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_at_a_time_and_only_what_is_safe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".larder-0123456789abcdef.part");
        let part = open(&path).unwrap();
        assert!(!part.found);
        assert!(open(&path).is_none(), "somebody is at it");
        drop(part);
        assert!(open(&path).unwrap().found);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(open(&path).is_none(), "others could have read it");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::hard_link(&path, dir.path().join("other")).unwrap();
        assert!(open(&path).is_none(), "it has another name");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("other", &path).unwrap();
        assert!(open(&path).is_none(), "a link leads elsewhere");
    }

    #[test]
    fn only_old_rests_that_nobody_is_at_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, hours: u64| {
            let path = dir.path().join(name);
            let file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
            (&file).write_all(b"x").unwrap();
            let time = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(hours * 3600);
            file.set_modified(time).unwrap();
            path
        };
        let old = make(".larder-0123456789abcdef.part", 25);
        let young = make(".larder-1123456789abcdef.part", 23);
        let busy = make(".larder-2123456789abcdef.part", 25);
        let other = make("f.part", 25);
        let at_work = open(&busy).unwrap();
        remove_old(dir.path());
        assert!(!old.exists());
        assert!(young.exists() && busy.exists() && other.exists());
        drop(at_work);
        remove_old(dir.path());
        assert!(!busy.exists());
    }
}
