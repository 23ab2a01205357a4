//! Caveats: what a token is limited to. Each takes away from what those before it left, and none gives anything back.

use bytes::Bytes;

use super::BadToken;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{NAMESPACE_NAME_LEN_MAX, TOKEN_NAMESPACES_MAX, TOKEN_PREFIX_LEN_MAX, TOKEN_PREFIXES_MAX};
use crate::namespace::is_name;
use crate::right::Right;

/// Kinds, as they are numbered. What is not here is refused.
const RIGHT: u8 = 1;
const NAMESPACES: u8 = 2;
const PREFIXES: u8 = 3;
const EXPIRES: u8 = 4;

/// The most that a token grants: tokens are for values, and the node itself is for certificates.
pub const RIGHT_MAX: Right = Right::Write;

/// One limit of a token. Made by [`Caveat::right`] and its sisters, which bring it into its one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caveat {
    /// At most this right.
    Right(Right),
    /// Only in these namespaces: ascending, each once, at least one.
    Namespaces(Vec<String>),
    /// Only keys that begin with one of these: ascending, at least one, none beginning with another of them.
    Prefixes(Vec<Bytes>),
    /// Until this many milliseconds since 1970.
    Expires(u64),
}

impl Caveat {
    /// At most this right.
    ///
    /// # Errors
    /// [`BadToken::Caveat`] for one that no token has.
    pub fn right(right: Right) -> Result<Self, BadToken> {
        if right > RIGHT_MAX {
            return Err(BadToken::Caveat(
                "a token grants at most the right write; admin is for certificates",
            ));
        }
        Ok(Self::Right(right))
    }

    /// Only in these namespaces.
    ///
    /// # Errors
    /// [`BadToken::Caveat`] for none, too many, or a name that no namespace has.
    pub fn namespaces(names: impl IntoIterator<Item = String>) -> Result<Self, BadToken> {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort();
        names.dedup();
        if names.is_empty() || names.len() > TOKEN_NAMESPACES_MAX {
            return Err(BadToken::Caveat(
                "a token is limited to 1 to 16 namespaces, or to none in particular",
            ));
        }
        if !names.iter().all(|name| is_name(name)) {
            return Err(BadToken::Caveat("not the name of a namespace"));
        }
        Ok(Self::Namespaces(names))
    }

    /// Only keys that begin with one of these.
    ///
    /// # Errors
    /// [`BadToken::Caveat`] for none, too many, or one that is empty or too long.
    pub fn prefixes(prefixes: impl IntoIterator<Item = Bytes>) -> Result<Self, BadToken> {
        let mut prefixes: Vec<Bytes> = prefixes.into_iter().collect();
        if prefixes.is_empty() || prefixes.len() > TOKEN_PREFIXES_MAX {
            return Err(BadToken::Caveat(
                "a token is limited to 1 to 16 prefixes of keys, or to none in particular",
            ));
        }
        if prefixes.iter().any(|prefix| prefix.is_empty() || prefix.len() > TOKEN_PREFIX_LEN_MAX) {
            return Err(BadToken::Caveat("a prefix of keys has 1 to 256 bytes"));
        }
        prefixes.sort();
        // What begins with another one says nothing beside it, and comes after it.
        prefixes.dedup_by(|later, kept| later.starts_with(kept));
        Ok(Self::Prefixes(prefixes))
    }

    /// Its bytes, which are what is chained.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        match self {
            Self::Right(right) => {
                w.u8(RIGHT).u8(right.number());
            }
            Self::Namespaces(names) => {
                w.u8(NAMESPACES).count(names.len());
                names.iter().for_each(|name| {
                    w.bytes(name.as_bytes());
                });
            }
            Self::Prefixes(prefixes) => {
                w.u8(PREFIXES).count(prefixes.len());
                prefixes.iter().for_each(|prefix| {
                    w.bytes(prefix);
                });
            }
            Self::Expires(ms) => {
                w.u8(EXPIRES).u64(*ms);
            }
        }
        w.finish()
    }

    /// Reads what [`Caveat::encode`] wrote, in its one form.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let bad = |field, value: usize| DecodeError::BadValue { field, value: value as u64 };
        match r.u8("caveat")? {
            RIGHT => read_right(r).map(Self::Right),
            NAMESPACES => {
                let names = read_namespaces(r)?;
                let found = Self::Namespaces(names.clone());
                let count = names.len();
                let made = Self::namespaces(names).map_err(|_| bad("namespaces", count))?;
                if made == found { Ok(found) } else { Err(bad("namespaces", count)) }
            }
            PREFIXES => {
                let prefixes = read_prefixes(r)?;
                let found = Self::Prefixes(prefixes.clone());
                let count = prefixes.len();
                let made = Self::prefixes(prefixes).map_err(|_| bad("prefixes", count))?;
                if made == found { Ok(found) } else { Err(bad("prefixes", count)) }
            }
            EXPIRES => Ok(Self::Expires(r.u64("expires")?)),
            unknown => Err(bad("caveat", unknown.into())),
        }
    }
}

fn read_right(r: &mut Reader) -> Result<Right, DecodeError> {
    let number = r.u8("right")?;
    let right = Right::numbered(number).filter(|right| *right <= RIGHT_MAX);
    right.ok_or(DecodeError::BadValue { field: "right", value: number.into() })
}

fn read_namespaces(r: &mut Reader) -> Result<Vec<String>, DecodeError> {
    let count = r.count("namespaces", TOKEN_NAMESPACES_MAX, 4 + 1)?;
    (0..count).map(|_| r.string("namespace", NAMESPACE_NAME_LEN_MAX)).collect()
}

fn read_prefixes(r: &mut Reader) -> Result<Vec<Bytes>, DecodeError> {
    let count = r.count("prefixes", TOKEN_PREFIXES_MAX, 4 + 1)?;
    (0..count).map(|_| r.bytes("prefix", TOKEN_PREFIX_LEN_MAX)).collect()
}

/// What somebody may do, where, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub right: Right,
    /// In which namespaces; `None`: in all. Ascending, each once.
    pub namespaces: Option<Vec<String>>,
    /// On keys that begin with one of these; `None`: on all. As in [`Caveat::Prefixes`].
    pub prefixes: Option<Vec<Bytes>>,
    /// Until when, in milliseconds since 1970; `None`: no end.
    pub expires_ms: Option<u64>,
}

impl Grant {
    /// All that a token can grant.
    pub const ALL: Grant = Grant { right: RIGHT_MAX, namespaces: None, prefixes: None, expires_ms: None };

    /// Takes away what a caveat does not leave.
    pub fn narrow(&mut self, caveat: &Caveat) {
        match caveat {
            Caveat::Right(right) => self.right = self.right.min(*right),
            Caveat::Namespaces(names) => match &mut self.namespaces {
                None => self.namespaces = Some(names.clone()),
                Some(own) => own.retain(|name| names.contains(name)),
            },
            Caveat::Prefixes(prefixes) => match &mut self.prefixes {
                None => self.prefixes = Some(prefixes.clone()),
                Some(own) => *own = common_prefixes(own, prefixes),
            },
            Caveat::Expires(ms) => {
                self.expires_ms = Some(self.expires_ms.map_or(*ms, |own| own.min(*ms)));
            }
        }
    }

    /// The caveats that leave this of everything.
    #[must_use]
    pub fn caveats(&self) -> Vec<Caveat> {
        let mut caveats = vec![Caveat::Right(self.right.min(RIGHT_MAX))];
        caveats.extend(self.namespaces.clone().map(Caveat::Namespaces));
        caveats.extend(self.prefixes.clone().map(Caveat::Prefixes));
        caveats.extend(self.expires_ms.map(Caveat::Expires));
        caveats
    }

    /// What both grant.
    #[must_use]
    pub fn and(mut self, other: &Grant) -> Self {
        other.caveats().iter().for_each(|caveat| self.narrow(caveat));
        self
    }

    /// Whether it grants no right anywhere.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.namespaces.as_ref().is_some_and(Vec::is_empty)
            || self.prefixes.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|end_ms| end_ms <= now_ms)
    }

    /// Whether this grants nothing that the other one does not.
    #[must_use]
    pub fn is_within(&self, other: &Grant) -> bool {
        self.clone().and(other) == *self
    }
}

/// The prefixes of all keys that have a prefix of both lists. Longest where one begins with the other.
fn common_prefixes(some: &[Bytes], others: &[Bytes]) -> Vec<Bytes> {
    let mut common: Vec<Bytes> = some
        .iter()
        .flat_map(|one| others.iter().map(move |other| (one, other)))
        .filter_map(|(one, other)| match () {
            () if one.starts_with(other) => Some(one.clone()),
            () if other.starts_with(one) => Some(other.clone()),
            () => None,
        })
        .collect();
    common.sort();
    common.dedup_by(|later, kept| later.starts_with(kept));
    common
}
