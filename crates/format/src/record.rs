//! The first primitive: a record, a small named mutable value, and the state its register decides on.
//!
//! [`RecordState`] is what replicas agree on for one key; [`RecordSlot`] is what one acceptor keeps of it.
//! The rules by which states follow each other are in `larder-mesh`; here is only what they are made of and
//! their bytes. `docs/design/format.md` has the layout byte by byte.

use bytes::Bytes;

use crate::clock::Hlc;
use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::{LeaseToken, OperationId};
use crate::limits::{
    HEAD_LEN_MAX, KEY_LEN_MAX, RECORD_OPERATIONS_MAX, RECORD_TOKENS_MAX, TAKES_MAX, VALUE_LEN_MAX,
};

/// Version of the record layout that this program writes.
pub const RECORD_FORMAT: u8 = 1;

/// A record's key: 1 to [`KEY_LEN_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// A key's length is outside 1 to [`KEY_LEN_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key must have 1 to {KEY_LEN_MAX} bytes len={len}")]
pub struct BadKey {
    /// Length given.
    pub len: usize,
}

impl Key {
    /// Checks the length and takes the bytes.
    ///
    /// # Errors
    /// [`BadKey`] if empty or too long.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, BadKey> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > KEY_LEN_MAX {
            return Err(BadKey { len: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// Identifies one value a record has had: the hybrid time of the operation that made it. Strictly rising
/// within a key, never reused, not even after a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub Hlc);

impl Version {
    /// As a number that sorts the same way.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0.to_u64()
    }

    /// From the number that [`Version::to_u64`] gave.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        Self(Hlc::from_u64(value))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.to_u64())
    }
}

/// When a record's time is up: absolute, in milliseconds since 1970 of hybrid time, or never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expiry(u64);

impl Expiry {
    /// No end.
    pub const NEVER: Expiry = Expiry(u64::MAX);

    /// At this many milliseconds since 1970.
    #[must_use]
    pub fn at_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970, or `None` for never.
    #[must_use]
    pub fn ms(self) -> Option<u64> {
        (self != Self::NEVER).then_some(self.0)
    }

    /// Whether the time is up, given the highest hybrid time seen.
    #[must_use]
    pub fn is_past(self, high: Hlc) -> bool {
        self != Self::NEVER && high.ms() >= self.0
    }

    /// As stored: milliseconds, all ones for never.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }
}

impl std::fmt::Debug for Expiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ms() {
            Some(ms) => write!(f, "Expiry({ms})"),
            None => f.write_str("Expiry(never)"),
        }
    }
}

/// A proposal number of a register. Sorts by round, then proposer; a proposer is one incarnation of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ballot {
    /// Rises with every attempt.
    pub round: u64,
    /// The proposing incarnation's random number: makes ballots unique.
    pub proposer: u64,
}

impl Ballot {
    /// Below all others.
    pub const ZERO: Ballot = Ballot { round: 0, proposer: 0 };
}

/// What an acceptor of a replicated register remembers beside the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ballots {
    /// Nothing below this is answered any more.
    pub promised: Ballot,
    /// Where the state was accepted.
    pub accepted: Ballot,
}

/// All that one acceptor keeps for one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordSlot {
    /// Absent where there is one acceptor: then the version serves as the ballot.
    pub ballots: Option<Ballots>,
    /// The accepted state, if any was.
    pub state: Option<RecordState>,
}

/// What replicas agree on for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordState {
    /// Which value this is.
    pub version: Version,
    /// When its time is up. A shadow keeps the expiry its value had.
    pub expiry: Expiry,
    /// The value, or the shadow of one.
    pub content: Content,
    /// Operations whose result must still be known, oldest first.
    pub operations: Vec<OperationRecord>,
}

/// A value, or what stays of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// There is a value (unless its time is up).
    Live(Live),
    /// There was one.
    Shadow(ShadowReason),
}

/// Why a record became a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShadowReason {
    /// Somebody deleted it.
    Deleted,
    /// Its time was up.
    Expired,
    /// It was read as often as it allowed.
    Taken,
}

/// A value that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Reads left, for a value that may only be taken; never 0.
    pub takes_left: Option<u32>,
    /// Leases that keep this value's blobs (sealed namespaces).
    pub tokens: Vec<LeaseToken>,
    /// Name and attributes, sealed; empty in raw namespaces. At most [`HEAD_LEN_MAX`] bytes.
    pub head: Bytes,
    /// Everything else.
    pub body: Bytes,
}

/// An operation with an id, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRecord {
    /// Chosen by whoever asked.
    pub id: OperationId,
    /// Hybrid time in milliseconds until which the result is kept, and after which the id is refused.
    pub deadline_ms: u64,
    /// What came of it.
    pub result: OperationResult,
}

/// The result of an operation that changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationResult {
    /// A put or touch made this version with this expiry.
    Written {
        /// The version it made.
        version: Version,
        /// Until when it lives.
        expiry: Expiry,
    },
    /// A delete removed a value, making this version of shadow.
    Deleted {
        /// The shadow's version.
        version: Version,
    },
    /// A take got these bytes.
    Taken {
        /// The version the take made.
        version: Version,
        /// Until when the rest lived.
        expiry: Expiry,
        /// Reads left after it.
        takes_left: u32,
        /// Head of the value taken.
        head: Bytes,
        /// Body of the value taken.
        body: Bytes,
    },
}

/// What most operations need to know of a state, small enough to be kept in memory for every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMeta {
    /// Which value this is.
    pub version: Version,
    /// When its time is up.
    pub expiry: Expiry,
    /// `None` for a value, else why there is none any more.
    pub shadow: Option<ShadowReason>,
    /// Reads left, for a value that may only be taken.
    pub takes_left: Option<u32>,
    /// Whether results of operations with ids are kept in the state.
    pub has_operations: bool,
    /// [`RecordState::value_len`], in bytes.
    pub value_len: u32,
}

impl RecordMeta {
    /// Whether there is a value whose time is not up.
    #[must_use]
    pub fn is_live(&self, high: Hlc) -> bool {
        self.shadow.is_none() && !self.expiry.is_past(high)
    }
}

impl RecordState {
    /// The state without its bytes.
    #[must_use]
    pub fn meta(&self) -> RecordMeta {
        let (shadow, takes_left) = match &self.content {
            Content::Live(live) => (None, live.takes_left),
            Content::Shadow(reason) => (Some(*reason), None),
        };
        RecordMeta {
            version: self.version,
            expiry: self.expiry,
            shadow,
            takes_left,
            has_operations: !self.operations.is_empty(),
            value_len: u32::try_from(self.value_len()).unwrap_or(u32::MAX),
        }
    }

    /// The value, if there is one whose time is not up.
    #[must_use]
    pub fn live(&self, high: Hlc) -> Option<&Live> {
        match &self.content {
            Content::Live(live) if !self.expiry.is_past(high) => Some(live),
            _ => None,
        }
    }

    /// Bytes of value, as quotas and caps count them: head and body, and bytes kept for takers.
    #[must_use]
    pub fn value_len(&self) -> usize {
        let live = match &self.content {
            Content::Live(live) => live.head.len() + live.body.len(),
            Content::Shadow(_) => 0,
        };
        let taken = self.operations.iter().map(|o| match &o.result {
            OperationResult::Taken { head, body, .. } => head.len() + body.len(),
            _ => 0,
        });
        live + taken.sum::<usize>()
    }

    /// What stays of this state when its value goes: version, expiry and remembered operations.
    #[must_use]
    pub fn shadow(&self, reason: ShadowReason) -> Self {
        Self {
            version: self.version,
            expiry: self.expiry,
            content: Content::Shadow(reason),
            operations: self.operations.clone(),
        }
    }

    /// The state's bytes, as stored and sent.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(64 + self.value_len());
        self.encode_into(&mut w);
        w.finish()
    }

    /// Appends the state's bytes. The body is always last, without a length.
    pub fn encode_into(&self, w: &mut Writer) {
        w.u8(RECORD_FORMAT);
        let (kind, takes, tokens) = match &self.content {
            Content::Live(live) => (0, live.takes_left, live.tokens.as_slice()),
            Content::Shadow(ShadowReason::Deleted) => (1, None, &[][..]),
            Content::Shadow(ShadowReason::Expired) => (2, None, &[][..]),
            Content::Shadow(ShadowReason::Taken) => (3, None, &[][..]),
        };
        w.u8(kind);
        w.u64(self.version.to_u64()).u64(self.expiry.to_u64());
        w.u32(takes.unwrap_or(0));
        w.count(tokens.len());
        for token in tokens {
            w.raw(&token.0);
        }
        w.count(self.operations.len());
        for operation in &self.operations {
            operation.encode_into(w);
        }
        if let Content::Live(live) = &self.content {
            w.bytes(&live.head).raw(&live.body);
        }
    }

    /// Reads what [`RecordState::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`]: never panics, never allocates beyond the input's own size and the named limits.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8("record format")?;
        if format != RECORD_FORMAT {
            return Err(unknown_format("record", format, RECORD_FORMAT));
        }
        let kind = r.u8("record kind")?;
        let version = Version::from_u64(r.u64("version")?);
        let expiry = Expiry(r.u64("expiry")?);
        let takes = r.u32("takes left")?;
        if takes > TAKES_MAX {
            return Err(DecodeError::BadValue { field: "takes left", value: takes.into() });
        }
        let token_count = r.count("tokens", RECORD_TOKENS_MAX, LeaseToken::LEN)?;
        let mut tokens = Vec::with_capacity(token_count);
        for _ in 0..token_count {
            tokens.push(LeaseToken(r.array("token")?));
        }
        let operation_count = r.count("operations", RECORD_OPERATIONS_MAX, OperationRecord::LEN_MIN)?;
        let mut operations = Vec::with_capacity(operation_count);
        for _ in 0..operation_count {
            operations.push(OperationRecord::decode(&mut r)?);
        }
        let content = if kind == 0 {
            let head = r.bytes("head", HEAD_LEN_MAX)?;
            if r.remaining() > VALUE_LEN_MAX {
                return Err(DecodeError::TooLong { field: "body", len: r.remaining(), max: VALUE_LEN_MAX });
            }
            let takes_left = (takes > 0).then_some(takes);
            Content::Live(Live { takes_left, tokens, head, body: r.rest() })
        } else {
            if takes != 0 || !tokens.is_empty() {
                return Err(DecodeError::BadValue { field: "shadow with value fields", value: kind.into() });
            }
            Content::Shadow(match kind {
                1 => ShadowReason::Deleted,
                2 => ShadowReason::Expired,
                3 => ShadowReason::Taken,
                _ => return Err(DecodeError::BadValue { field: "record kind", value: kind.into() }),
            })
        };
        r.finish()?;
        Ok(Self { version, expiry, content, operations })
    }
}

/// A version byte that is not the one this program writes: newer, or nonsense.
#[must_use]
pub fn unknown_format(what: &'static str, found: u8, supported: u8) -> DecodeError {
    if found > supported {
        DecodeError::TooNew { what, version: found.into(), supported: supported.into() }
    } else {
        DecodeError::BadValue { field: what, value: found.into() }
    }
}

impl OperationRecord {
    /// Fewest bytes an encoded one takes.
    const LEN_MIN: usize = OperationId::LEN + 8 + 1 + 8;

    fn encode_into(&self, w: &mut Writer) {
        w.raw(&self.id.0).u64(self.deadline_ms);
        match &self.result {
            OperationResult::Written { version, expiry } => {
                w.u8(0).u64(version.to_u64()).u64(expiry.to_u64());
            }
            OperationResult::Deleted { version } => {
                w.u8(1).u64(version.to_u64());
            }
            OperationResult::Taken { version, expiry, takes_left, head, body } => {
                w.u8(2).u64(version.to_u64()).u64(expiry.to_u64());
                w.u32(*takes_left).bytes(head).bytes(body);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let id = OperationId(r.array("operation id")?);
        let deadline_ms = r.u64("operation deadline")?;
        let kind = r.u8("operation result")?;
        let version = Version::from_u64(r.u64("operation version")?);
        let result = match kind {
            0 => OperationResult::Written { version, expiry: Expiry(r.u64("operation expiry")?) },
            1 => OperationResult::Deleted { version },
            2 => OperationResult::Taken {
                version,
                expiry: Expiry(r.u64("operation expiry")?),
                takes_left: r.u32("operation takes left")?,
                head: r.bytes("taken head", HEAD_LEN_MAX)?,
                body: r.bytes("taken body", VALUE_LEN_MAX)?,
            },
            _ => return Err(DecodeError::BadValue { field: "operation result", value: kind.into() }),
        };
        Ok(Self { id, deadline_ms, result })
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
