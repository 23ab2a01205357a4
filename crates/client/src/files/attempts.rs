//! Uploads that are under way, noted on this machine: an upload that is killed leaves its lease on the node, so that the
//! next try finds what was sent; once that next try is in place, the leases of those before it are given up, and nothing
//! keeps their blobs but what is stored.
//!
//! One empty file per upload, named by the record's key (a keyed hash, which the node sees too) and the lease's token,
//! and locked while its upload lives. Losing these files loses space until the leases' deadline, and nothing else.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_format::ids::LeaseToken;
use larder_seal::names::SealedKey;
use parking_lot::Mutex;

/// A note older than this is of no use: the lease it names has ended. An hour above the longest lease.
const NOTE_AGE_MAX: Duration = Duration::from_secs(26 * 3600);

/// Leases and files of notes, by the names of their records' keys.
type Notes = HashMap<String, Vec<(LeaseToken, PathBuf)>>;

/// The notes of one machine.
#[derive(Debug)]
pub(crate) struct Attempts {
    folder: Option<PathBuf>,
    /// Notes of this process, whose files are locked as long as they are open.
    own: Mutex<HashMap<LeaseToken, (PathBuf, File)>>,
    /// Notes that others had made when this one first looked, by their keys' names. Looked for once: a tree of fifty
    /// thousand files would otherwise list the folder as often. Who is killed later is found by whoever comes next.
    others: Mutex<Option<Notes>>,
}

impl Attempts {
    /// In this folder, which is made when it is first needed; `None`: notes nothing.
    pub(crate) fn in_folder(folder: Option<PathBuf>) -> Self {
        Self { folder, own: Mutex::default(), others: Mutex::default() }
    }

    /// Notes an upload. Without room for a note it goes on without: then its lease ends at its deadline only.
    pub(crate) fn begin(&self, key: SealedKey, token: LeaseToken) {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let Some(folder) = &self.folder else { return };
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        // Locked before it has its name: whoever finds it free would take this upload for a dead one.
        let (new, path) =
            (folder.join(format!("{token}.new")), folder.join(format!("{}.{token}", hex(key.as_bytes()))));
        let Ok(file) = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new) else {
            return;
        };
        if file.try_lock().is_ok() && std::fs::rename(&new, &path).is_ok() {
            self.own.lock().insert(token, (path, file));
        } else {
            let _ = std::fs::remove_file(new);
        }
    }

    /// Forgets an upload, because its lease is listed or given up.
    pub(crate) fn ended(&self, token: LeaseToken) {
        if let Some((path, _file)) = self.own.lock().remove(&token) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Leases of uploads to this key that were killed. Their notes are taken over by this process.
    pub(crate) fn left_over(&self, key: SealedKey) -> Vec<LeaseToken> {
        let mut others = self.others.lock();
        let others = others.get_or_insert_with(|| self.notes_of_others());
        if others.is_empty() {
            return Vec::new();
        }
        let name = hex(key.as_bytes());
        let Some(notes) = others.remove(&name) else { return Vec::new() };
        let mut tokens = Vec::new();
        let mut alive = Vec::new();
        for (token, path) in notes {
            let Ok(file) = File::open(&path) else { continue };
            // Locked: whoever does this upload lives.
            if file.try_lock().is_err() {
                alive.push((token, path));
            } else if path.exists() {
                self.own.lock().insert(token, (path, file));
                tokens.push(token);
            }
        }
        if !alive.is_empty() {
            others.insert(name, alive);
        }
        tokens
    }

    /// What lies in the folder and is not this process's own; removes what is too old to be of use.
    fn notes_of_others(&self) -> Notes {
        let entries = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let mut notes = Notes::new();
        for entry in entries.into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if remove_if_old(&path) {
                continue;
            }
            let Some((key, token)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            let Ok(token) = token.parse() else { continue };
            if !self.own.lock().contains_key(&token) {
                notes.entry(key.to_owned()).or_default().push((token, path));
            }
        }
        notes
    }
}

/// Whether it was too old, and is gone.
fn remove_if_old(path: &Path) -> bool {
    let age = std::fs::symlink_metadata(path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_some_and(|age| age > NOTE_AGE_MAX) && std::fs::remove_file(path).is_ok()
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dead_uploads_to_the_same_key_are_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("uploads");
        let (key, other) = (SealedKey::parse(&[1; 32]).unwrap().0, SealedKey::parse(&[2; 32]).unwrap().0);
        let killed = Attempts::in_folder(Some(folder.clone()));
        killed.begin(key, LeaseToken([1; _]));
        killed.begin(other, LeaseToken([2; _]));
        let alive = Attempts::in_folder(Some(folder.clone()));
        assert!(alive.left_over(key).is_empty(), "it lives");
        drop(killed);
        alive.begin(key, LeaseToken([3; _]));
        let tokens = alive.left_over(key);
        assert_eq!(tokens, [LeaseToken([1; _])]);
        for token in [1, 3] {
            alive.ended(LeaseToken([token; _]));
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "that of the other key stays");
    }

    #[test]
    fn an_upload_that_just_begins_is_not_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("uploads");
        let key = SealedKey::parse(&[1; 32]).unwrap().0;
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let uploads = Attempts::in_folder(Some(folder.clone()));
                for number in 0..5_000_u16 {
                    let mut token = [0; 16];
                    token[..2].copy_from_slice(&number.to_le_bytes());
                    uploads.begin(key, LeaseToken(token));
                    uploads.ended(LeaseToken(token));
                }
                done.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut looks = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                let found = Attempts::in_folder(Some(folder.clone())).left_over(key);
                assert!(found.is_empty(), "taken for dead after {looks} looks: {found:?}");
                looks += 1;
            }
        });
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}
