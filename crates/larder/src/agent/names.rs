//! What commands ask of the agent's index of names, and what it answers: as types and as bytes.
//!
//! An answer fits one frame: a page ends when it is full, and says where to go on.

use larder_client::feed::FeedPosition;
use larder_client::files::{Listed, ListedKind};
use larder_client::index::{Change, ChangeKind, Filter, IndexStatus, Thing};
use larder_client::path::VaultPath;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::head::{
    Attributes, CONTENT_TYPE_LEN_MAX, CUSTOM_ATTRIBUTES_MAX, CUSTOM_NAME_LEN_MAX, CUSTOM_VALUE_LEN_MAX,
    DirId, FileId,
};
use larder_format::limits::{NAME_LEN_MAX, PATH_LEN_MAX};
use larder_format::record::{Expiry, Version};

/// Bytes of a page after which it ends: with the largest entry or change it still fits a frame.
pub const PAGE_LEN: usize = 80 * 1024;
/// Most entries or changes of a page: the smallest that fit [`PAGE_LEN`].
const PAGE_ITEMS_MAX: usize = 4096;
/// Longest wait for a change that may be asked for, in milliseconds: below what either side waits for the other.
pub const WAIT_MS_MAX: u32 = 5_000;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A folder's entries by name, after one of them or from the first, at most so many.
    List { folder: VaultPath, after: Option<String>, most: u32 },
    /// What is below a folder by path, after a path or from the first, at most so many.
    Find { folder: VaultPath, after: Option<VaultPath>, most: u32, filter: Box<Filter> },
    /// Changes after a position or after now, waiting so long for the first.
    Changes { top: VaultPath, after: Option<FeedPosition>, wait_ms: u32 },
    /// What the index is like.
    Status,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The index does not know, or does not know yet: ask the node.
    AskNode,
    /// Some entries.
    Page(Page),
    /// Some changes.
    Changes { changes: Vec<(FeedPosition, Change)>, next: FeedPosition, reset: bool },
    /// What the index is like.
    Status(IndexStatus),
}

/// Some entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Listed>,
    /// The name or path to go on after; `None` at the end.
    pub next: Option<String>,
    /// Records below that cannot be read.
    pub unreadable: u64,
    /// The node's time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// About how many bytes an entry takes in a page.
pub fn entry_len(listed: &Listed) -> usize {
    let custom: usize =
        listed.attributes.custom.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
    let path: usize = listed.path.names().iter().map(|name| name.len() + 1).sum();
    path + custom + listed.attributes.content_type.len() + 80
}

/// About how many bytes a change takes in a page.
pub fn change_len(change: &Change) -> usize {
    change.path.len() + change.from.as_ref().map_or(0, String::len) + 64
}

impl Ask {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::List { folder, after, most } => {
                w.u8(1).bytes(folder.to_string().as_bytes());
                text(&mut w, after.as_deref());
                w.u32(*most);
            }
            Self::Find { folder, after, most, filter } => {
                w.u8(2).bytes(folder.to_string().as_bytes());
                text(&mut w, after.as_ref().map(VaultPath::to_string).as_deref());
                w.u32(*most);
                filter.encode_into(&mut w);
            }
            Self::Changes { top, after, wait_ms } => {
                w.u8(3).bytes(top.to_string().as_bytes()).u8(u8::from(after.is_some()));
                position(&mut w, after.unwrap_or(FeedPosition { life: 0, sequence: 0 }));
                w.u32(*wait_ms);
            }
            Self::Status => {
                w.u8(4);
            }
        }
        w.finish().to_vec()
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes::Bytes::copy_from_slice(bytes));
        let r = &mut r;
        let ask = match r.u8("question")? {
            1 => Self::List {
                folder: read_path(r)?,
                after: read_text(r, "after", NAME_LEN_MAX)?,
                most: r.u32("most")?,
            },
            2 => {
                let folder = read_path(r)?;
                let after = read_text(r, "after", PATH_LEN_MAX)?;
                let after = after.map(|text| parse_path(&text)).transpose()?;
                let most = r.u32("most")?;
                Self::Find { folder, after, most, filter: Box::new(Filter::decode(r)?) }
            }
            3 => {
                let top = read_path(r)?;
                let there = r.u8("after")? != 0;
                let after = read_position(r)?;
                let wait_ms = r.u32("wait")?.min(WAIT_MS_MAX);
                Self::Changes { top, after: there.then_some(after), wait_ms }
            }
            4 => Self::Status,
            other => return Err(DecodeError::BadValue { field: "question", value: other.into() }),
        };
        end(r)?;
        Ok(ask)
    }
}

impl Answer {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::AskNode => {
                w.u8(1);
            }
            Self::Page(page) => {
                w.u8(2).count(page.entries.len());
                page.entries.iter().for_each(|listed| write_entry(&mut w, listed));
                text(&mut w, page.next.as_deref());
                w.u64(page.unreadable).u64(page.now_ms);
            }
            Self::Changes { changes, next, reset } => {
                w.u8(3).count(changes.len());
                for (at, change) in changes {
                    position(&mut w, *at);
                    write_change(&mut w, change);
                }
                position(&mut w, *next);
                w.u8(u8::from(*reset));
            }
            Self::Status(status) => {
                w.u8(4).u8(u8::from(status.ready));
                w.u64(status.entries).u64(status.bytes).u64(status.scan_ms);
            }
        }
        w.finish().to_vec()
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes::Bytes::copy_from_slice(bytes));
        let r = &mut r;
        let answer = match r.u8("answer")? {
            1 => Self::AskNode,
            2 => {
                let count = r.count("entries", PAGE_ITEMS_MAX, 60)?;
                let entries = (0..count).map(|_| read_entry(r)).collect::<Result<_, _>>()?;
                let next = read_text(r, "next", PATH_LEN_MAX)?;
                let (unreadable, now_ms) = (r.u64("unreadable")?, r.u64("now")?);
                Self::Page(Page { entries, next, unreadable, now_ms })
            }
            3 => {
                let count = r.count("changes", PAGE_ITEMS_MAX, 40)?;
                let mut changes = Vec::with_capacity(count);
                for _ in 0..count {
                    changes.push((read_position(r)?, read_change(r)?));
                }
                let next = read_position(r)?;
                Self::Changes { changes, next, reset: r.u8("reset")? != 0 }
            }
            4 => Self::Status(IndexStatus {
                ready: r.u8("ready")? != 0,
                entries: r.u64("entries")?,
                bytes: r.u64("bytes")?,
                scan_ms: r.u64("scan time")?,
            }),
            other => return Err(DecodeError::BadValue { field: "answer", value: other.into() }),
        };
        end(r)?;
        Ok(answer)
    }
}

fn end(r: &mut Reader) -> Result<(), DecodeError> {
    match r.remaining() {
        0 => Ok(()),
        count => Err(DecodeError::Trailing { count }),
    }
}

fn text(w: &mut Writer, text: Option<&str>) {
    w.u8(u8::from(text.is_some())).bytes(text.unwrap_or_default().as_bytes());
}

fn read_text(r: &mut Reader, field: &'static str, max: usize) -> Result<Option<String>, DecodeError> {
    let there = r.u8(field)? != 0;
    let text = r.string(field, max)?;
    Ok(there.then_some(text))
}

fn position(w: &mut Writer, at: FeedPosition) {
    w.u64(at.life).u64(at.sequence);
}

fn read_position(r: &mut Reader) -> Result<FeedPosition, DecodeError> {
    Ok(FeedPosition { life: r.u64("life")?, sequence: r.u64("sequence")? })
}

fn parse_path(text: &str) -> Result<VaultPath, DecodeError> {
    VaultPath::parse(text).map_err(|_| DecodeError::BadValue { field: "path", value: 0 })
}

fn read_path(r: &mut Reader) -> Result<VaultPath, DecodeError> {
    parse_path(&r.string("path", PATH_LEN_MAX)?)
}

fn write_entry(w: &mut Writer, listed: &Listed) {
    let (kind, id, size) = match &listed.kind {
        ListedKind::File { id, size } => (1, id.0, *size),
        ListedKind::Symlink { id } => (2, id.0, 0),
        ListedKind::Folder { id } => (3, id.0, 0),
    };
    w.u8(kind).raw(&id).u64(size).bytes(listed.path.to_string().as_bytes());
    w.u64(listed.version.to_u64()).u64(listed.expiry.to_u64()).u8(u8::from(listed.deleting));
    let attributes = &listed.attributes;
    w.u32(attributes.mode).u64(attributes.mtime_ns.cast_unsigned());
    w.bytes(attributes.content_type.as_bytes()).count(attributes.custom.len());
    for (name, value) in &attributes.custom {
        w.bytes(name.as_bytes()).bytes(value);
    }
}

fn read_entry(r: &mut Reader) -> Result<Listed, DecodeError> {
    let (kind, id, size) = (r.u8("kind")?, r.array("id")?, r.u64("size")?);
    let kind = match kind {
        1 => ListedKind::File { id: FileId(id), size },
        2 => ListedKind::Symlink { id: FileId(id) },
        3 => ListedKind::Folder { id: DirId(id) },
        other => return Err(DecodeError::BadValue { field: "kind", value: other.into() }),
    };
    let path = read_path(r)?;
    let version = Version::from_u64(r.u64("version")?);
    let expiry = Expiry::at_ms(r.u64("expiry")?);
    let deleting = r.u8("deleting")? != 0;
    let (mode, mtime_ns) = (r.u32("mode")?, r.u64("mtime")?.cast_signed());
    let content_type = r.string("content type", CONTENT_TYPE_LEN_MAX)?;
    let count = r.count("custom attributes", CUSTOM_ATTRIBUTES_MAX, 8)?;
    let mut custom = Vec::with_capacity(count);
    for _ in 0..count {
        let name = r.string("custom attribute name", CUSTOM_NAME_LEN_MAX)?;
        custom.push((name, r.bytes("custom attribute value", CUSTOM_VALUE_LEN_MAX)?));
    }
    let attributes = Attributes { mode, mtime_ns, content_type, custom };
    Ok(Listed { path, kind, attributes, version, expiry, deleting })
}

fn write_change(w: &mut Writer, change: &Change) {
    let kind = ChangeKind::ALL.iter().position(|kind| *kind == change.kind).unwrap_or(0);
    w.u8(u8::try_from(kind).unwrap_or(0)).bytes(change.path.as_bytes());
    text(w, change.from.as_deref());
    let (thing, id) = match change.thing {
        None => (0, [0; 16]),
        Some(Thing::File(id)) => (1, id.0),
        Some(Thing::Folder(id)) => (2, id.0),
    };
    w.u8(thing).raw(&id).u64(change.version.to_u64());
}

fn read_change(r: &mut Reader) -> Result<Change, DecodeError> {
    let kind = r.u8("change")?;
    let bad = DecodeError::BadValue { field: "change", value: kind.into() };
    let kind = *ChangeKind::ALL.get(usize::from(kind)).ok_or(bad)?;
    let path = r.string("path", PATH_LEN_MAX)?;
    let from = read_text(r, "from", PATH_LEN_MAX)?;
    let (thing, id) = (r.u8("thing")?, r.array("id")?);
    let thing = match thing {
        0 => None,
        1 => Some(Thing::File(FileId(id))),
        2 => Some(Thing::Folder(DirId(id))),
        other => return Err(DecodeError::BadValue { field: "thing", value: other.into() }),
    };
    Ok(Change { kind, thing, path, from, version: Version::from_u64(r.u64("version")?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_format::rng::{Rng, SeededRng};

    fn path(text: &str) -> VaultPath {
        VaultPath::parse(text).unwrap()
    }

    fn at(sequence: u64) -> FeedPosition {
        FeedPosition { life: 7, sequence }
    }

    fn asks() -> Vec<Ask> {
        let filter = Box::new(Filter { size_min: Some(3), ..Filter::default() });
        vec![
            Ask::List { folder: path("/"), after: None, most: 7 },
            Ask::List { folder: path("/a/b"), after: Some("x".to_owned()), most: 7 },
            Ask::Find { folder: path("/a"), after: Some(path("/a/b/c")), most: 1, filter },
            Ask::Changes { top: path("/"), after: Some(at(5)), wait_ms: 9 },
            Ask::Changes { top: path("/x"), after: None, wait_ms: 9 },
            Ask::Status,
        ]
    }

    fn answers() -> Vec<Answer> {
        let attributes = Attributes {
            mode: 0o644,
            mtime_ns: -5,
            content_type: "text/plain".to_owned(),
            custom: vec![("k".to_owned(), bytes::Bytes::from_static(b"v"))],
        };
        let listed = |kind| Listed {
            path: path("/a/é"),
            kind,
            attributes: attributes.clone(),
            version: Version::from_u64(8),
            expiry: Expiry::at_ms(99),
            deleting: true,
        };
        let entries = vec![
            listed(ListedKind::File { id: FileId([1; 16]), size: 5 }),
            listed(ListedKind::Symlink { id: FileId([2; 16]) }),
            listed(ListedKind::Folder { id: DirId([3; 16]) }),
        ];
        let change = Change {
            kind: ChangeKind::Renamed,
            thing: Some(Thing::File(FileId([4; 16]))),
            path: "/b".to_owned(),
            from: Some("/a".to_owned()),
            version: Version::from_u64(3),
        };
        let changes = vec![(at(1), change), (at(2), Change::reset())];
        vec![
            Answer::AskNode,
            Answer::Page(Page { entries, next: Some("/a".to_owned()), unreadable: 2, now_ms: 3 }),
            Answer::Changes { changes, next: at(9), reset: true },
            Answer::Status(IndexStatus { ready: true, entries: 1, bytes: 2, scan_ms: 3 }),
        ]
    }

    #[test]
    fn messages_round_trip_and_cut_ones_are_refused() {
        for ask in asks() {
            let bytes = ask.encode();
            assert_eq!(Ask::decode(&bytes), Ok(ask));
            (0..bytes.len()).for_each(|len| assert!(Ask::decode(&bytes[..len]).is_err()));
        }
        for answer in answers() {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes), Ok(answer));
            (0..bytes.len()).for_each(|len| assert!(Answer::decode(&bytes[..len]).is_err()));
        }
    }

    #[test]
    fn changed_bytes_never_panic() {
        let mut rng = SeededRng::new(3);
        for _ in 0..300 {
            for mut bytes in asks().iter().map(Ask::encode).chain(answers().iter().map(Answer::encode)) {
                let place = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                bytes[place] = rng.array::<1>()[0];
                let _ = (Ask::decode(&bytes), Answer::decode(&bytes));
            }
        }
    }
}
