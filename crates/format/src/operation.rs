//! What may be asked of a record, and what may come of it. The rules are in `larder-mesh`.

use bytes::Bytes;

use crate::error::Kind;
use crate::ids::{LeaseToken, OperationId};
use crate::record::{Expiry, Version};

/// Under which condition an operation takes effect. Conditions compare versions, never ballots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Condition {
    /// Always.
    #[default]
    Any,
    /// Only if there is no value (none ever, deleted, taken, or its time is up).
    Absent,
    /// Only if the value is of this version.
    Version(Version),
}

/// An operation's identity, so that a retry after an unknown outcome is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Random, chosen by whoever asks.
    pub id: OperationId,
    /// Hybrid time in milliseconds after which the operation is refused and its result forgotten.
    pub deadline_ms: u64,
}

/// Until when a written value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Until this moment (or never).
    Until(Expiry),
    /// As long as the value it replaces; without one, until the given moment.
    Keep(Expiry),
}

/// One operation on one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Reads the value. Shows nothing of a value that may only be taken.
    Get,
    /// Writes a value.
    Put(Put),
    /// Changes the expiry, and nothing else.
    Touch {
        /// When to.
        condition: Condition,
        /// The new end.
        expiry: Expiry,
    },
    /// Removes the value.
    Delete {
        /// When to.
        condition: Condition,
    },
    /// Reads a value that allows a limited number of reads, using one up.
    Take,
}

/// Writes a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// When to.
    pub condition: Condition,
    /// Until when it lives.
    pub lifetime: Lifetime,
    /// The value may only be taken, this many times; `None` for ordinary values. Not 0.
    pub takes: Option<u32>,
    /// Leases that keep the blobs this value names.
    pub tokens: Vec<LeaseToken>,
    /// Hybrid time in milliseconds at or after which acceptors refuse this write, because a lease it relies
    /// on may have ended.
    pub not_after_ms: Option<u64>,
    /// Name and attributes, sealed; empty in raw namespaces.
    pub head: Bytes,
    /// Everything else.
    pub body: Bytes,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A get found this.
    Found(Found),
    /// There is no value (or, for get, touch by condition and the like: none that may be shown).
    Absent,
    /// A put or touch made this version.
    Written {
        /// The version it made.
        version: Version,
        /// Until when it lives.
        expiry: Expiry,
    },
    /// A delete removed a value.
    Deleted {
        /// The version of the shadow it left.
        version: Version,
    },
    /// A take got this.
    Taken {
        /// The version the take made.
        version: Version,
        /// Until when the rest lives.
        expiry: Expiry,
        /// Reads left after it.
        takes_left: u32,
        /// Head of the value.
        head: Bytes,
        /// Body of the value.
        body: Bytes,
    },
    /// The condition did not hold; nothing changed.
    Conflict {
        /// The version there is; `None` if there is no value.
        current: Option<Version>,
    },
    /// Refused; nothing changed.
    Refused(Refusal),
}

/// A value that a get found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which value.
    pub version: Version,
    /// Until when it lives.
    pub expiry: Expiry,
    /// Reads left, for a value that may only be taken; then head, body and tokens are empty.
    pub takes_left: Option<u32>,
    /// Leases it lists.
    pub tokens: Vec<LeaseToken>,
    /// Its head.
    pub head: Bytes,
    /// Its body.
    pub body: Bytes,
}

/// Why an operation was refused without looking at its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its operation id's deadline has passed: the outcome of the first attempt is no longer known.
    #[error("the operation's deadline has passed; read the record to see what became of it")]
    DeadlinePassed,
    /// The deadline asked for is too far ahead.
    #[error("the operation's deadline is too far ahead max_ms={max_ms}")]
    DeadlineTooFar {
        /// Furthest allowed, in milliseconds from now.
        max_ms: u64,
    },
    /// `not_after` has passed: leases may have ended; put the blobs again.
    #[error("too late: the leases this write relies on may have ended; send its blobs again")]
    NotAfter,
    /// The value would be expired when written.
    #[error("the expiry asked for has passed already")]
    BornExpired,
    /// The expiry asked for is beyond what the namespace allows.
    #[error("the lifetime asked for is longer than the namespace allows max={}", crate::span::text(*max_ttl_ms))]
    ExpiryTooFar {
        /// Longest time to live allowed, in milliseconds.
        max_ttl_ms: u64,
    },
    /// The sender's time is too far from that of a majority of replicas, ahead or behind.
    #[error("the sender's clock and the replicas' are too far apart; check the clocks")]
    ClockAhead,
    /// Too many operations with ids on this record at once.
    #[error("too many operations with ids on this record at once; try again later")]
    TooManyOperations,
    /// An operation of this name, and remembered still, asked something else.
    #[error("this name was given to another request on the same key; choose another")]
    NameReused,
    /// The value is an ordinary one, and take was asked.
    #[error("this value cannot be taken; read it instead")]
    NotTakeable,
    /// A put asked for 0 reads, or for more than [`TAKES_MAX`](crate::limits::TAKES_MAX).
    #[error("a value may be taken 1 to {max} times", max = crate::limits::TAKES_MAX)]
    TakesOutOfRange,
}

impl Refusal {
    /// What the caller should do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            // The first attempt under this id may have taken effect: only a read can tell.
            Refusal::DeadlinePassed => Kind::Unknown,
            Refusal::NotAfter | Refusal::TooManyOperations | Refusal::ClockAhead => Kind::Retry,
            Refusal::NameReused => Kind::Conflict,
            Refusal::DeadlineTooFar { .. }
            | Refusal::BornExpired
            | Refusal::ExpiryTooFar { .. }
            | Refusal::NotTakeable
            | Refusal::TakesOutOfRange => Kind::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_that_is_too_long_is_told_as_people_write_it() {
        let refused = Refusal::ExpiryTooFar { max_ttl_ms: 129_600_000 };
        assert_eq!(
            refused.to_string(),
            "the lifetime asked for is longer than the namespace allows max=1d12h"
        );
    }
}
