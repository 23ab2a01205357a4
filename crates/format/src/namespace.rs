//! Namespaces: the settings that records and blobs share. A namespace's settings are themselves a record, in
//! [`NamespaceId::SYSTEM`] under the namespace's name.

use bytes::Bytes;

use crate::clock::Hlc;
use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::NamespaceId;
use crate::limits::{NAMESPACE_NAME_LEN_MAX, TTL_MS_MAX};
use crate::record::{Expiry, unknown_format};
use crate::span;

/// Newest version of the settings layout that this program reads and writes. Settings that version 1 can say are
/// written as version 1, so that an older program still reads them.
pub const NAMESPACE_FORMAT: u8 = 2;

/// The layout before [`Namespace::when_full`].
const NAMESPACE_FORMAT_1: u8 = 1;

/// Most owner keys a namespace may declare.
pub const OWNER_KEYS_MAX: usize = 64;

/// Longest zone name, in bytes.
pub const ZONE_LEN_MAX: usize = 64;

/// Whether nodes can read the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Privacy {
    /// Encrypted by the client. Nodes check the suite byte and the shape, and can read nothing.
    Sealed,
    /// As the client sent them: readable by the node. For plain Redis and HTTP clients.
    Raw,
}

/// Where the values live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// In memory only: a restart loses them (on that node).
    Memory,
    /// On disk, acknowledged when synced.
    Disk,
}

/// In which order a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScanOrder {
    /// By key hash: cheap; a prefix is a filter.
    Hash,
    /// By key: a prefix is a range.
    Key,
}

/// What a write does that finds the memory cap reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// It is refused; nothing that is there goes before its time.
    #[default]
    Refuse,
    /// Values of the namespace that have an end go early, those that end soonest first. Values without an end stay.
    Evict,
}

/// A namespace's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name: lower-case letters, digits, `-`, `_` and `.`; 1 to [`NAMESPACE_NAME_LEN_MAX`] bytes.
    pub name: String,
    /// Whether nodes can read the values.
    pub privacy: Privacy,
    /// Where the values live.
    pub class: Class,
    /// In which order a scan goes.
    pub scan_order: ScanOrder,
    /// Replicas wanted; fewer nodes hold what they can, and say so.
    pub replicas: u8,
    /// Time to live given to a value that asks for none; `None`: no end.
    pub ttl_default_ms: Option<u64>,
    /// Longest time to live allowed; `None`: any, also no end.
    pub ttl_max_ms: Option<u64>,
    /// Most bytes the namespace may hold; `None`: what the node has.
    pub quota_bytes: Option<u64>,
    /// Ed25519 public keys whose signature every write needs; none: any admitted client may write.
    pub owner_keys: Vec<[u8; 32]>,
    /// Nodes of this zone only; empty: any.
    pub zone: String,
    /// What a write does that finds the memory cap reached; [`WhenFull::Evict`] for class memory only.
    pub when_full: WhenFull,
}

/// What a request says about a value's lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LifetimeRequest {
    /// Nothing: the namespace's default.
    #[default]
    Default,
    /// No end.
    Never,
    /// This many milliseconds from now.
    Ttl(u64),
    /// Until this many milliseconds since 1970.
    Until(u64),
}

/// A lifetime that a namespace does not allow. Nothing is clamped silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LifetimeError {
    /// Zero, or in the past.
    #[error("a lifetime must end in the future")]
    Past,
    /// Longer than allowed.
    #[error("the lifetime asked for is longer than allowed asked={} max={}", span::text(*asked_ms), span::text(*max_ms))]
    TooLong {
        /// Asked for.
        asked_ms: u64,
        /// Allowed.
        max_ms: u64,
    },
    /// No end, where every value must have one.
    #[error("every value here must have a lifetime of at most max={}", span::text(*max_ms))]
    NeedsEnd {
        /// Allowed.
        max_ms: u64,
    },
}

/// A namespace name or setting that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNamespace {
    /// The name has a wrong length or character.
    #[error(
        "a namespace name has 1 to {NAMESPACE_NAME_LEN_MAX} of a-z 0-9 - _ . and starts with a letter or digit"
    )]
    Name,
    /// No replicas at all.
    #[error("a namespace wants at least one replica")]
    Replicas,
    /// A TTL of zero, beyond the limit, or a default above the maximum.
    #[error("namespace TTLs are 1 to {TTL_MS_MAX} ms, the default not above the maximum")]
    Ttl,
    /// Values on disk are never dropped before their time.
    #[error("only a namespace in memory can drop values when it is full")]
    WhenFull,
}

/// Whether a namespace may be called this: 1 to [`NAMESPACE_NAME_LEN_MAX`] lower-case letters, digits, `-`, `_` and `.`,
/// the first a letter or digit.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let name = name.as_bytes();
    let first_ok = name.first().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    name.len() <= NAMESPACE_NAME_LEN_MAX && first_ok && name.iter().all(|b| allowed(*b))
}

impl Namespace {
    /// A namespace with one replica, no TTL and no quota.
    #[must_use]
    pub fn new(name: &str, privacy: Privacy, class: Class, scan_order: ScanOrder) -> Self {
        Self {
            name: name.to_owned(),
            privacy,
            class,
            scan_order,
            replicas: 1,
            ttl_default_ms: None,
            ttl_max_ms: None,
            quota_bytes: None,
            owner_keys: Vec::new(),
            zone: String::new(),
            when_full: WhenFull::Refuse,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        NamespaceId::of(&self.name)
    }

    /// Checks the settings as a whole.
    ///
    /// # Errors
    /// [`BadNamespace`] names the first setting that is not allowed.
    pub fn check(&self) -> Result<(), BadNamespace> {
        if !is_name(&self.name) {
            return Err(BadNamespace::Name);
        }
        if self.replicas == 0 {
            return Err(BadNamespace::Replicas);
        }
        let in_range = |ttl: Option<u64>| ttl.is_none_or(|ms| (1..=TTL_MS_MAX).contains(&ms));
        let default_fits = match (self.ttl_default_ms, self.ttl_max_ms) {
            (Some(default), Some(max)) => default <= max,
            (None, Some(_)) => false,
            _ => true,
        };
        if !in_range(self.ttl_default_ms) || !in_range(self.ttl_max_ms) || !default_fits {
            return Err(BadNamespace::Ttl);
        }
        if self.when_full == WhenFull::Evict && self.class != Class::Memory {
            return Err(BadNamespace::WhenFull);
        }
        Ok(())
    }

    /// Turns a request into an absolute expiry.
    ///
    /// # Errors
    /// [`LifetimeError`] if the namespace does not allow it.
    pub fn expiry(&self, request: LifetimeRequest, now: Hlc) -> Result<Expiry, LifetimeError> {
        let max_ms = self.ttl_max_ms.unwrap_or(TTL_MS_MAX);
        let ttl_ms = match request {
            LifetimeRequest::Default => self.ttl_default_ms,
            LifetimeRequest::Never => None,
            LifetimeRequest::Ttl(ms) => Some(ms),
            LifetimeRequest::Until(ms) => Some(ms.saturating_sub(now.ms())),
        };
        match ttl_ms {
            None if self.ttl_max_ms.is_some() => Err(LifetimeError::NeedsEnd { max_ms }),
            None => Ok(Expiry::NEVER),
            Some(0) => Err(LifetimeError::Past),
            Some(ms) if ms > max_ms => Err(LifetimeError::TooLong { asked_ms: ms, max_ms }),
            Some(ms) => Ok(Expiry::at_ms(now.ms() + ms)),
        }
    }

    /// The settings' bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        let as_before = self.when_full == WhenFull::Refuse;
        w.u8(if as_before { NAMESPACE_FORMAT_1 } else { NAMESPACE_FORMAT }).bytes(self.name.as_bytes());
        w.u8(u8::from(self.privacy == Privacy::Raw));
        w.u8(u8::from(self.class == Class::Disk));
        w.u8(u8::from(self.scan_order == ScanOrder::Key));
        w.u8(self.replicas);
        for optional in [self.ttl_default_ms, self.ttl_max_ms, self.quota_bytes] {
            w.u64(optional.unwrap_or(u64::MAX));
        }
        w.count(self.owner_keys.len());
        for key in &self.owner_keys {
            w.raw(key);
        }
        w.bytes(self.zone.as_bytes());
        if !as_before {
            w.u8(u8::from(self.when_full == WhenFull::Evict));
        }
        w.finish()
    }

    /// Reads what [`Namespace::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8("namespace format")?;
        if !(NAMESPACE_FORMAT_1..=NAMESPACE_FORMAT).contains(&format) {
            return Err(unknown_format("namespace", format, NAMESPACE_FORMAT));
        }
        let name = r.string("namespace name", NAMESPACE_NAME_LEN_MAX)?;
        let privacy = if flag(&mut r, "privacy")? { Privacy::Raw } else { Privacy::Sealed };
        let class = if flag(&mut r, "class")? { Class::Disk } else { Class::Memory };
        let scan_order = if flag(&mut r, "scan order")? { ScanOrder::Key } else { ScanOrder::Hash };
        let replicas = r.u8("replicas")?;
        let ttl_default_ms = optional(r.u64("default ttl")?);
        let ttl_max_ms = optional(r.u64("maximum ttl")?);
        let quota_bytes = optional(r.u64("quota")?);
        let key_count = r.count("owner keys", OWNER_KEYS_MAX, 32)?;
        let mut owner_keys = Vec::with_capacity(key_count);
        for _ in 0..key_count {
            owner_keys.push(r.array("owner key")?);
        }
        let zone = r.string("zone", ZONE_LEN_MAX)?;
        let evicts = format > NAMESPACE_FORMAT_1 && flag(&mut r, "when full")?;
        let when_full = if evicts { WhenFull::Evict } else { WhenFull::Refuse };
        r.finish()?;
        Ok(Self {
            name,
            privacy,
            class,
            scan_order,
            replicas,
            ttl_default_ms,
            ttl_max_ms,
            quota_bytes,
            owner_keys,
            zone,
            when_full,
        })
    }
}

fn flag(r: &mut Reader, field: &'static str) -> Result<bool, DecodeError> {
    match r.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::BadValue { field, value: other.into() }),
    }
}

fn optional(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Namespace {
        Namespace {
            ttl_default_ms: Some(3_600_000),
            ttl_max_ms: Some(86_400_000),
            owner_keys: vec![[7; 32]],
            zone: "home".to_owned(),
            ..Namespace::new("values", Privacy::Sealed, Class::Memory, ScanOrder::Hash)
        }
    }

    #[test]
    fn settings_round_trip() {
        assert_eq!(Namespace::decode(values().encode()), Ok(values()));
        let evicting = Namespace { when_full: WhenFull::Evict, ..values() };
        assert_eq!(Namespace::decode(evicting.encode()), Ok(evicting));
    }

    #[test]
    fn only_what_version_1_cannot_say_is_written_as_version_2() {
        let old = values().encode();
        assert_eq!(old[0], 1, "an older program reads it");
        let evicting = Namespace { when_full: WhenFull::Evict, ..values() }.encode();
        assert_eq!((evicting[0], evicting.len()), (2, old.len() + 1));
        // Version 2 may also say what version 1 says.
        let mut refusing = evicting.to_vec();
        *refusing.last_mut().unwrap() = 0;
        assert_eq!(Namespace::decode(refusing.into()), Ok(values()));
        let mut odd = evicting.to_vec();
        *odd.last_mut().unwrap() = 2;
        assert!(matches!(Namespace::decode(odd.into()), Err(DecodeError::BadValue { .. })));
        let mut newer = old.to_vec();
        newer[0] = 3;
        assert!(matches!(Namespace::decode(newer.into()), Err(DecodeError::TooNew { .. })));
    }

    #[test]
    fn only_memory_evicts() {
        let evicting = Namespace { when_full: WhenFull::Evict, ..values() };
        assert_eq!(evicting.check(), Ok(()));
        assert_eq!(Namespace { class: Class::Disk, ..evicting }.check(), Err(BadNamespace::WhenFull));
    }

    #[test]
    fn lifetimes_are_refused_and_never_clamped() {
        let ns = values();
        let now = Hlc::from_ms(1_000);
        assert_eq!(ns.expiry(LifetimeRequest::Default, now), Ok(Expiry::at_ms(3_601_000)));
        assert_eq!(ns.expiry(LifetimeRequest::Ttl(0), now), Err(LifetimeError::Past));
        assert_eq!(ns.expiry(LifetimeRequest::Until(1_000), now), Err(LifetimeError::Past));
        assert_eq!(
            ns.expiry(LifetimeRequest::Ttl(86_400_001), now),
            Err(LifetimeError::TooLong { asked_ms: 86_400_001, max_ms: 86_400_000 })
        );
        assert!(matches!(ns.expiry(LifetimeRequest::Never, now), Err(LifetimeError::NeedsEnd { .. })));
    }

    #[test]
    fn names_and_ttls_are_checked() {
        assert_eq!(values().check(), Ok(()));
        for bad in ["", "A", "-x", "a/b", &"x".repeat(65)] {
            assert_eq!(Namespace { name: bad.to_owned(), ..values() }.check(), Err(BadNamespace::Name));
        }
        assert_eq!(Namespace { ttl_default_ms: None, ..values() }.check(), Err(BadNamespace::Ttl));
    }
}
