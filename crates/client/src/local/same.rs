//! Whether a local file is what a version says already, so that it need not be fetched.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use larder_format::head::{Attributes, FileKind};
use larder_format::manifest::Content;

use super::source::Source;
use super::{target, xattrs};
use crate::vault::OpenFile;

/// By what a file counts as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compare {
    /// Length, time, mode and extended attributes.
    #[default]
    Attributes,
    /// The content itself, which is read and hashed. Its attributes are then set.
    Content,
    /// Nothing does.
    Never,
}

/// Whether the file or link at this path is as the version says. What cannot be looked at is not. May read the
/// file. Where the content alone is compared, `may_set` lets it get its attributes.
#[must_use]
pub fn is_same(path: &Path, file: &OpenFile, compare: Compare, may_set: bool) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    let attributes = &file.info.attributes;
    if file.info.kind == FileKind::Symlink {
        return compare != Compare::Never && is_same_link(path, &metadata, file);
    }
    if !metadata.is_file() || metadata.len() != file.info.size {
        return false;
    }
    match compare {
        Compare::Never => false,
        Compare::Attributes => has_attributes(path, &metadata, attributes),
        Compare::Content => {
            has_content(path, file)
                && (has_attributes(path, &metadata, attributes)
                    || !may_set
                    || target::set_attributes(path, attributes).is_ok())
        }
    }
}

fn is_same_link(path: &Path, metadata: &Metadata, file: &OpenFile) -> bool {
    let Content::Inline(target) = &file.manifest.content else { return false };
    metadata.is_symlink()
        && std::fs::read_link(path).is_ok_and(|to| to.as_os_str().as_bytes() == &target[..])
        && mtime_ns(metadata) == file.info.attributes.mtime_ns
}

/// Where a version has no time of its own nothing says that a file is it.
fn has_attributes(path: &Path, metadata: &Metadata, attributes: &Attributes) -> bool {
    attributes.mtime_ns != 0
        && mtime_ns(metadata) == attributes.mtime_ns
        && (attributes.mode == 0 || metadata.mode() & 0o7777 == attributes.mode & target::FILE_MODE_BITS)
        && {
            let kept = xattrs::read_path(path).kept;
            let there = kept.iter().map(|(name, value)| (name.as_str(), value));
            let wanted = xattrs::among(attributes);
            there.map(|(name, value)| (&name[xattrs::PREFIX.len()..], value)).eq(wanted)
        }
}

fn has_content(path: &Path, file: &OpenFile) -> bool {
    let hash = Source::open(path).and_then(|mut source| {
        let found = larder_seal::content_hash::of_reader(&mut source)?;
        Ok(source.unchanged()?.then_some(found))
    });
    matches!(hash, Ok(Some((hash, len))) if hash == file.manifest.content_hash && len == file.info.size)
}

fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}
