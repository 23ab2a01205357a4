//! What a record's head says once it is opened: the name of a thing and what a listing shows of it.
//!
//! Four things have heads: an entry of a directory (a file, a symbolic link or a child directory), a
//! directory's own record, and a sealed value. A head is small ([`HEAD_PLAIN_LEN_MAX`]), because listings read
//! heads and nothing else. The content is in the body: see [`crate::manifest`].

use std::fmt;

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::NAME_LEN_MAX;
use crate::record::unknown_format;

/// Version of the head layout that this program writes.
pub const HEAD_FORMAT: u8 = 1;

/// Longest encoded head, in bytes: with its length field it pads to at most 3,968 bytes, which sealed
/// fits [`crate::limits::HEAD_LEN_MAX`].
pub const HEAD_PLAIN_LEN_MAX: usize = 3964;

/// Longest content type, in bytes (RFC 6838 allows 127 each side of the slash).
pub const CONTENT_TYPE_LEN_MAX: usize = 255;

/// Most custom attributes of one thing.
pub const CUSTOM_ATTRIBUTES_MAX: usize = 64;

/// Longest name of a custom attribute, in bytes.
pub const CUSTOM_NAME_LEN_MAX: usize = 128;

/// Longest value of a custom attribute, in bytes.
pub const CUSTOM_VALUE_LEN_MAX: usize = 2048;

/// A file's identity: random, kept through renames, moves and versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub [u8; 16]);

/// A directory's identity: random, kept through renames and moves; the root's follows from the vault root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirId(pub [u8; 16]);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Display for DirId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileKind {
    /// Bytes.
    File = 1,
    /// A symbolic link; its content is the target.
    Symlink = 2,
}

impl FileKind {
    /// From its byte.
    ///
    /// # Errors
    /// [`DecodeError::BadValue`] for bytes not given out.
    pub fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::File),
            2 => Ok(Self::Symlink),
            _ => Err(DecodeError::BadValue { field: "file kind", value: byte.into() }),
        }
    }
}

/// Attributes of a file, a link or a value. They are signed with the content; the name is not among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Unix permission bits and file type as `st_mode` has them; 0: not known.
    pub mode: u32,
    /// Time of last modification, in nanoseconds since 1970 (negative: before); 0: not known.
    pub mtime_ns: i64,
    /// Media type, for instance `text/plain`; empty: not known.
    pub content_type: String,
    /// Custom attributes, sorted by name without repeats; at most [`CUSTOM_ATTRIBUTES_MAX`].
    pub custom: Vec<(String, Bytes)>,
}

/// Attributes, or a head as a whole, that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// A field is above its limit.
    #[error("too long for a head field={field} len={len} max={max}")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Length given.
        len: usize,
        /// Limit.
        max: usize,
    },
    /// Custom attributes are not sorted by name, or one is there twice.
    #[error("custom attributes must be sorted by name without repeats name={name:?}")]
    CustomOrder {
        /// The first name out of order.
        name: String,
    },
}

impl Attributes {
    /// Checks every field against its limit.
    ///
    /// # Errors
    /// [`BadHead`] names the first that does not fit.
    pub fn check(&self) -> Result<(), BadHead> {
        within("content type", self.content_type.len(), CONTENT_TYPE_LEN_MAX)?;
        within("custom attributes", self.custom.len(), CUSTOM_ATTRIBUTES_MAX)?;
        for (i, (name, value)) in self.custom.iter().enumerate() {
            within("custom attribute name", name.len(), CUSTOM_NAME_LEN_MAX)?;
            within("custom attribute value", value.len(), CUSTOM_VALUE_LEN_MAX)?;
            if i > 0 && self.custom[i - 1].0 >= *name {
                return Err(BadHead::CustomOrder { name: name.clone() });
            }
        }
        Ok(())
    }

    /// The attributes' bytes, as they stand in a head and as they are hashed for the signature.
    pub fn encode_into(&self, w: &mut Writer) {
        w.u32(self.mode).u64(self.mtime_ns.cast_unsigned());
        w.bytes(self.content_type.as_bytes()).count(self.custom.len());
        for (name, value) in &self.custom {
            w.bytes(name.as_bytes()).bytes(value);
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let mode = r.u32("mode")?;
        let mtime_ns = r.u64("mtime")?.cast_signed();
        let content_type = r.string("content type", CONTENT_TYPE_LEN_MAX)?;
        let count = r.count("custom attributes", CUSTOM_ATTRIBUTES_MAX, 8)?;
        let mut custom: Vec<(String, Bytes)> = Vec::with_capacity(count);
        for i in 0..count {
            let name = r.string("custom attribute name", CUSTOM_NAME_LEN_MAX)?;
            if custom.last().is_some_and(|(last, _)| *last >= name) {
                return Err(DecodeError::BadValue { field: "custom attribute order", value: i as u64 });
            }
            custom.push((name, r.bytes("custom attribute value", CUSTOM_VALUE_LEN_MAX)?));
        }
        Ok(Self { mode, mtime_ns, content_type, custom })
    }
}

/// Whether a directory takes new entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DirState {
    /// It does.
    Open = 1,
    /// Its deletion has begun: creating in it is refused; it goes when it is empty.
    Closing = 2,
}

/// An entry's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryTarget {
    /// A file or link; its manifest is the record's body.
    File {
        /// Its identity.
        id: FileId,
        /// File or link.
        kind: FileKind,
        /// Length of the content, in bytes. The signed manifest says it too; they must agree.
        size: u64,
        /// Mode, time, type, custom attributes.
        attributes: Attributes,
    },
    /// A child directory.
    Directory {
        /// Its identity; its own record says where it really hangs.
        id: DirId,
        /// Mode, time, custom attributes. Not signed: a folder has no manifest.
        attributes: Attributes,
    },
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory.
    pub name: String,
    /// How often it was moved; of two entries with one identity the higher counts.
    pub moves: u64,
    /// What it names.
    pub target: EntryTarget,
}

/// A directory's own record: where it hangs and whether it takes entries. Entries elsewhere that claim it and
/// disagree with this are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Its identity.
    pub id: DirId,
    /// The directory it hangs in; the root hangs in itself.
    pub parent: DirId,
    /// Its name there; empty for the root.
    pub name: String,
    /// How often it was moved.
    pub moves: u64,
    /// Open or closing.
    pub state: DirState,
}

/// A move of a directory that is under way. One record of the vault holds it, so that only one directory is moved at a
/// time and no cycle can arise; whoever finds one whose time is up finishes or undoes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovePlan {
    /// The directory that is moved.
    pub folder: DirId,
    /// The directory it hangs in at first.
    pub from: DirId,
    /// Its name there.
    pub from_name: String,
    /// The directory it is to hang in.
    pub to: DirId,
    /// Its name there.
    pub to_name: String,
    /// The node's time in milliseconds from which on others may finish or undo it.
    pub deadline_ms: u64,
}

/// The head of a sealed value; the value's bytes are the record's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueHead {
    /// Its name.
    pub name: String,
    /// Content type and custom attributes; mode and time are usually 0.
    pub attributes: Attributes,
}

/// A decoded head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// An entry of a directory.
    Entry(Entry),
    /// A directory's own record.
    Directory(Directory),
    /// A sealed value.
    Value(ValueHead),
    /// A move of a directory.
    Move(MovePlan),
}

impl Head {
    /// The head's bytes.
    ///
    /// # Errors
    /// [`BadHead`] if a field or the whole does not fit.
    pub fn encode(&self) -> Result<Bytes, BadHead> {
        let mut w = Writer::with_capacity(256);
        w.u8(HEAD_FORMAT);
        match self {
            Self::Entry(entry) => {
                within("name", entry.name.len(), NAME_LEN_MAX)?;
                match &entry.target {
                    EntryTarget::File { id, kind, size, attributes } => {
                        attributes.check()?;
                        w.u8(*kind as u8).bytes(entry.name.as_bytes()).u64(entry.moves);
                        w.raw(&id.0).u64(*size);
                        attributes.encode_into(&mut w);
                    }
                    EntryTarget::Directory { id, attributes } => {
                        attributes.check()?;
                        w.u8(HEAD_CHILD_DIRECTORY).bytes(entry.name.as_bytes()).u64(entry.moves);
                        w.raw(&id.0);
                        attributes.encode_into(&mut w);
                    }
                }
            }
            Self::Directory(dir) => {
                within("name", dir.name.len(), NAME_LEN_MAX)?;
                w.u8(HEAD_DIRECTORY).bytes(dir.name.as_bytes()).u64(dir.moves);
                w.raw(&dir.id.0).raw(&dir.parent.0).u8(dir.state as u8);
            }
            Self::Value(value) => {
                within("name", value.name.len(), NAME_LEN_MAX)?;
                value.attributes.check()?;
                w.u8(HEAD_VALUE).bytes(value.name.as_bytes());
                value.attributes.encode_into(&mut w);
            }
            Self::Move(plan) => {
                within("name", plan.to_name.len(), NAME_LEN_MAX)?;
                within("name", plan.from_name.len(), NAME_LEN_MAX)?;
                w.u8(HEAD_MOVE).bytes(plan.to_name.as_bytes());
                w.raw(&plan.folder.0).raw(&plan.from.0).bytes(plan.from_name.as_bytes());
                w.raw(&plan.to.0).u64(plan.deadline_ms);
            }
        }
        within("head", w.len(), HEAD_PLAIN_LEN_MAX)?;
        Ok(w.finish())
    }

    /// Reads what [`Head::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > HEAD_PLAIN_LEN_MAX {
            return Err(DecodeError::TooLong { field: "head", len: bytes.len(), max: HEAD_PLAIN_LEN_MAX });
        }
        let mut r = Reader::new(bytes);
        let format = r.u8("head format")?;
        if format != HEAD_FORMAT {
            return Err(unknown_format("head", format, HEAD_FORMAT));
        }
        let kind = r.u8("head kind")?;
        let name = r.string("name", NAME_LEN_MAX)?;
        let head = match kind {
            HEAD_DIRECTORY => {
                let moves = r.u64("moves")?;
                let id = DirId(r.array("directory id")?);
                let parent = DirId(r.array("parent id")?);
                let state = match r.u8("directory state")? {
                    1 => DirState::Open,
                    2 => DirState::Closing,
                    other => {
                        return Err(DecodeError::BadValue { field: "directory state", value: other.into() });
                    }
                };
                Self::Directory(Directory { id, parent, name, moves, state })
            }
            HEAD_CHILD_DIRECTORY => {
                let moves = r.u64("moves")?;
                let id = DirId(r.array("directory id")?);
                let attributes = Attributes::decode(&mut r)?;
                Self::Entry(Entry { name, moves, target: EntryTarget::Directory { id, attributes } })
            }
            HEAD_MOVE => {
                let folder = DirId(r.array("directory id")?);
                let from = DirId(r.array("parent id")?);
                let from_name = r.string("name", NAME_LEN_MAX)?;
                let to = DirId(r.array("parent id")?);
                let deadline_ms = r.u64("deadline")?;
                Self::Move(MovePlan { folder, from, from_name, to, to_name: name, deadline_ms })
            }
            HEAD_VALUE => Self::Value(ValueHead { name, attributes: Attributes::decode(&mut r)? }),
            other => {
                let kind = FileKind::from_byte(other)?;
                let moves = r.u64("moves")?;
                let id = FileId(r.array("file id")?);
                let size = r.u64("size")?;
                let attributes = Attributes::decode(&mut r)?;
                Self::Entry(Entry { name, moves, target: EntryTarget::File { id, kind, size, attributes } })
            }
        };
        r.finish()?;
        Ok(head)
    }

    /// The name it carries.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Entry(entry) => &entry.name,
            Self::Directory(dir) => &dir.name,
            Self::Value(value) => &value.name,
            Self::Move(plan) => &plan.to_name,
        }
    }
}

// Kinds of head beyond the file kinds, which are heads of their own (1 and 2).
const HEAD_CHILD_DIRECTORY: u8 = 3;
const HEAD_DIRECTORY: u8 = 4;
const HEAD_VALUE: u8 = 5;
const HEAD_MOVE: u8 = 6;

fn within(field: &'static str, len: usize, max: usize) -> Result<(), BadHead> {
    if len > max { Err(BadHead::TooLong { field, len, max }) } else { Ok(()) }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
