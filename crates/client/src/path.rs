//! Paths in a vault: absolute, `/`-separated, checked name by name.

use std::fmt;

use larder_format::error::Kind;
use larder_format::limits::{PATH_DEPTH_MAX, PATH_LEN_MAX};
use larder_seal::names::check_name;
use larder_wire::answer::Failure;

/// A path in a vault. The root has no names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct VaultPath {
    names: Vec<String>,
}

impl VaultPath {
    /// Reads a path as a person writes it: with or without a leading `/`; repeated and trailing slashes mean
    /// nothing.
    ///
    /// # Errors
    /// [`Kind::Invalid`] names what is wrong: `..`, control characters, a name or path too long or deep.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if text.len() > PATH_LEN_MAX {
            let message = format!("path too long len={} max={PATH_LEN_MAX}", text.len());
            return Err(Failure::new(Kind::Invalid, message));
        }
        let mut path = Self::default();
        for name in text.split('/').filter(|name| !name.is_empty()) {
            path = path.join(name)?;
        }
        Ok(path)
    }

    /// The path of a name below this.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the name is not allowed or the path gets too deep.
    pub fn join(&self, name: &str) -> Result<Self, Failure> {
        check_name(name).map_err(|e| Failure::new(e.kind(), e.to_string()))?;
        if self.names.len() >= PATH_DEPTH_MAX {
            let message = format!("path too deep depth={} max={PATH_DEPTH_MAX}", self.names.len() + 1);
            return Err(Failure::new(Kind::Invalid, message));
        }
        let mut names = self.names.clone();
        names.push(name.to_owned());
        Ok(Self { names })
    }

    /// The names from the root down.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    /// The folder it is in and its name there; `None` for the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &str)> {
        let (name, parents) = self.names.split_last()?;
        Some((Self { names: parents.to_vec() }, name))
    }
}

impl fmt::Display for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("/");
        }
        self.names.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_forgiven_and_traversal_is_not() {
        assert_eq!(VaultPath::parse("a//b/").unwrap().to_string(), "/a/b");
        assert_eq!(VaultPath::parse("/").unwrap().to_string(), "/");
        assert_eq!(VaultPath::parse("").unwrap(), VaultPath::default());
        for bad in ["../a", "a/../b", "a/./b", "a\0b", "a\nb", &"x".repeat(1025)] {
            assert_eq!(VaultPath::parse(bad).unwrap_err().kind, Kind::Invalid, "{bad:?}");
        }
        assert!(VaultPath::parse("émoji/🦀").is_ok());
        assert!(VaultPath::parse(&"a/".repeat(256)).is_ok());
        assert_eq!(VaultPath::parse(&"a/".repeat(257)).unwrap_err().kind, Kind::Invalid);
    }

    #[test]
    fn a_path_splits_into_folder_and_name() {
        let path = VaultPath::parse("/a/b/c").unwrap();
        let (folder, name) = path.split().unwrap();
        assert_eq!((folder.to_string().as_str(), name), ("/a/b", "c"));
        assert!(VaultPath::default().split().is_none());
    }
}
