//! Answers: outcomes and errors as messages (node side) and back (client side).

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::LeaseToken;
use larder_format::operation::{Found, Outcome};
use larder_format::record::{Expiry, Version};

use crate::v1;
use crate::v1::apply_response::Outcome as Message;

/// An error as it travels: what to do, and words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the caller should do.
    pub kind: Kind,
    /// What happened, lower-case, without a full stop.
    pub message: String,
    /// Which limit of the node left no room for what was asked, if that is why.
    pub no_room: Option<Limit>,
}

/// A limit of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Its disk.
    Disk,
    /// What its data folder may take.
    NodeQuota,
    /// What one namespace may hold.
    NamespaceQuota,
    /// What its values in memory may take.
    MemoryCap,
}

/// Each limit, its number in messages, and its name where an error travels without one.
const LIMITS: [(Limit, v1::Limit, &str); 4] = [
    (Limit::Disk, v1::Limit::Disk, "disk"),
    (Limit::NodeQuota, v1::Limit::NodeQuota, "node-quota"),
    (Limit::NamespaceQuota, v1::Limit::NamespaceQuota, "namespace-quota"),
    (Limit::MemoryCap, v1::Limit::MemoryCap, "memory-cap"),
];

impl Limit {
    /// Name of the metadata that carries a limit with the error of a whole call.
    pub const METADATA: &str = "larder-no-room";

    /// Its name in metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        LIMITS.iter().find(|(limit, ..)| *limit == self).map_or("", |(.., name)| *name)
    }

    /// The limit of a name; `None` for one that this program does not know.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        LIMITS.iter().find(|(.., n)| *n == name).map(|(limit, ..)| *limit)
    }
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), no_room: None }
    }

    /// The same failure in other words.
    #[must_use]
    pub fn worded(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// As a message.
    #[must_use]
    pub fn into_message(self) -> v1::Error {
        let no_room = self.no_room.and_then(|limit| LIMITS.iter().find(|(l, ..)| *l == limit));
        let no_room = no_room.map_or(v1::Limit::Unspecified, |(_, message, _)| *message);
        v1::Error { kind: kind_message(self.kind).into(), message: self.message, no_room: no_room.into() }
    }

    /// From a message.
    #[must_use]
    pub fn from_message(message: v1::Error) -> Self {
        let limit = LIMITS.iter().find(|(_, m, _)| *m == message.no_room()).map(|(limit, ..)| *limit);
        Self { kind: kind(message.kind()), no_room: limit, message: message.message }
    }
}

/// Pairs of kinds and their numbers on the wire, the one table both directions read.
const KINDS: [(Kind, v1::ErrorKind); 11] = [
    (Kind::Invalid, v1::ErrorKind::Invalid),
    (Kind::NotFound, v1::ErrorKind::NotFound),
    (Kind::Conflict, v1::ErrorKind::Conflict),
    (Kind::Full, v1::ErrorKind::Full),
    (Kind::Damaged, v1::ErrorKind::Damaged),
    (Kind::Denied, v1::ErrorKind::Denied),
    (Kind::Retry, v1::ErrorKind::Retry),
    (Kind::Unknown, v1::ErrorKind::UnknownOutcome),
    (Kind::TooNew, v1::ErrorKind::TooNew),
    (Kind::Closed, v1::ErrorKind::Closed),
    (Kind::Bug, v1::ErrorKind::Bug),
];

fn kind_message(kind: Kind) -> v1::ErrorKind {
    KINDS.iter().find(|(k, _)| *k == kind).map_or(v1::ErrorKind::Bug, |(_, m)| *m)
}

fn kind(message: v1::ErrorKind) -> Kind {
    KINDS.iter().find(|(_, m)| *m == message).map_or(Kind::Bug, |(k, _)| *k)
}

fn expiry_message(expiry: Expiry) -> u64 {
    expiry.ms().unwrap_or(0)
}

fn expiry(message: u64) -> Expiry {
    if message == 0 { Expiry::NEVER } else { Expiry::at_ms(message) }
}

/// A found value as a message.
#[must_use]
pub fn found_message(found: Found) -> v1::Found {
    v1::Found {
        version: found.version.to_u64(),
        expiry_ms: expiry_message(found.expiry),
        takes_left: found.takes_left.unwrap_or(0),
        tokens: found.tokens.iter().map(|t| Bytes::copy_from_slice(&t.0)).collect(),
        head: found.head,
        body: found.body,
    }
}

/// A found value from a message; tokens of a wrong length are dropped.
#[must_use]
pub fn found(message: v1::Found) -> Found {
    Found {
        version: Version::from_u64(message.version),
        expiry: expiry(message.expiry_ms),
        takes_left: (message.takes_left > 0).then_some(message.takes_left),
        tokens: message.tokens.iter().filter_map(|t| LeaseToken::try_from(&t[..]).ok()).collect(),
        head: message.head,
        body: message.body,
    }
}

/// The answer to one request.
#[must_use]
pub fn answer_message(tag: u64, answer: Result<Outcome, Failure>) -> v1::ApplyResponse {
    let outcome = match answer {
        Ok(Outcome::Found(f)) => Message::Found(found_message(f)),
        Ok(Outcome::Absent) => Message::Absent(v1::Absent {}),
        Ok(Outcome::Written { version, expiry }) => {
            Message::Written(v1::Written { version: version.to_u64(), expiry_ms: expiry_message(expiry) })
        }
        Ok(Outcome::Deleted { version }) => Message::Deleted(v1::Deleted { version: version.to_u64() }),
        Ok(Outcome::Taken { version, expiry, takes_left, head, body }) => Message::Taken(v1::Taken {
            version: version.to_u64(),
            expiry_ms: expiry_message(expiry),
            takes_left,
            head,
            body,
        }),
        Ok(Outcome::Conflict { current }) => {
            Message::Conflict(v1::Conflict { current: current.map_or(0, Version::to_u64) })
        }
        Ok(Outcome::Refused(refusal)) => {
            Message::Error(Failure::new(Kind::Invalid, refusal.to_string()).into_message())
        }
        Err(failure) => Message::Error(failure.into_message()),
    };
    v1::ApplyResponse { tag, outcome: Some(outcome) }
}

/// Reads an answer.
///
/// # Errors
/// The [`Failure`] the node reported, or one of kind [`Kind::Bug`] for a message without an outcome.
pub fn answer(message: v1::ApplyResponse) -> Result<Outcome, Failure> {
    match message.outcome {
        None => Err(Failure::new(Kind::Bug, "the node sent an answer without an outcome")),
        Some(Message::Found(f)) => Ok(Outcome::Found(found(f))),
        Some(Message::Absent(_)) => Ok(Outcome::Absent),
        Some(Message::Written(w)) => {
            Ok(Outcome::Written { version: Version::from_u64(w.version), expiry: expiry(w.expiry_ms) })
        }
        Some(Message::Deleted(d)) => Ok(Outcome::Deleted { version: Version::from_u64(d.version) }),
        Some(Message::Taken(t)) => Ok(Outcome::Taken {
            version: Version::from_u64(t.version),
            expiry: expiry(t.expiry_ms),
            takes_left: t.takes_left,
            head: t.head,
            body: t.body,
        }),
        Some(Message::Conflict(c)) => {
            Ok(Outcome::Conflict { current: (c.current > 0).then(|| Version::from_u64(c.current)) })
        }
        Some(Message::Error(e)) => Err(Failure::from_message(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_the_same_after_its_travel() {
        for limit in [None].into_iter().chain(LIMITS.map(|(limit, ..)| Some(limit))) {
            let failure = Failure { no_room: limit, ..Failure::new(Kind::Full, "no room") };
            assert_eq!(Failure::from_message(failure.clone().into_message()), failure);
            assert_eq!(limit.and_then(|limit| Limit::named(limit.name())), limit);
        }
        let newer = v1::Error { no_room: 99, ..Failure::new(Kind::Full, "later").into_message() };
        assert_eq!(Failure::from_message(newer).no_room, None);
    }
}
