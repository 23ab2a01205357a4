//! Extended attributes of local files and folders. Those of the user (`user.*`) are kept among a thing's custom attributes,
//! signed with them, under [`PREFIX`] and their own name; so every version has its own, and a program that knows nothing
//! of them keeps them. Those of the system (access lists, security labels, capabilities) mean something on one machine
//! only and are left out.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use larder_format::head::{Attributes, CUSTOM_NAME_LEN_MAX};
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

/// What a custom attribute's name begins with if it is an extended attribute of a file.
pub const PREFIX: &str = "xattr:";

/// Most bytes of names and values together that are kept of one thing: a head holds them beside its name, and listings
/// read heads.
pub const XATTR_BYTES_MAX: usize = 2048;

/// Most that are kept of one thing. Half of what a thing may have as custom attributes.
pub const XATTR_COUNT_MAX: usize = 32;

/// Longest list of names that is looked at, in bytes: what the kernel allows at all.
const LIST_LEN_MAX: usize = 65_536;

/// What a thing has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xattrs {
    /// As custom attributes, sorted.
    pub kept: Vec<(String, Bytes)>,
    /// Whether there are others of the user, which do not fit.
    pub left_out: bool,
}

/// Reads the attributes of an open file or folder. Where there are none to be had there are none.
#[must_use]
pub fn read(file: impl AsFd) -> Xattrs {
    let mut found = Xattrs::default();
    let mut list = vec![0_u8; 1024];
    let len = loop {
        match flistxattr(&file, &mut list[..]) {
            Ok(len) => break len,
            Err(Errno::RANGE) if list.len() < LIST_LEN_MAX => list.resize(LIST_LEN_MAX, 0),
            Err(_) => return found,
        }
    };
    let mut names: Vec<&[u8]> =
        list[..len].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")).collect();
    names.sort_unstable();
    let mut bytes = 0;
    for name in names {
        match read_one(&file, name) {
            Some((kept, value))
                if bytes + kept.len() + value.len() <= XATTR_BYTES_MAX
                    && found.kept.len() < XATTR_COUNT_MAX =>
            {
                bytes += kept.len() + value.len();
                found.kept.push((kept, value));
            }
            _ => found.left_out = true,
        }
    }
    found
}

fn read_one(file: impl AsFd, name: &[u8]) -> Option<(String, Bytes)> {
    let name = std::str::from_utf8(name).ok()?;
    let kept = format!("{PREFIX}{name}");
    if kept.len() > CUSTOM_NAME_LEN_MAX {
        return None;
    }
    let mut value = vec![0_u8; XATTR_BYTES_MAX];
    let len = fgetxattr(file, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some((kept, value.into()))
}

/// As [`read`], of what is at a path and is not a link.
#[must_use]
pub fn read_path(path: &Path) -> Xattrs {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    // What cannot be opened says so when it is read.
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map(read).unwrap_or_default()
}

/// Those among a thing's custom attributes.
pub fn among(attributes: &Attributes) -> impl Iterator<Item = (&str, &Bytes)> {
    attributes.custom.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value)))
}

/// Puts them among custom attributes, in place of any that are there.
pub fn put_among(attributes: &mut Attributes, found: &Xattrs) {
    attributes.custom.retain(|(name, _)| !name.starts_with(PREFIX));
    attributes.custom.extend(found.kept.iter().cloned());
    attributes.custom.sort_by(|(a, _), (b, _)| a.cmp(b));
}

/// Gives a file or folder those that were kept. Answers whether the file system keeps such attributes.
///
/// # Errors
/// The system's error.
pub fn apply(file: &File, attributes: &Attributes) -> std::io::Result<bool> {
    for (name, value) in among(attributes) {
        // Only of the user: what a vault says must not become a label that the system goes by.
        if !name.starts_with("user.") {
            continue;
        }
        match fsetxattr(file, name, value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_does_not_fit_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("f")).unwrap();
        let set = |name: &str, value: &[u8]| fsetxattr(&file, name, value, XattrFlags::empty());
        if set("user.b", b"2") == Err(Errno::OPNOTSUPP) {
            return;
        }
        set("user.a", b"\0one").unwrap();
        let mut attributes =
            Attributes { custom: vec![("z".to_owned(), Bytes::new())], ..Attributes::default() };
        put_among(&mut attributes, &read(&file));
        let names: Vec<&str> = attributes.custom.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["xattr:user.a", "xattr:user.b", "z"]);
        attributes.check().unwrap();
        let other = File::create(dir.path().join("g")).unwrap();
        assert!(apply(&other, &attributes).unwrap());
        assert_eq!(read(&other), read(&file));
        set("user.large", &[7; 3000]).unwrap();
        let found = read_path(&dir.path().join("f"));
        assert!(found.left_out);
        assert_eq!(found.kept.len(), 2);
    }
}
