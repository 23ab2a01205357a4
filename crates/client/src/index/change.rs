//! What happened to a thing in the vault, as a person would say it.

use larder_format::record::{Expiry, Version};

use super::item::Thing;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It was not there before.
    Created,
    /// It has another version: content, attributes or lifetime.
    Updated,
    /// It is not there any more.
    Deleted,
    /// Its time was up.
    Expired,
    /// It has another name in the same folder.
    Renamed,
    /// It is in another folder.
    Moved,
    /// Changes before this were lost: everything has to be looked at anew.
    Reset,
}

impl ChangeKind {
    /// All of them; the order is that of their bytes.
    pub const ALL: [Self; 7] =
        [Self::Created, Self::Updated, Self::Deleted, Self::Expired, Self::Renamed, Self::Moved, Self::Reset];

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Renamed => "renamed",
            Self::Moved => "moved",
            Self::Reset => "reset",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To what; `None` for a reset.
    pub thing: Option<Thing>,
    /// Where it is, or was; absolute.
    pub path: String,
    /// Where it was before, if it was renamed or moved.
    pub from: Option<String>,
    /// Its version: the last one, if it is gone.
    pub version: Version,
}

impl Change {
    /// Changes were lost.
    #[must_use]
    pub fn reset() -> Self {
        let version = Version::from_u64(0);
        Self { kind: ChangeKind::Reset, thing: None, path: "/".to_owned(), from: None, version }
    }

    /// Whether it concerns this folder (or thing) or what is below it. Resets concern everybody.
    #[must_use]
    pub fn concerns(&self, top: &str) -> bool {
        let top = top.trim_end_matches('/');
        let within =
            |path: &str| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.kind == ChangeKind::Reset || within(&self.path) || self.from.as_deref().is_some_and(within)
    }
}

/// Where a thing was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) folder: u32,
    pub(super) name: Box<str>,
    pub(super) version: Version,
    pub(super) expiry: Expiry,
    pub(super) path: Option<String>,
}

/// What happened to a thing between two looks at it.
pub(super) fn compare(
    thing: Thing,
    before: Option<Seen>,
    after: Option<Seen>,
    cause: ChangeKind,
) -> Option<Change> {
    let thing = Some(thing);
    match (before, after) {
        (None, None) => None,
        (None, Some(now)) => {
            let (kind, path) = (ChangeKind::Created, now.path?);
            Some(Change { kind, thing, path, from: None, version: now.version })
        }
        (Some(was), None) => {
            Some(Change { kind: cause, thing, path: was.path?, from: None, version: was.version })
        }
        (Some(was), Some(now)) => {
            let same_place = was.folder == now.folder && was.name == now.name;
            let kind = match same_place {
                true if was.version == now.version && was.expiry == now.expiry => return None,
                true => ChangeKind::Updated,
                false if was.folder == now.folder => ChangeKind::Renamed,
                false => ChangeKind::Moved,
            };
            let from = if same_place { None } else { was.path };
            Some(Change { kind, thing, path: now.path?, from, version: now.version })
        }
    }
}
