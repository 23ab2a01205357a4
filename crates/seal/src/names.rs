//! Names: what a person may call things, and the blinded record keys under which nodes see them.
//!
//! An entry's key is 16 bytes that depend on its directory and 16 that depend on directory and name: a listing is
//! one prefix scan, moving a directory touches none of its children, and a node learns how many entries a
//! directory has and nothing of their names. The names themselves are in the sealed heads.

use larder_format::error::Kind;
use larder_format::head::DirId;
use larder_format::ids::NamespaceId;
use larder_format::limits::NAME_LEN_MAX;
use larder_format::record::Version;
use thiserror::Error;

use crate::keys::VaultRoot;
use crate::primitives::MacKey;

/// Length of a sealed record key, in bytes.
pub const SEALED_KEY_LEN: usize = 32;

/// Length of an older version's record key, in bytes: entry key, then the version.
pub const VERSION_KEY_LEN: usize = SEALED_KEY_LEN + 8;

/// Length of what all keys of one directory begin with, in bytes.
pub const DIR_PREFIX_LEN: usize = 16;

/// A blinded record key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealedKey(pub [u8; SEALED_KEY_LEN]);

/// A name that a file, directory or value cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadName {
    /// No characters.
    #[error("a name cannot be empty")]
    Empty,
    /// `.` or `..`.
    #[error("a name cannot be {name:?}: it means a directory itself or the one above")]
    Dots {
        /// The name.
        name: &'static str,
    },
    /// Too many bytes.
    #[error("the name is too long len={len} max={NAME_LEN_MAX} (bytes of UTF-8)")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A slash, which separates names in a path.
    #[error("a name cannot contain a slash offset={offset}")]
    Slash {
        /// Where, in bytes.
        offset: usize,
    },
    /// A NUL or another control character.
    #[error("a name cannot contain control characters character=U+{character:04X} offset={offset}")]
    Control {
        /// The character.
        character: u32,
        /// Where, in bytes.
        offset: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("a name must be valid UTF-8 offset={offset}")]
    NotUtf8 {
        /// Where the first bad byte is.
        offset: usize,
    },
}

impl BadName {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// Checks one component of a path. Everything else is allowed: spaces, emoji, backslashes, any case.
///
/// # Errors
/// [`BadName`] says what is wrong and where.
pub fn check_name(name: &str) -> Result<(), BadName> {
    match name {
        "" => return Err(BadName::Empty),
        "." => return Err(BadName::Dots { name: "." }),
        ".." => return Err(BadName::Dots { name: ".." }),
        _ => {}
    }
    if name.len() > NAME_LEN_MAX {
        return Err(BadName::TooLong { len: name.len() });
    }
    for (offset, character) in name.char_indices() {
        if character == '/' {
            return Err(BadName::Slash { offset });
        }
        if character.is_control() {
            return Err(BadName::Control { character: character.into(), offset });
        }
    }
    Ok(())
}

/// Checks a name that comes as bytes, as file systems have them.
///
/// # Errors
/// As [`check_name`], and [`BadName::NotUtf8`].
pub fn check_name_bytes(name: &[u8]) -> Result<&str, BadName> {
    let name = std::str::from_utf8(name).map_err(|e| BadName::NotUtf8 { offset: e.valid_up_to() })?;
    check_name(name)?;
    Ok(name)
}

/// Checks the name of a value. Slashes are allowed there: values have no directories.
///
/// # Errors
/// As [`check_name`], slashes and dots aside.
pub fn check_value_name(name: &str) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.len() > NAME_LEN_MAX {
        return Err(BadName::TooLong { len: name.len() });
    }
    match name.char_indices().find(|(_, c)| c.is_control()) {
        Some((offset, character)) => Err(BadName::Control { character: character.into(), offset }),
        None => Ok(()),
    }
}

/// Makes the record keys of one vault.
pub struct NameKeys {
    names: MacKey,
    values: MacKey,
    root_dir: DirId,
}

impl std::fmt::Debug for NameKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameKeys(…)")
    }
}

impl NameKeys {
    /// For an open vault.
    #[must_use]
    pub fn new(root: &VaultRoot) -> Self {
        Self {
            names: MacKey::new(&root.derive("names")),
            values: MacKey::new(&root.derive("value-names")),
            root_dir: root.root_dir(),
        }
    }

    /// The root directory.
    #[must_use]
    pub fn root_dir(&self) -> DirId {
        self.root_dir
    }

    /// What all keys of a directory begin with: scan for it to list.
    #[must_use]
    pub fn dir_prefix(&self, dir: DirId) -> [u8; DIR_PREFIX_LEN] {
        first_half(self.names.mac(&[b"dir\0", &dir.0]))
    }

    /// The key of an entry.
    #[must_use]
    pub fn entry_key(&self, dir: DirId, name: &str) -> SealedKey {
        self.under(dir, self.names.mac(&[b"entry\0", &dir.0, name.as_bytes()]))
    }

    /// The key of a directory's own record. It has the directory's prefix, so that one scan brings the
    /// directory's state with its entries.
    #[must_use]
    pub fn directory_key(&self, dir: DirId) -> SealedKey {
        self.under(dir, self.names.mac(&[b"self\0", &dir.0]))
    }

    /// The key of the record that serialises moves of directories.
    #[must_use]
    pub fn moves_key(&self) -> SealedKey {
        SealedKey(self.names.mac(&[b"moves\0"]))
    }

    /// The key of the record that holds the vault's retention rules.
    #[must_use]
    pub fn retention_key(&self) -> SealedKey {
        SealedKey(self.names.mac(&[b"retention\0"]))
    }

    /// The key of a value. Values share no prefix, so they spread over all partitions.
    #[must_use]
    pub fn value_key(&self, namespace: NamespaceId, name: &str) -> SealedKey {
        SealedKey(self.values.mac(&[b"value\0", &namespace.0.to_le_bytes(), name.as_bytes()]))
    }

    fn under(&self, dir: DirId, second: [u8; 32]) -> SealedKey {
        let mut key = [0; SEALED_KEY_LEN];
        key[..DIR_PREFIX_LEN].copy_from_slice(&self.dir_prefix(dir));
        key[DIR_PREFIX_LEN..].copy_from_slice(&second[..SEALED_KEY_LEN - DIR_PREFIX_LEN]);
        SealedKey(key)
    }
}

impl SealedKey {
    /// The key under which the version that this record once had is kept. Versions of one entry sort by age
    /// and share its prefix.
    #[must_use]
    pub fn version_key(&self, version: Version) -> [u8; VERSION_KEY_LEN] {
        let mut key = [0; VERSION_KEY_LEN];
        key[..SEALED_KEY_LEN].copy_from_slice(&self.0);
        key[SEALED_KEY_LEN..].copy_from_slice(&version.to_u64().to_be_bytes());
        key
    }

    /// Takes a stored key apart: the entry's key, and the version if it is an older version's. `None` for keys
    /// of other lengths.
    #[must_use]
    pub fn parse(key: &[u8]) -> Option<(Self, Option<Version>)> {
        let (entry, version) = key.split_at_checked(SEALED_KEY_LEN)?;
        let entry = Self(entry.try_into().ok()?);
        if version.is_empty() {
            return Some((entry, None));
        }
        let version = u64::from_be_bytes(version.try_into().ok()?);
        Some((entry, Some(Version::from_u64(version))))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn first_half(mac: [u8; 32]) -> [u8; DIR_PREFIX_LEN] {
    let mut out = [0; DIR_PREFIX_LEN];
    out.copy_from_slice(&mac[..DIR_PREFIX_LEN]);
    out
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
