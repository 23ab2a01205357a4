//! Plain values of one raw memory namespace: the memory engine joined with the register's rules, the namespace's
//! lifetimes, and quotas. What protocols of small values run on; nothing here knows a protocol.
//!
//! Keys are locked first ([`Values::lock_one`], [`Values::lock_keys`], [`Values::lock_all`]); what is then read and
//! written under the lock is one step for everybody else. Time stands still meanwhile: one `now` is what all of it is
//! decided with. A value whose time is up is removed when it is met, before anybody is told that there is none, so that
//! nobody whose `now` is older sees it again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::ids::NamespaceId;
use larder_format::limits::KEY_LEN_MAX;
use larder_format::namespace::{LifetimeError, LifetimeRequest, Namespace};
use larder_format::operation::{Condition, Lifetime, Operation, Outcome, Put, Refusal};
use larder_format::record::{Content, Expiry, Live, Version};
use larder_mesh::single::plain::{self, Unchanged};
use larder_mesh::single::{self, Context};
use larder_store::api::{Next, StoreError};
use larder_store::feed::EventKind;
use larder_store::memory::{Locked, Look, MemoryTable, Seen};
use larder_store::used::{Reach, Reserved, UsedTable};

use crate::registers::store_next;

/// Latest end that a value can have, in milliseconds since 1970: what the engine keeps of it has 48 bits, and all ones
/// are none.
pub(crate) const EXPIRY_MS_MAX: u64 = (1 << 48) - 2;

/// Why nothing was done. Unless said otherwise nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Denied {
    /// There is something else than a plain value: one that may be read a number of times only.
    #[error("the value under this key is not a plain one")]
    NotPlain,
    /// The key is empty, or longer than any may be.
    #[error("a key must have 1 to {KEY_LEN_MAX} bytes len={len}")]
    Key {
        /// Its length.
        len: usize,
    },
    /// Longer than the node takes.
    #[error("value too long len={len} max={max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The longest.
        max: usize,
    },
    /// An end beyond [`EXPIRY_MS_MAX`].
    #[error("no end is later than max_ms={EXPIRY_MS_MAX}")]
    TooLate,
    /// A lifetime that the namespace does not allow.
    #[error(transparent)]
    Lifetime(#[from] LifetimeError),
    /// The rules refuse it.
    #[error(transparent)]
    Refused(Refusal),
    /// No room, or the store is closed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Unchanged> for Denied {
    fn from(unchanged: Unchanged) -> Self {
        match unchanged {
            Unchanged::Refused(Refusal::ExpiryTooFar { max_ttl_ms }) => {
                Denied::Lifetime(LifetimeError::TooLong { asked_ms: u64::MAX, max_ms: max_ttl_ms })
            }
            Unchanged::Refused(refusal) => Denied::Refused(refusal),
            // Nobody here asks for a condition, and whether there is a value is looked at before.
            Unchanged::Absent | Unchanged::Conflict { .. } => Denied::NotPlain,
        }
    }
}

/// Until when a value is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// As long as the namespace gives a value that asks for nothing.
    Default,
    /// As long as the value that it replaces; without one, the default.
    Kept,
    /// Until then.
    At(Expiry),
}

/// A value's small part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Was {
    /// Which value.
    pub(crate) version: Version,
    /// Until when it lives.
    pub(crate) expiry: Expiry,
    /// Length of its bytes.
    pub(crate) len: usize,
}

/// The plain values of a namespace, at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) table: &'a MemoryTable,
    pub(crate) used: &'a UsedTable,
    pub(crate) namespace: &'a Namespace,
    /// The namespace's id, which is a hash of its name.
    pub(crate) id: NamespaceId,
    pub(crate) value_len_max: usize,
    pub(crate) now: Hlc,
}

impl<'a> Values<'a> {
    /// Holds one key.
    pub(crate) fn lock_one(self, key: &[u8]) -> Held<'a> {
        Held { values: self, locked: self.table.lock_one(self.id, key), moved: 0 }
    }

    /// Holds several keys.
    pub(crate) fn lock_keys<'k>(self, keys: impl IntoIterator<Item = &'k [u8]>) -> Held<'a> {
        Held { values: self, locked: self.table.lock_keys(self.id, keys), moved: 0 }
    }

    /// Holds all keys.
    pub(crate) fn lock_all(self) -> Held<'a> {
        Held { values: self, locked: self.table.lock_all(self.id), moved: 0 }
    }

    /// Whether several keys can be changed as one: where one node has all of each.
    pub(crate) fn is_atomic(&self) -> bool {
        self.namespace.replicas == 1
    }

    fn context(&self) -> Context {
        Context::at(self.now).with_ttl_max_ms(self.namespace.ttl_max_ms)
    }

    /// How long a value lives, as the rules have it.
    fn lifetime(&self, until: Until) -> Result<Lifetime, Denied> {
        Ok(match until {
            Until::At(expiry) => Lifetime::Until(expiry),
            Until::Default => Lifetime::Until(self.default_expiry()?),
            Until::Kept => Lifetime::Keep(self.default_expiry()?),
        })
    }

    /// Sets aside what the namespace's quota is to be asked for, until what it is for is counted.
    fn reserve(&self, len: usize, before_len: usize) -> Result<Option<Reserved>, Denied> {
        if self.namespace.quota_bytes.is_none() {
            return Ok(None);
        }
        let more = len.saturating_sub(before_len) as u64;
        Ok(Some(self.used.of(self.id).reserve(more, Reach::Before(0))?))
    }

    /// The end of a value that asks for none.
    fn default_expiry(&self) -> Result<Expiry, Denied> {
        if self.namespace.ttl_default_ms.is_none() && self.namespace.ttl_max_ms.is_none() {
            return Ok(Expiry::NEVER);
        }
        Ok(self.namespace.expiry(LifetimeRequest::Default, self.now)?)
    }
}

/// Keys that are held: nobody else reads or changes them meanwhile.
pub(crate) struct Held<'a> {
    values: Values<'a>,
    locked: Locked<'a>,
    moved: usize,
}

impl<'a> Held<'a> {
    /// What is held keys of.
    pub(crate) fn values(&self) -> Values<'a> {
        self.values
    }

    /// Bytes of values that were copied into the table, or out of it.
    pub(crate) fn moved(&self) -> usize {
        self.moved
    }

    /// Shows a value to `then`; nothing, if there is none.
    ///
    /// # Errors
    /// [`Denied::NotPlain`]; then nothing was shown.
    #[inline]
    pub(crate) fn read<R>(
        &mut self,
        key: &[u8],
        then: impl FnOnce(Option<Seen<'_>>) -> R,
    ) -> Result<R, Denied> {
        match self.locked.look(key) {
            Look::Plain(seen) if seen.expiry.is_past(self.values.now) => {
                let version = seen.version;
                self.locked.remove(key, version, EventKind::Expired);
                Ok(then(None))
            }
            Look::Plain(seen) => Ok(then(Some(seen))),
            Look::Other(meta) if !meta.is_live(self.values.now) => Ok(then(None)),
            Look::Other(meta) if meta.takes_left.is_some() => Err(Denied::NotPlain),
            Look::Other(meta) => {
                // A value like any other, that was written with an operation's id which must still be known.
                let state = self.locked.state(key).map(|state| state.content);
                let Some(Content::Live(Live { ref body, .. })) = state else { return Err(Denied::NotPlain) };
                Ok(then(Some(Seen { version: meta.version, expiry: meta.expiry, value: body })))
            }
            Look::Nothing => Ok(then(None)),
        }
    }

    /// Does to a record that is more than a plain value what its rules say, for any kind of record.
    fn apply(&mut self, key: &[u8], operation: &Operation) -> Result<bool, Denied> {
        let context = self.values.context();
        let mut outcome = Outcome::Absent;
        self.locked.update(key, &mut |current| {
            let context = context.with_floor(Version::from_u64(current.floor().round));
            let state = current.load()?;
            let whole = state.as_ref().map_or(single::Current::Absent, single::Current::State);
            // All of it is given, so that nothing is left to need.
            let Ok(applied) = single::apply(whole, operation, None, &context) else { return Ok(Next::Keep) };
            outcome = applied.outcome;
            Ok(store_next(applied.next))
        })?;
        match outcome {
            Outcome::Refused(refusal) => Err(Unchanged::Refused(refusal).into()),
            outcome => Ok(!matches!(outcome, Outcome::Absent)),
        }
    }

    /// A value's small part, if there is one.
    ///
    /// # Errors
    /// [`Denied::NotPlain`].
    pub(crate) fn was(&mut self, key: &[u8]) -> Result<Option<Was>, Denied> {
        self.read(key, |seen| {
            seen.map(|seen| Was { version: seen.version, expiry: seen.expiry, len: seen.value.len() })
        })
    }

    /// Whether there is a value, plain or not.
    pub(crate) fn is_there(&mut self, key: &[u8]) -> bool {
        self.was(key).map_or(true, |was| was.is_some())
    }

    /// A copy of a value, if there is one, and its end.
    ///
    /// # Errors
    /// [`Denied::NotPlain`].
    pub(crate) fn copied(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Expiry)>, Denied> {
        let copied = self.read(key, |seen| seen.map(|seen| (seen.value.to_vec(), seen.expiry)))?;
        self.moved += copied.as_ref().map_or(0, |(value, _)| value.len());
        Ok(copied)
    }

    /// Writes a value, its parts being `parts` in order, over whatever there is.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn put(&mut self, key: &[u8], parts: &[&[u8]], until: Until) -> Result<(), Denied> {
        let len = parts.iter().map(|part| part.len()).sum();
        self.moved += len;
        if key.is_empty() || key.len() > KEY_LEN_MAX {
            return Err(Denied::Key { len: key.len() });
        }
        if len > self.values.value_len_max {
            return Err(Denied::TooLong { len, max: self.values.value_len_max });
        }
        let now = self.values.now;
        let (before, mut before_len, expired) = match self.locked.look(key) {
            Look::Nothing => (None, 0, false),
            Look::Plain(seen) => {
                let bytes = key.len() + seen.value.len();
                (Some((seen.version, seen.expiry)), bytes, seen.expiry.is_past(now))
            }
            Look::Other(meta) if meta.is_live(now) && meta.takes_left.is_some() => {
                return Err(Denied::NotPlain);
            }
            Look::Other(meta) if meta.has_operations => {
                return self.put_beside(key, parts, until, meta.value_len as usize);
            }
            Look::Other(meta) => (Some((meta.version, meta.expiry)), 0, false),
        };
        let lifetime = self.values.lifetime(until)?;
        let context = self.values.context().with_floor(self.locked.floor(key));
        let (version, expiry) = plain::write(before, Condition::Any, lifetime, &context)?;
        if expired && let Some((version, _)) = before {
            // Whoever watches is told that it ended, and then that there is another.
            self.locked.remove(key, version, EventKind::Expired);
            before_len = 0;
        }
        // Until what it is for is counted.
        let _reserved = self.values.reserve(key.len() + len, before_len)?;
        Ok(self.locked.put(key, parts, version, expiry)?)
    }

    /// Writes a value over one that remembers operations, which are remembered on.
    fn put_beside(
        &mut self,
        key: &[u8],
        parts: &[&[u8]],
        until: Until,
        before_len: usize,
    ) -> Result<(), Denied> {
        let body = Bytes::from(parts.concat());
        let _reserved = self.values.reserve(body.len(), before_len)?;
        let put = Put {
            condition: Condition::Any,
            lifetime: self.values.lifetime(until)?,
            takes: None,
            tokens: Vec::new(),
            not_after_ms: None,
            head: Bytes::new(),
            body,
        };
        self.apply(key, &Operation::Put(put)).map(|_| ())
    }

    /// Changes when a value ends, and nothing else. Answers whether there is one.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn touch(&mut self, key: &[u8], expiry: Expiry) -> Result<bool, Denied> {
        let Some(was) = self.was(key)? else { return Ok(false) };
        if let (Expiry::NEVER, Some(max_ms)) = (expiry, self.values.namespace.ttl_max_ms) {
            return Err(LifetimeError::NeedsEnd { max_ms }.into());
        }
        if let Look::Other(_) = self.locked.look(key) {
            return self.apply(key, &Operation::Touch { condition: Condition::Any, expiry });
        }
        let context = self.values.context().with_floor(self.locked.floor(key));
        let (version, expiry) =
            plain::touch(Some((was.version, was.expiry)), Condition::Any, expiry, &context)?;
        Ok(self.locked.touch(key, version, expiry))
    }

    /// Removes a value, plain or not. Answers whether there was one.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<bool, Denied> {
        let (version, expiry) = match self.locked.look(key) {
            Look::Nothing => return Ok(false),
            Look::Plain(seen) => (seen.version, seen.expiry),
            Look::Other(meta) if !meta.is_live(self.values.now) => return Ok(false),
            Look::Other(_) => {
                return self.apply(key, &Operation::Delete { condition: Condition::Any });
            }
        };
        let context = self.values.context().with_floor(self.locked.floor(key));
        match plain::remove(Some((version, expiry)), Condition::Any, &context) {
            Ok(floor) => Ok(self.locked.remove(key, floor, EventKind::Deleted)),
            Err(_) => {
                self.locked.remove(key, version, EventKind::Expired);
                Ok(false)
            }
        }
    }

    /// As [`MemoryTable::scan_plain`], where all keys are held.
    pub(crate) fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], Seen<'_>)) -> u64 {
        self.locked.scan_plain(cursor, count, visit)
    }

    /// As [`MemoryTable::random_key`], where all keys are held.
    pub(crate) fn random_key(&self, random: u64) -> Option<Vec<u8>> {
        self.locked.random_key(random, self.values.now)
    }

    /// As [`MemoryTable::clear`], where all keys are held.
    pub(crate) fn clear(&mut self, floor: Version) -> u64 {
        self.locked.clear(floor)
    }

    /// Sets `flag` once a key is changed, removed or found to have ended, by anybody.
    pub(crate) fn watch(&mut self, key: &[u8], flag: &Arc<AtomicBool>) {
        self.locked.watch(key, flag);
    }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
