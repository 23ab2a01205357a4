//! Requests: from messages to checked types (node side) and back (client side).

use larder_format::ids::{BlobId, LeaseToken, NamespaceId, OperationId};
use larder_format::limits::{HEAD_LEN_MAX, RECORD_TOKENS_MAX, TAKES_MAX, VALUE_LEN_MAX};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Identity};
use larder_format::record::{Key, Version};

use crate::v1;

/// A message that does not say anything valid. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A required field is missing.
    #[error("missing field={field}")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field has a length it cannot have.
    #[error("bad length field={field} len={len} max={max}")]
    Length {
        /// Which.
        field: &'static str,
        /// Found.
        len: usize,
        /// Allowed.
        max: usize,
    },
    /// A number is out of range.
    #[error("out of range field={field} value={value} max={max}")]
    Range {
        /// Which.
        field: &'static str,
        /// Found.
        value: u64,
        /// Allowed.
        max: u64,
    },
}

/// What a request asks of a record, with lifetimes still relative: the node resolves them by the
/// namespace's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Read.
    Get {
        /// Leave the body out.
        head_only: bool,
    },
    /// Write.
    Put(AskPut),
    /// Change the lifetime.
    Touch {
        /// When to.
        condition: Condition,
        /// To what.
        lifetime: LifetimeRequest,
    },
    /// Remove.
    Delete {
        /// When to.
        condition: Condition,
    },
    /// Read, using up one of a limited number of reads.
    Take,
}

/// A write, as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AskPut {
    /// When to.
    pub condition: Condition,
    /// Until when it lives.
    pub lifetime: LifetimeRequest,
    /// Keep the lifetime of the value replaced, if there is one.
    pub keep_lifetime: bool,
    /// The value may only be taken, this many times.
    pub takes: Option<u32>,
    /// Leases it relies on.
    pub tokens: Vec<LeaseToken>,
    /// Refuse at or after this hybrid time in milliseconds.
    pub not_after_ms: Option<u64>,
    /// Head.
    pub head: bytes::Bytes,
    /// Body.
    pub body: bytes::Bytes,
}

/// One request on one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRequest {
    /// Chosen by the client; comes back in the answer.
    pub tag: u64,
    /// Which namespace.
    pub namespace: NamespaceId,
    /// Which record.
    pub key: Key,
    /// So that a retry is recognised.
    pub identity: Option<Identity>,
    /// What to do.
    pub ask: Ask,
}

/// Exactly `N` bytes, or an error that names the field.
fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], BadRequest> {
    bytes.try_into().map_err(|_| BadRequest::Length { field, len: bytes.len(), max: N })
}

/// A blob id from a message.
///
/// # Errors
/// [`BadRequest::Length`].
pub fn blob_id(bytes: &[u8]) -> Result<BlobId, BadRequest> {
    fixed("blob id", bytes).map(BlobId)
}

/// A lease token from a message.
///
/// # Errors
/// [`BadRequest::Length`].
pub fn lease_token(bytes: &[u8]) -> Result<LeaseToken, BadRequest> {
    fixed("lease token", bytes).map(LeaseToken)
}

/// A key from a message.
///
/// # Errors
/// [`BadRequest::Length`].
pub fn key(bytes: bytes::Bytes) -> Result<Key, BadRequest> {
    Key::new(bytes).map_err(|e| BadRequest::Length {
        field: "key",
        len: e.len,
        max: larder_format::limits::KEY_LEN_MAX,
    })
}

/// No message means no condition. One that says nothing known here (a newer client's kind) is refused: taking it
/// for no condition would write what must not be written.
fn condition(message: Option<v1::Condition>) -> Result<Condition, BadRequest> {
    match message.map(|m| m.when) {
        None => Ok(Condition::Any),
        Some(Some(v1::condition::When::Absent(true))) => Ok(Condition::Absent),
        Some(Some(v1::condition::When::Version(v))) => Ok(Condition::Version(Version::from_u64(v))),
        Some(Some(v1::condition::When::Absent(false)) | None) => {
            Err(BadRequest::Missing { field: "condition.when" })
        }
    }
}

fn condition_message(condition: Condition) -> Option<v1::Condition> {
    let when = match condition {
        Condition::Any => return None,
        Condition::Absent => v1::condition::When::Absent(true),
        Condition::Version(v) => v1::condition::When::Version(v.to_u64()),
    };
    Some(v1::Condition { when: Some(when) })
}

/// No message means the namespace's default; one that says nothing known here is refused, as for conditions.
fn lifetime(message: Option<v1::Lifetime>) -> Result<LifetimeRequest, BadRequest> {
    match message.map(|m| m.until) {
        None => Ok(LifetimeRequest::Default),
        Some(Some(v1::lifetime::Until::Never(true))) => Ok(LifetimeRequest::Never),
        Some(Some(v1::lifetime::Until::TtlMs(ms))) => Ok(LifetimeRequest::Ttl(ms)),
        Some(Some(v1::lifetime::Until::AtMs(ms))) => Ok(LifetimeRequest::Until(ms)),
        Some(Some(v1::lifetime::Until::Never(false)) | None) => {
            Err(BadRequest::Missing { field: "lifetime.until" })
        }
    }
}

fn lifetime_message(lifetime: LifetimeRequest) -> Option<v1::Lifetime> {
    let until = match lifetime {
        LifetimeRequest::Default => return None,
        LifetimeRequest::Never => v1::lifetime::Until::Never(true),
        LifetimeRequest::Ttl(ms) => v1::lifetime::Until::TtlMs(ms),
        LifetimeRequest::Until(ms) => v1::lifetime::Until::AtMs(ms),
    };
    Some(v1::Lifetime { until: Some(until) })
}

fn put(message: v1::Put) -> Result<AskPut, BadRequest> {
    let too_long = |field, len, max| BadRequest::Length { field, len, max };
    if message.head.len() > HEAD_LEN_MAX {
        return Err(too_long("head", message.head.len(), HEAD_LEN_MAX));
    }
    if message.head.len() + message.body.len() > VALUE_LEN_MAX {
        return Err(too_long("value", message.head.len() + message.body.len(), VALUE_LEN_MAX));
    }
    if message.tokens.len() > RECORD_TOKENS_MAX {
        return Err(too_long("tokens", message.tokens.len(), RECORD_TOKENS_MAX));
    }
    if message.takes > TAKES_MAX {
        return Err(BadRequest::Range { field: "takes", value: message.takes.into(), max: TAKES_MAX.into() });
    }
    let tokens = message.tokens.iter().map(|t| lease_token(t)).collect::<Result<_, _>>()?;
    Ok(AskPut {
        condition: condition(message.condition)?,
        lifetime: lifetime(message.lifetime)?,
        keep_lifetime: message.keep_lifetime,
        takes: (message.takes > 0).then_some(message.takes),
        tokens,
        not_after_ms: (message.not_after_ms > 0).then_some(message.not_after_ms),
        head: message.head,
        body: message.body,
    })
}

impl RecordRequest {
    /// Checks a message.
    ///
    /// # Errors
    /// [`BadRequest`] names the field.
    pub fn from_message(message: v1::ApplyRequest) -> Result<Self, BadRequest> {
        use v1::apply_request::Operation as Message;
        let identity = match message.identity {
            None => None,
            Some(i) => {
                Some(Identity { id: OperationId(fixed("operation id", &i.id)?), deadline_ms: i.deadline_ms })
            }
        };
        let ask = match message.operation.ok_or(BadRequest::Missing { field: "operation" })? {
            Message::Get(get) => Ask::Get { head_only: get.head_only },
            Message::Put(message) => Ask::Put(put(message)?),
            Message::Touch(t) => {
                Ask::Touch { condition: condition(t.condition)?, lifetime: lifetime(t.lifetime)? }
            }
            Message::Delete(d) => Ask::Delete { condition: condition(d.condition)? },
            Message::Take(_) => Ask::Take,
        };
        Ok(Self {
            tag: message.tag,
            namespace: NamespaceId(message.namespace),
            key: key(message.key)?,
            identity,
            ask,
        })
    }

    /// The message that says this.
    #[must_use]
    pub fn into_message(self) -> v1::ApplyRequest {
        use v1::apply_request::Operation as Message;
        let operation = match self.ask {
            Ask::Get { head_only } => Message::Get(v1::Get { head_only }),
            Ask::Put(p) => Message::Put(v1::Put {
                condition: condition_message(p.condition),
                lifetime: lifetime_message(p.lifetime),
                keep_lifetime: p.keep_lifetime,
                takes: p.takes.unwrap_or(0),
                tokens: p.tokens.iter().map(|t| bytes::Bytes::copy_from_slice(&t.0)).collect(),
                not_after_ms: p.not_after_ms.unwrap_or(0),
                head: p.head,
                body: p.body,
            }),
            Ask::Touch { condition, lifetime } => Message::Touch(v1::Touch {
                condition: condition_message(condition),
                lifetime: lifetime_message(lifetime),
            }),
            Ask::Delete { condition } => {
                Message::Delete(v1::Delete { condition: condition_message(condition) })
            }
            Ask::Take => Message::Take(v1::Take {}),
        };
        v1::ApplyRequest {
            tag: self.tag,
            namespace: self.namespace.0,
            key: self.key.to_bytes(),
            identity: self.identity.map(|i| v1::Identity {
                id: bytes::Bytes::copy_from_slice(&i.id.0),
                deadline_ms: i.deadline_ms,
            }),
            operation: Some(operation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_or_lifetime_of_an_unknown_kind_is_refused_not_ignored() {
        assert_eq!(condition(None), Ok(Condition::Any));
        assert!(condition(Some(v1::Condition { when: None })).is_err());
        assert!(condition(Some(v1::Condition { when: Some(v1::condition::When::Absent(false)) })).is_err());
        assert_eq!(lifetime(None), Ok(LifetimeRequest::Default));
        assert!(lifetime(Some(v1::Lifetime { until: None })).is_err());
        assert!(lifetime(Some(v1::Lifetime { until: Some(v1::lifetime::Until::Never(false)) })).is_err());
        for asked in [LifetimeRequest::Default, LifetimeRequest::Never, LifetimeRequest::Ttl(5)] {
            assert_eq!(lifetime(lifetime_message(asked)), Ok(asked));
        }
    }
}
