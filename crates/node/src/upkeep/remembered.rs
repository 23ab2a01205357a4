//! What was found damaged, by name, as it is kept across restarts. After a start what is named is read again, so that it
//! is known before the scrub or a reader meets it, and what was mended meanwhile is not told. A note that cannot be read
//! is no note: the scrub finds it all again.

use bytes::Bytes;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::ids::{BlobId, NamespaceId};
use larder_format::limits::KEY_LEN_MAX;
use larder_format::record::unknown_format;
use larder_store::log::DamagedItem;

use super::DAMAGED_MAX;

/// Version of the note's layout.
const FORMAT: u8 = 1;

/// Something that was damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// A blob.
    Blob(BlobId),
    /// A record.
    Record(NamespaceId, Bytes),
}

impl Name {
    /// What an item is called by; `None` for a place in the log that holds neither: the scrub meets it again.
    pub(super) fn of(item: &DamagedItem) -> Option<Self> {
        match (item.blob, item.namespace, &item.key) {
            (Some(id), _, _) => Some(Self::Blob(id)),
            (None, Some(namespace), Some(key)) => {
                Some(Self::Record(namespace, Bytes::copy_from_slice(key.as_bytes())))
            }
            _ => None,
        }
    }
}

/// The note's bytes.
pub(super) fn encode(names: &[Name]) -> Bytes {
    let mut w = Writer::new();
    w.u8(FORMAT).count(names.len());
    for name in names {
        match name {
            Name::Blob(id) => w.u8(1).raw(&id.0),
            Name::Record(namespace, key) => w.u8(2).u64(namespace.0).bytes(key),
        };
    }
    w.finish()
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn decode(bytes: Bytes) -> Result<Vec<Name>, DecodeError> {
    let mut r = Reader::new(bytes);
    let format = r.u8("format of the note of damage")?;
    if format != FORMAT {
        return Err(unknown_format("note of damage", format, FORMAT));
    }
    let count = r.count("damaged", DAMAGED_MAX, 13)?;
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        names.push(match r.u8("kind of damaged thing")? {
            1 => Name::Blob(BlobId(r.array("blob")?)),
            2 => {
                let namespace = NamespaceId(r.u64("namespace")?);
                Name::Record(namespace, r.bytes("key", KEY_LEN_MAX)?)
            }
            other => {
                return Err(DecodeError::BadValue { field: "kind of damaged thing", value: other.into() });
            }
        });
    }
    r.finish()?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_a_cut_one_refused() {
        let names =
            vec![Name::Blob(BlobId([7; 32])), Name::Record(NamespaceId(5), Bytes::from_static(b"key"))];
        let bytes = encode(&names);
        assert_eq!(decode(bytes.clone()), Ok(names));
        assert_eq!(decode(encode(&[])), Ok(Vec::new()));
        for len in 0..bytes.len() {
            assert!(decode(bytes.slice(..len)).is_err(), "len={len}");
        }
    }
}
