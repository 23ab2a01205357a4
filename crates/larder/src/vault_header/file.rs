//! The header's file. A damaged one is told from a missing one and from one of a newer program: the first two are taken
//! back from the node's copy, the last is left alone.

use std::path::PathBuf;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_seal::header::{VAULT_HEADER_LEN_MAX, VaultHeader};

use crate::atomic_file::{self, Existing};
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;

/// What is in the header's place.
#[derive(Debug)]
pub enum Local {
    /// Nothing.
    Missing,
    /// A header. Whose, and how old, is not said.
    Whole(Box<VaultHeader>),
    /// Something that is no header any more, and why.
    Damaged(Failure),
}

impl Local {
    /// For messages: "is missing", "is damaged".
    pub fn trouble(&self) -> &'static str {
        match self {
            Local::Missing => "is missing",
            Local::Whole(_) => "is there",
            Local::Damaged(_) => "is damaged",
        }
    }
}

/// Looks at the file.
///
/// # Errors
/// Too new; what the file system says.
pub fn look(folders: &Folders) -> Outcome<Local> {
    let path = folders.vault_header_file();
    let bytes = match atomic_file::read(&path, VAULT_HEADER_LEN_MAX) {
        Ok(None) => return Ok(Local::Missing),
        Ok(Some(bytes)) => Bytes::from(bytes),
        // Larger than it can be.
        Err(failure) if failure.kind() == Some(Kind::Damaged) => return Ok(Local::Damaged(failure)),
        Err(failure) => return Err(failure),
    };
    match VaultHeader::decode(&bytes) {
        Ok(header) => Ok(Local::Whole(Box::new(header))),
        Err(error) if error.kind() == Kind::TooNew => {
            let failure = Failure::new(Kind::TooNew, format!("{}: {error}", shown(&path)));
            Err(failure.hint("upgrade larder"))
        }
        Err(error) => {
            let message = format!("{} is damaged: {error}", shown(&path));
            Ok(Local::Damaged(Failure::new(Kind::Damaged, message)))
        }
    }
}

/// Reads the header; `None` if there is no vault yet.
///
/// # Errors
/// Damaged, too new, or what the file system says.
pub fn read(folders: &Folders) -> Outcome<Option<VaultHeader>> {
    match look(folders)? {
        Local::Missing => Ok(None),
        Local::Whole(header) => Ok(Some(*header)),
        Local::Damaged(failure) => Err(failure.hint("larder up takes the node's copy of it")),
    }
}

/// Reads the header of a vault that must be there.
///
/// # Errors
/// Not found; as [`read`].
pub fn read_existing(folders: &Folders) -> Outcome<VaultHeader> {
    read(folders)?.ok_or_else(|| Failure::new(Kind::NotFound, "there is no vault yet").hint("larder up"))
}

/// Puts a header in its place.
///
/// # Errors
/// A conflict with [`Existing::Keep`] if there is one already; what the file system says.
pub fn put(folders: &Folders, header: &[u8], existing: Existing) -> Outcome {
    atomic_file::write(&folders.vault_header_file(), header, existing)
}

/// Moves what is damaged aside, where somebody may still look at it. Answers where to.
///
/// # Errors
/// What the file system says.
pub fn set_aside(folders: &Folders) -> Outcome<PathBuf> {
    let path = folders.vault_header_file();
    let aside = path.with_extension("header.damaged");
    std::fs::rename(&path, &aside).map_err(|e| Failure::io("move aside", &path, &e))?;
    Ok(aside)
}
