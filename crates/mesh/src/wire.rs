//! The bytes of the register's messages: bounded, one encoding per message, versioned.
//!
//! Every decoder refuses lengths beyond the named limits before it allocates, unknown kinds, newer formats
//! and trailing bytes. States travel in the layout of `larder_format::record`.

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::limits::{HEAD_LEN_MAX, KEY_LEN_MAX, TAKES_MAX, VALUE_LEN_MAX};
use larder_format::record::{
    Ballot, Ballots, Content, Expiry, Key, RecordMeta, RecordSlot, RecordState, ShadowReason, Version,
};

use crate::join::JOIN_PAGE_SLOTS_MAX;
use crate::message::{Answer, Ask, JoinAsk, JoinPage, Refused, Reply, Request, Summary, Value};

/// Version of the message layout that this program writes.
pub const MESSAGE_FORMAT: u8 = 1;

/// Longest encoded state, in bytes: a value of the largest size, as much again kept for takers, and room for
/// tokens and remembered operations.
pub const STATE_LEN_MAX: usize = 2 * VALUE_LEN_MAX + 2 * HEAD_LEN_MAX + 64 * 1024;

/// Fewest bytes a slot takes in a page: key length and key, ballots, absent state.
const SLOT_LEN_MIN: usize = 4 + 1 + 1 + 1;

fn ballot_into(w: &mut Writer, ballot: Ballot) {
    w.u64(ballot.round).u64(ballot.proposer);
}

fn ballot(r: &mut Reader) -> Result<Ballot, DecodeError> {
    Ok(Ballot { round: r.u64("ballot round")?, proposer: r.u64("ballot proposer")? })
}

fn flag(r: &mut Reader, field: &'static str) -> Result<bool, DecodeError> {
    match r.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::BadValue { field, value: other.into() }),
    }
}

fn state_into(w: &mut Writer, state: &RecordState) {
    w.bytes(&state.encode());
}

fn state(r: &mut Reader) -> Result<RecordState, DecodeError> {
    RecordState::decode(r.bytes("state", STATE_LEN_MAX)?)
}

fn optional_state_into(w: &mut Writer, state: Option<&RecordState>) {
    w.u8(u8::from(state.is_some()));
    if let Some(state) = state {
        state_into(w, state);
    }
}

fn optional_state(r: &mut Reader) -> Result<Option<RecordState>, DecodeError> {
    if flag(r, "state present")? { Ok(Some(state(r)?)) } else { Ok(None) }
}

fn key(r: &mut Reader) -> Result<Key, DecodeError> {
    let bytes = r.bytes("key", KEY_LEN_MAX)?;
    Key::new(bytes).map_err(|bad| DecodeError::BadValue { field: "key", value: bad.len as u64 })
}

/// Expiries travel as stored: milliseconds, all ones for never.
fn expiry(r: &mut Reader) -> Result<Expiry, DecodeError> {
    Ok(Expiry::at_ms(r.u64("expiry")?))
}

/// Reads left; 0 for none.
fn takes(r: &mut Reader) -> Result<Option<u32>, DecodeError> {
    match r.u32("takes left")? {
        0 => Ok(None),
        n if n <= TAKES_MAX => Ok(Some(n)),
        n => Err(DecodeError::BadValue { field: "takes left", value: n.into() }),
    }
}

fn start(format: &'static str, bytes: Bytes) -> Result<Reader, DecodeError> {
    let mut r = Reader::new(bytes);
    match r.u8(format)? {
        MESSAGE_FORMAT => Ok(r),
        newer if newer > MESSAGE_FORMAT => {
            Err(DecodeError::TooNew { what: format, version: newer.into(), supported: MESSAGE_FORMAT.into() })
        }
        other => Err(DecodeError::BadValue { field: format, value: other.into() }),
    }
}

impl Request {
    /// The request's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(MESSAGE_FORMAT).u64(self.tag).u64(self.epoch).u64(self.now.to_u64());
        w.bytes(self.key.as_bytes());
        match &self.ask {
            Ask::Read { want_state } => {
                w.u8(0).u8(u8::from(*want_state));
            }
            Ask::Prepare { ballot, want_state } => {
                w.u8(1);
                ballot_into(&mut w, *ballot);
                w.u8(u8::from(*want_state));
            }
            Ask::Accept { ballot, holds_before_ms, value } => {
                w.u8(2);
                ballot_into(&mut w, *ballot);
                w.u64(*holds_before_ms);
                value_into(&mut w, value);
            }
            Ask::Fetch { accepted } => {
                w.u8(3);
                ballot_into(&mut w, *accepted);
            }
            Ask::Forget { ballot } => {
                w.u8(4);
                ballot_into(&mut w, *ballot);
            }
        }
        w.finish()
    }

    /// Reads what [`Request::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = start("request format", bytes)?;
        let tag = r.u64("tag")?;
        let epoch = r.u64("epoch")?;
        let now = Hlc::from_u64(r.u64("now")?);
        let key = key(&mut r)?;
        let ask = match r.u8("request kind")? {
            0 => Ask::Read { want_state: flag(&mut r, "want state")? },
            1 => Ask::Prepare { ballot: ballot(&mut r)?, want_state: flag(&mut r, "want state")? },
            2 => Ask::Accept {
                ballot: ballot(&mut r)?,
                holds_before_ms: r.u64("holds before")?,
                value: value(&mut r)?,
            },
            3 => Ask::Fetch { accepted: ballot(&mut r)? },
            4 => Ask::Forget { ballot: ballot(&mut r)? },
            other => return Err(DecodeError::BadValue { field: "request kind", value: other.into() }),
        };
        r.finish()?;
        Ok(Self { tag, epoch, now, key, ask })
    }
}

fn value_into(w: &mut Writer, value: &Value) {
    match value {
        Value::Full(state) => {
            w.u8(0);
            state_into(w, state);
        }
        Value::Same { accepted } => {
            w.u8(1);
            ballot_into(w, *accepted);
        }
        Value::Changed { accepted, version, expiry, takes_left, operations } => {
            w.u8(2);
            ballot_into(w, *accepted);
            // What a shadow keeps is just what travels here, so it travels as one.
            w.u32(takes_left.unwrap_or(0));
            let (version, expiry, operations) = (*version, *expiry, operations.clone());
            let content = Content::Shadow(ShadowReason::Deleted);
            state_into(w, &RecordState { version, expiry, content, operations });
        }
    }
}

fn value(r: &mut Reader) -> Result<Value, DecodeError> {
    Ok(match r.u8("value kind")? {
        0 => Value::Full(state(r)?),
        1 => Value::Same { accepted: ballot(r)? },
        2 => {
            let accepted = ballot(r)?;
            let takes_left = takes(r)?;
            let RecordState { version, expiry, content, operations } = state(r)?;
            if content != Content::Shadow(ShadowReason::Deleted) {
                return Err(DecodeError::BadValue { field: "changed parts", value: 1 });
            }
            Value::Changed { accepted, version, expiry, takes_left, operations }
        }
        other => return Err(DecodeError::BadValue { field: "value kind", value: other.into() }),
    })
}

impl Reply {
    /// The reply's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(MESSAGE_FORMAT).u64(self.tag).u64(self.epoch).u64(self.high.to_u64());
        match &self.answer {
            Answer::Seen(summary) => {
                w.u8(0);
                summary_into(&mut w, summary);
            }
            Answer::Accepted => {
                w.u8(1);
            }
            Answer::Missing => {
                w.u8(2);
            }
            Answer::State { accepted, state } => {
                w.u8(3);
                ballot_into(&mut w, *accepted);
                optional_state_into(&mut w, state.as_ref());
            }
            Answer::Refused(refused) => {
                w.u8(4);
                refused_into(&mut w, *refused);
            }
        }
        w.finish()
    }

    /// Reads what [`Reply::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = start("reply format", bytes)?;
        let tag = r.u64("tag")?;
        let epoch = r.u64("epoch")?;
        let high = Hlc::from_u64(r.u64("high")?);
        let answer = match r.u8("reply kind")? {
            0 => Answer::Seen(summary(&mut r)?),
            1 => Answer::Accepted,
            2 => Answer::Missing,
            3 => Answer::State { accepted: ballot(&mut r)?, state: optional_state(&mut r)? },
            4 => Answer::Refused(refused(&mut r)?),
            other => return Err(DecodeError::BadValue { field: "reply kind", value: other.into() }),
        };
        r.finish()?;
        Ok(Self { tag, epoch, high, answer })
    }
}

fn refused_into(w: &mut Writer, refused: Refused) {
    match refused {
        Refused::Promised(ballot) => {
            w.u8(0);
            ballot_into(w, ballot);
        }
        Refused::Late => drop(w.u8(1)),
        Refused::ExpiryTooFar => drop(w.u8(2)),
        Refused::ClockAhead => drop(w.u8(3)),
        Refused::ClockBehind => drop(w.u8(4)),
        Refused::StaleEpoch => drop(w.u8(5)),
        Refused::NotVoting => drop(w.u8(6)),
    }
}

fn refused(r: &mut Reader) -> Result<Refused, DecodeError> {
    Ok(match r.u8("refusal")? {
        0 => Refused::Promised(ballot(r)?),
        1 => Refused::Late,
        2 => Refused::ExpiryTooFar,
        3 => Refused::ClockAhead,
        4 => Refused::ClockBehind,
        5 => Refused::StaleEpoch,
        6 => Refused::NotVoting,
        other => return Err(DecodeError::BadValue { field: "refusal", value: other.into() }),
    })
}

fn summary_into(w: &mut Writer, summary: &Summary) {
    ballot_into(w, summary.accepted);
    ballot_into(w, summary.floor);
    w.u8(u8::from(summary.meta.is_some()));
    if let Some(meta) = &summary.meta {
        w.u8(match meta.shadow {
            None => 0,
            Some(ShadowReason::Deleted) => 1,
            Some(ShadowReason::Expired) => 2,
            Some(ShadowReason::Taken) => 3,
        });
        w.u64(meta.version.to_u64()).u64(meta.expiry.to_u64()).u32(meta.takes_left.unwrap_or(0));
        w.u8(u8::from(meta.has_operations)).u32(meta.value_len);
    }
    optional_state_into(w, summary.state.as_ref());
}

fn summary(r: &mut Reader) -> Result<Summary, DecodeError> {
    let accepted = ballot(r)?;
    let floor = ballot(r)?;
    let meta = if flag(r, "meta present")? {
        let shadow = match r.u8("meta kind")? {
            0 => None,
            1 => Some(ShadowReason::Deleted),
            2 => Some(ShadowReason::Expired),
            3 => Some(ShadowReason::Taken),
            other => return Err(DecodeError::BadValue { field: "meta kind", value: other.into() }),
        };
        Some(RecordMeta {
            shadow,
            version: Version::from_u64(r.u64("version")?),
            expiry: expiry(r)?,
            takes_left: takes(r)?,
            has_operations: flag(r, "has operations")?,
            value_len: r.u32("value length")?,
        })
    } else {
        None
    };
    Ok(Summary { accepted, floor, meta, state: optional_state(r)? })
}

impl JoinAsk {
    /// The ask's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(MESSAGE_FORMAT).u64(self.epoch).bytes(self.after.as_ref().map_or(&[], Key::as_bytes));
        w.finish()
    }

    /// Reads what [`JoinAsk::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = start("join format", bytes)?;
        let epoch = r.u64("epoch")?;
        // Keys are never empty, so an empty one stands for the start.
        let after = Key::new(r.bytes("after", KEY_LEN_MAX)?).ok();
        r.finish()?;
        Ok(Self { epoch, after })
    }
}

impl JoinPage {
    /// The page's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(MESSAGE_FORMAT).u64(self.epoch).u64(self.high.to_u64());
        ballot_into(&mut w, self.floor);
        w.u8(u8::from(self.last)).count(self.slots.len());
        for (key, slot) in &self.slots {
            w.bytes(key.as_bytes()).u8(u8::from(slot.ballots.is_some()));
            if let Some(ballots) = slot.ballots {
                ballot_into(&mut w, ballots.promised);
                ballot_into(&mut w, ballots.accepted);
            }
            optional_state_into(&mut w, slot.state.as_ref());
        }
        w.finish()
    }

    /// Reads what [`JoinPage::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = start("page format", bytes)?;
        let epoch = r.u64("epoch")?;
        let high = Hlc::from_u64(r.u64("high")?);
        let floor = ballot(&mut r)?;
        let last = flag(&mut r, "last")?;
        let count = r.count("slots", JOIN_PAGE_SLOTS_MAX, SLOT_LEN_MIN)?;
        let mut slots = Vec::with_capacity(count);
        for _ in 0..count {
            let key = key(&mut r)?;
            let ballots = if flag(&mut r, "ballots present")? {
                Some(Ballots { promised: ballot(&mut r)?, accepted: ballot(&mut r)? })
            } else {
                None
            };
            slots.push((key, RecordSlot { ballots, state: optional_state(&mut r)? }));
        }
        r.finish()?;
        Ok(Self { epoch, floor, high, slots, last })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
