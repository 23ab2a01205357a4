//! The file that a new vault's recovery code is written to before the vault becomes real. If it never does, the file holds a
//! code that opens nothing, and would be in the way of the next `larder up`.
//!
//! So that nobody has to tell it from a code that is somebody's only way in, a note in the state folder says which file it is
//! and what it holds. The note is there before the file, and gone before the vault's header gets its place: as long as
//! there is a note, the code in that file belongs to no vault. A file that holds anything else is never touched.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use larder_format::ids::BlobId;
use zeroize::Zeroizing;

use crate::atomic_file::{self, Existing};
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;

/// Longest note, in bytes: a hash and a path, which systems keep below 4 KiB.
const NOTE_LEN_MAX: usize = 8 << 10;

/// Writes the code of a vault that is not real yet.
///
/// # Errors
/// A conflict if the file is there; what the file system says.
pub fn write(folders: &Folders, path: &Path, code: &str) -> Outcome {
    let line = line(code);
    let whole = std::path::absolute(path).map_err(|e| Failure::io("find", path, &e))?;
    let mut note = BlobId::of(line.as_bytes()).0.to_vec();
    note.extend_from_slice(whole.as_os_str().as_bytes());
    atomic_file::write(&folders.unused_code_note(), &note, Existing::Replace)?;
    atomic_file::write(path, line.as_bytes(), Existing::Keep)
}

/// Says that the vault is about to become real: from here on its code is somebody's way in. A note that came back after a
/// power failure would make the next look take it for one that opens nothing.
///
/// # Errors
/// What the file system says.
pub fn counts(folders: &Folders) -> Outcome {
    atomic_file::remove(&folders.unused_code_note())
}

/// Removes the file with the code of a vault that never became real, if there is one.
///
/// # Errors
/// What the file system says.
pub fn clear_unused(folders: &Folders) -> Outcome {
    let Some(note) = atomic_file::read(&folders.unused_code_note(), NOTE_LEN_MAX)? else { return Ok(()) };
    if let Some((hash, path)) = note.split_first_chunk::<32>() {
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
        atomic_file::remove_if(&path, |held| BlobId::of(held).0 == *hash)?;
    }
    counts(folders)
}

/// Removes the file of a code that was made and came to nothing, unless it holds something else by now.
///
/// # Errors
/// What the file system says.
pub fn withdraw(path: &Path, code: &str) -> Outcome {
    atomic_file::remove_if(path, |held| held == line(code).as_bytes())
}

/// What the file holds.
pub fn line(code: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{code}\n"))
}
