//! What to find: conditions on an entry, all of which must hold, and their bytes for whoever asks another process.

use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::head::{CONTENT_TYPE_LEN_MAX, CUSTOM_NAME_LEN_MAX, CUSTOM_VALUE_LEN_MAX};
use larder_format::record::Expiry;

use super::glob::{GLOB_LEN_MAX, Glob};
use super::look::Row;
use crate::files::{Listed, ListedKind};

/// Most conditions on attributes.
pub const ATTRIBUTE_CONDITIONS_MAX: usize = 64;

/// Files, links, folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    /// Files.
    pub files: bool,
    /// Symbolic links.
    pub links: bool,
    /// Folders.
    pub folders: bool,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { files: true, links: true, folders: true }
    }
}

/// When something's time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ends {
    /// Whenever.
    #[default]
    Whenever,
    /// Never.
    Never,
    /// At this time or before, in milliseconds since 1970.
    By(u64),
}

/// Conditions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of the name.
    pub name: Option<Glob>,
    /// Of the kind.
    pub kinds: Kinds,
    /// At least this many bytes; then only files are found.
    pub size_min: Option<u64>,
    /// At most this many bytes; then only files are found.
    pub size_max: Option<u64>,
    /// Modified at or after this, in nanoseconds since 1970.
    pub modified_from_ns: Option<i64>,
    /// Modified at or before this, in nanoseconds since 1970.
    pub modified_to_ns: Option<i64>,
    /// Attributes that must be there, with a value if one is named.
    pub attributes: Vec<(String, Option<String>)>,
    /// Of the content type.
    pub content_type: Option<Glob>,
    /// Of the lifetime.
    pub ends: Ends,
}

/// What a filter looks at.
struct Looked<'a> {
    name: &'a str,
    kind: &'a ListedKind,
    mtime_ns: i64,
    content_type: &'a str,
    custom: &'a [(String, bytes::Bytes)],
    expiry: Expiry,
}

impl Filter {
    /// Whether all conditions hold.
    #[must_use]
    pub fn matches(&self, row: &Row<'_>) -> bool {
        self.holds(&Looked {
            name: row.name(),
            kind: &row.kind(),
            mtime_ns: row.mtime_ns(),
            content_type: row.content_type(),
            custom: row.custom(),
            expiry: row.expiry(),
        })
    }

    /// As [`Filter::matches`], for what a listing shows.
    #[must_use]
    pub fn matches_listed(&self, listed: &Listed) -> bool {
        let Some((_, name)) = listed.path.split() else { return false };
        self.holds(&Looked {
            name,
            kind: &listed.kind,
            mtime_ns: listed.attributes.mtime_ns,
            content_type: &listed.attributes.content_type,
            custom: &listed.attributes.custom,
            expiry: listed.expiry,
        })
    }

    fn holds(&self, one: &Looked<'_>) -> bool {
        let (kind, size) = match one.kind {
            ListedKind::File { size, .. } => (self.kinds.files, Some(*size)),
            ListedKind::Symlink { .. } => (self.kinds.links, None),
            ListedKind::Folder { .. } => (self.kinds.folders, None),
        };
        let within = |min: Option<u64>, max: Option<u64>| match size {
            None => min.is_none() && max.is_none(),
            Some(size) => min.is_none_or(|min| size >= min) && max.is_none_or(|max| size <= max),
        };
        let ends = match self.ends {
            Ends::Whenever => true,
            Ends::Never => one.expiry.ms().is_none(),
            Ends::By(ms) => one.expiry.ms().is_some_and(|end| end <= ms),
        };
        // A time that is not known is neither before nor after anything.
        let dated = self.modified_from_ns.is_none() && self.modified_to_ns.is_none() || one.mtime_ns != 0;
        kind && ends
            && within(self.size_min, self.size_max)
            && dated
            && self.modified_from_ns.is_none_or(|from| one.mtime_ns >= from)
            && self.modified_to_ns.is_none_or(|to| one.mtime_ns <= to)
            && self.name.as_ref().is_none_or(|glob| glob.matches(one.name))
            && self.content_type.as_ref().is_none_or(|glob| glob.matches(one.content_type))
            && self.attributes.iter().all(|(name, value)| {
                let held = one.custom.iter().find(|(held, _)| held == name);
                held.is_some_and(|(_, held)| value.as_ref().is_none_or(|value| held == value.as_bytes()))
            })
    }

    /// As bytes.
    pub fn encode_into(&self, w: &mut Writer) {
        optional(w, self.name.as_ref().map(|glob| glob.text().as_bytes()));
        optional(w, self.content_type.as_ref().map(|glob| glob.text().as_bytes()));
        let Kinds { files, links, folders } = self.kinds;
        w.u8(u8::from(files) | u8::from(links) << 1 | u8::from(folders) << 2);
        let (ends, by) = match self.ends {
            Ends::Whenever => (0, 0),
            Ends::Never => (1, 0),
            Ends::By(ms) => (2, ms),
        };
        w.u8(ends).u64(by);
        for bound in [
            self.size_min,
            self.size_max,
            self.modified_from_ns.map(i64::cast_unsigned),
            self.modified_to_ns.map(i64::cast_unsigned),
        ] {
            w.u8(u8::from(bound.is_some())).u64(bound.unwrap_or(0));
        }
        w.count(self.attributes.len());
        for (name, value) in &self.attributes {
            w.bytes(name.as_bytes());
            optional(w, value.as_ref().map(String::as_bytes));
        }
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let name = glob(r, "name pattern", GLOB_LEN_MAX)?;
        let content_type = glob(r, "content type pattern", GLOB_LEN_MAX.min(2 * CONTENT_TYPE_LEN_MAX))?;
        let kinds = r.u8("kinds")?;
        let kinds = Kinds { files: kinds & 1 != 0, links: kinds & 2 != 0, folders: kinds & 4 != 0 };
        let ends = match (r.u8("ends")?, r.u64("ends by")?) {
            (0, _) => Ends::Whenever,
            (1, _) => Ends::Never,
            (2, ms) => Ends::By(ms),
            (other, _) => return Err(DecodeError::BadValue { field: "ends", value: other.into() }),
        };
        let mut bounds = [None; 4];
        for bound in &mut bounds {
            let (there, value) = (r.u8("bound")?, r.u64("bound value")?);
            *bound = (there != 0).then_some(value);
        }
        let count = r.count("attributes", ATTRIBUTE_CONDITIONS_MAX, 5)?;
        let mut attributes = Vec::with_capacity(count);
        for _ in 0..count {
            let name = r.string("attribute name", CUSTOM_NAME_LEN_MAX)?;
            attributes.push((name, maybe(r, "attribute value", CUSTOM_VALUE_LEN_MAX)?));
        }
        Ok(Self {
            name,
            kinds,
            size_min: bounds[0],
            size_max: bounds[1],
            modified_from_ns: bounds[2].map(u64::cast_signed),
            modified_to_ns: bounds[3].map(u64::cast_signed),
            attributes,
            content_type,
            ends,
        })
    }
}

fn optional(w: &mut Writer, bytes: Option<&[u8]>) {
    w.u8(u8::from(bytes.is_some())).bytes(bytes.unwrap_or_default());
}

fn maybe(r: &mut Reader, field: &'static str, max: usize) -> Result<Option<String>, DecodeError> {
    let there = r.u8(field)? != 0;
    let text = r.string(field, max)?;
    Ok(there.then_some(text))
}

fn glob(r: &mut Reader, field: &'static str, max: usize) -> Result<Option<Glob>, DecodeError> {
    let bad = |_| DecodeError::BadValue { field, value: 0 };
    maybe(r, field, max)?.map(|text| Glob::parse(&text).map_err(bad)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_its_bytes() {
        let filter = Filter {
            name: Some(Glob::parse("*.pdf").unwrap()),
            kinds: Kinds { files: true, links: false, folders: true },
            size_min: Some(5),
            size_max: None,
            modified_from_ns: Some(-7),
            modified_to_ns: None,
            attributes: vec![("a".into(), None), ("b".into(), Some(String::new()))],
            content_type: Some(Glob::parse("image/*").unwrap()),
            ends: Ends::By(9),
        };
        let mut w = Writer::new();
        filter.encode_into(&mut w);
        let bytes = w.finish();
        assert_eq!(Filter::decode(&mut Reader::new(bytes.clone())).unwrap(), filter);
        for len in 0..bytes.len() {
            assert!(Filter::decode(&mut Reader::new(bytes.slice(..len))).is_err());
        }
    }
}
