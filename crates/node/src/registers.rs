//! Records of this node: the register's rules joined with storage.
//!
//! A request is resolved (namespace, slot, absolute expiry), decided by `larder_mesh::single` under the
//! record's shard lock, and answered when all it did or saw is durable.

mod decide;

use std::sync::Arc;

use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::limits::{HEAD_LEN_MAX, SCAN_PAGE_RECORDS_MAX, VALUE_LEN_MAX};
use larder_format::namespace::{Class, LifetimeRequest, Namespace, Privacy};
use larder_format::operation::{Found, Lifetime, Operation, Outcome, Put};
use larder_format::record::{Ballot, Content, Expiry, Key, RecordSlot, RecordState};
use larder_format::sealed;
use larder_mesh::single::{self, Context};
use larder_store::api::{Address, Next, QuotaOf, RecordStore, ScanRequest, StoreError, Ticket, Want};
use larder_store::log::LogStore;
use larder_store::memory::MemoryTable;
use larder_wire::answer::{Failure, Limit};
use larder_wire::request::{Ask, AskPut, RecordRequest};

use self::decide::{Ids, apply, removal_of_expired};
use crate::metrics::Cells;
use crate::namespaces::{Namespaces, slot_of};
use crate::quota::Claim;
use crate::suspects::Suspects;
use crate::time::NodeTime;
use crate::upkeep::Pulse;

/// Records a scan page holds when the client leaves it to the node.
const SCAN_PAGE_RECORDS_DEFAULT: usize = 1_000;

/// What may be asked of a record, by name, as it is counted.
pub(crate) const OPERATIONS: [&str; 6] = ["get", "put", "touch", "delete", "take", "scan"];

fn operation_at(ask: &Ask) -> usize {
    match ask {
        Ask::Get { .. } => 0,
        Ask::Put(_) => 1,
        Ask::Touch { .. } => 2,
        Ask::Delete { .. } => 3,
        Ask::Take => 4,
    }
}

fn count_at(class: Class, operation: usize) -> usize {
    operation + if class == Class::Disk { OPERATIONS.len() } else { 0 }
}

/// All records of this node.
pub struct Registers {
    memory: Arc<MemoryTable>,
    disk: Arc<LogStore>,
    namespaces: Arc<Namespaces>,
    time: Arc<NodeTime>,
    suspects: Suspects,
    counts: Cells,
    pulse: Arc<Pulse>,
    value_len_max: usize,
}

/// One page of records that are there, as a client sees it.
#[derive(Debug)]
pub struct Page {
    /// Keys and values.
    pub records: Vec<(Key, Found)>,
    /// Keys that exist but whose bytes are damaged.
    pub damaged: Vec<Key>,
    /// Where to go on; `None` at the end.
    pub next: Option<bytes::Bytes>,
}

/// What the client is told about a storage error.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "made for map_err, which gives the error away")]
pub fn store_failure(error: StoreError) -> Failure {
    let no_room = match &error {
        StoreError::DiskFull { .. } | StoreError::Stalled => Some(Limit::Disk),
        StoreError::Quota { of: QuotaOf::Node, .. } => Some(Limit::NodeQuota),
        StoreError::Quota { of: QuotaOf::Namespace, .. } => Some(Limit::NamespaceQuota),
        StoreError::Full { .. } => Some(Limit::MemoryCap),
        _ => None,
    };
    Failure { no_room, ..Failure::new(error.kind(), error.to_string()) }
}

/// As [`store_failure`], of a read: what it saw waits for room on the disk, and nothing was changed by looking.
fn read_failure(error: StoreError) -> Failure {
    let waits = matches!(error, StoreError::Stalled);
    Failure { kind: if waits { Kind::Retry } else { error.kind() }, ..store_failure(error) }
}

impl Registers {
    /// Joins storage, settings and time.
    #[must_use]
    pub fn new(
        memory: Arc<MemoryTable>,
        disk: Arc<LogStore>,
        namespaces: Arc<Namespaces>,
        time: Arc<NodeTime>,
        value_len_max: usize,
    ) -> Self {
        let counts = Cells::new(2 * OPERATIONS.len());
        Self {
            memory,
            disk,
            namespaces,
            time,
            suspects: Suspects::default(),
            counts,
            pulse: Arc::default(),
            value_len_max,
        }
    }

    /// How many operations of a kind ([`OPERATIONS`]) there were on records of a class.
    pub(crate) fn operations(&self, class: Class, operation: usize) -> u64 {
        self.counts.get(count_at(class, operation))
    }

    /// What is known of namespaces.
    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The node's time, now.
    pub(crate) fn now(&self) -> Hlc {
        self.time.now()
    }

    /// Whether records of a class whose time is up may be freed. Those in memory were all written since the start,
    /// so that no clock that was wrong then can have ended them.
    pub(crate) fn may_free(&self, class: Class) -> bool {
        class == Class::Memory || self.time.may_free()
    }

    /// The table that holds a class of records.
    pub(crate) fn table(&self, class: Class) -> &dyn RecordStore {
        match class {
            Class::Memory => self.memory.as_ref(),
            Class::Disk => self.disk.as_ref(),
        }
    }

    /// The table of values in memory, for doors that know plain values.
    #[must_use]
    pub fn values(&self) -> &Arc<MemoryTable> {
        &self.memory
    }

    /// Beats with every request.
    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// The class of a namespace.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub(crate) fn class(&self, namespace: NamespaceId) -> Result<Class, Failure> {
        Ok(self.namespaces.get(namespace)?.class)
    }

    /// Disk records that changed and whose leases nobody has looked at since.
    pub(crate) fn suspects(&self) -> &Suspects {
        &self.suspects
    }

    /// Notes that leases which a record listed may have no record any more.
    fn suspect(&self, class: Class, at: Address<'_>) {
        // Records in memory hold no files; an audit finds what leases they may have had.
        if class == Class::Disk {
            self.suspects.note(at.namespace, at.key);
        }
    }

    /// Waits until a change would not hold up the calling thread.
    ///
    /// # Errors
    /// [`Kind::Closed`].
    pub(crate) async fn room(&self) -> Result<(), Failure> {
        if self.disk.has_room() { Ok(()) } else { self.disk.room().await.map_err(store_failure) }
    }

    /// Takes a request into effect, without waiting for durability. Asynchronous callers await
    /// [`Registers::room`] before, because a full queue holds up the thread. The outcome may be told only when the
    /// ticket has resolved. Requests on one key take effect in the order of these calls.
    ///
    /// # Errors
    /// [`Failure`]; then nothing was changed.
    pub fn begin(&self, request: RecordRequest) -> Result<(Outcome, Ticket), Failure> {
        self.begin_by(request, Ids::Random)
    }

    /// As [`Registers::begin`]; ids say where the request's comes from.
    fn begin_by(&self, request: RecordRequest, ids: Ids) -> Result<(Outcome, Ticket), Failure> {
        self.pulse.beat();
        let RecordRequest { namespace: id, key, ask, identity, .. } = request;
        let namespace = self.namespaces.get(id)?;
        self.counts.add(count_at(namespace.class, operation_at(&ask)), 1);
        self.check_value(&namespace, &ask)?;
        let at = Address { namespace: id, slot: slot_of(&namespace, &key), key: &key };
        let table = self.table(namespace.class);
        if let Ask::Get { head_only } = ask {
            let want = if head_only { Want::Head } else { Want::All };
            return self.get(namespace.class, at, want, self.time.now());
        }
        let free_expired = self.may_free(namespace.class);
        let (mut outcome, mut invalid) = (None, None);
        let mut replaced = false;
        // Until what it is for is counted.
        let mut reserved = None;
        let ticket = table
            .update(at, &mut |current| {
                // Under the record's lock: what this may still rely on (a lease, say), nobody has given up by a
                // later time before.
                let now = self.time.now();
                // A lifetime begins when the change is made, however long this lock was waited for.
                let operation = match resolve(&namespace, ask.clone(), now) {
                    Ok(operation) => operation,
                    Err(failure) => {
                        invalid = Some(failure);
                        return Ok(Next::Keep);
                    }
                };
                let context = Context::at(now).with_ttl_max_ms(namespace.ttl_max_ms);
                let applied = apply(current, &operation, identity.as_ref(), (ids, context))?;
                outcome = Some(applied.outcome);
                let next = match applied.next {
                    // What this answer treats as expired must never be seen again, not even after a restart
                    // with a clock set back: it goes before the answer does.
                    single::Next::Keep if free_expired => removal_of_expired(current, context)?,
                    next => store_next(next),
                };
                let next = match (&operation, next) {
                    (Operation::Put(put), Next::Store(slot)) => {
                        let claim = Claim::of(&namespace, at.key, put, current.meta(), &slot);
                        reserved = claim.reserve(&namespace, &self.disk)?;
                        if claim.is_ending { Next::StoreInto(slot) } else { Next::Store(slot) }
                    }
                    (_, next) => next,
                };
                if let (Operation::Put(put), Next::Store(_) | Next::StoreInto(_)) = (&operation, &next)
                    && !put.tokens.is_empty()
                {
                    self.disk.list_leases(at.namespace, at.key, &put.tokens)?;
                }
                replaced = next != Next::Keep && current.meta().is_some();
                Ok(next)
            })
            .map_err(store_failure)?;
        drop(reserved);
        if let Some(failure) = invalid {
            return Err(failure);
        }
        if replaced {
            self.suspect(namespace.class, at);
        }
        let outcome = outcome.ok_or_else(|| Failure::new(Kind::Bug, "the store decided nothing"))?;
        match outcome {
            Outcome::Refused(refusal) => Err(Failure::new(refusal.kind(), refusal.to_string())),
            outcome => Ok((outcome, ticket)),
        }
    }

    /// The path of a plain read: no update unless the value's time is up.
    fn get(&self, class: Class, at: Address<'_>, want: Want, now: Hlc) -> Result<(Outcome, Ticket), Failure> {
        let table = self.table(class);
        let read = table.read(at, want);
        if let Err(StoreError::Damaged { .. }) = &read {
            self.pulse.found_damaged_record(at.namespace, at.slot, at.key);
        }
        let (state, ticket) = read.map_err(store_failure)?;
        let Some(state) = state else { return Ok((Outcome::Absent, ticket)) };
        let is_shadow = matches!(state.content, Content::Shadow(_));
        if let Some(found) = shown(state, now) {
            return Ok((Outcome::Found(found), ticket));
        }
        if is_shadow || !self.may_free(class) {
            return Ok((Outcome::Absent, ticket));
        }
        // Its time is up. Another operation may have replaced it since: then that is what is read.
        let context = Context::at(now);
        let mut outcome = Outcome::Absent;
        let ticket = table
            .update(at, &mut |current| {
                let live = current.meta().is_some_and(|m| m.is_live(now));
                if live {
                    let found = current.load()?.and_then(|state| shown(state, now));
                    outcome = found.map_or(Outcome::Absent, Outcome::Found);
                    return Ok(Next::Keep);
                }
                removal_of_expired(current, context)
            })
            .map_err(store_failure)?;
        self.suspect(class, at);
        Ok((outcome, ticket))
    }

    /// Removes a record whose time is up, if it still is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn remove_expired(&self, class: Class, at: Address<'_>, now: Hlc) -> Result<(), StoreError> {
        // Nobody waits for this to be durable: until it is, the record is expired all the same.
        let _durable =
            self.table(class).update(at, &mut |current| removal_of_expired(current, Context::at(now)))?;
        self.suspect(class, at);
        Ok(())
    }

    /// One page of a namespace. Values whose time is up are left out; of values that may only be taken, only
    /// the head is not shown either.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn scan(&self, ask: &ScanAsk) -> Result<Page, Failure> {
        self.pulse.beat();
        let namespace = self.namespaces.get(ask.namespace)?;
        self.counts.add(count_at(namespace.class, OPERATIONS.len() - 1), 1);
        let request = ScanRequest {
            prefix: ask.prefix.clone(),
            cursor: ask.cursor.clone(),
            limit: match ask.limit {
                0 => SCAN_PAGE_RECORDS_DEFAULT,
                n => n.min(SCAN_PAGE_RECORDS_MAX),
            },
            key_len_max: ask.key_len_max,
            want: ask.want,
        };
        let page = self.table(namespace.class).scan(ask.namespace, &request).map_err(store_failure)?;
        page.durable.await.map_err(read_failure)?;
        let now = self.time.now();
        let ended = page.records.iter().map(|(_, state)| state.expiry).filter(|end| end.is_past(now)).max();
        let records =
            page.records.into_iter().filter_map(|(key, state)| Some((key, shown(state, now)?))).collect();
        // What is left out here as expired must stay so after a restart with a clock set back.
        if namespace.class == Class::Disk
            && ended.is_some_and(|end| !end.is_past(RecordStore::time(self.disk.as_ref())))
        {
            self.disk.raise_time(now).map_err(store_failure)?.await.map_err(store_failure)?;
        }
        Ok(Page { records, damaged: page.damaged, next: page.next })
    }

    /// Applies the limits that a blind node can check.
    fn check_value(&self, namespace: &Namespace, ask: &Ask) -> Result<(), Failure> {
        let Ask::Put(put) = ask else { return Ok(()) };
        let len = put.head.len() + put.body.len();
        let max = match namespace.privacy {
            Privacy::Raw => self.value_len_max,
            Privacy::Sealed => sealed_len_max(self.value_len_max),
        };
        if len > max {
            let message = format!("value too long len={len} max={max}");
            return Err(Failure::new(Kind::Invalid, message));
        }
        match namespace.privacy {
            Privacy::Raw if !put.head.is_empty() || !put.tokens.is_empty() => {
                Err(Failure::new(Kind::Invalid, "values of raw namespaces have no head and no leases"))
            }
            Privacy::Raw => Ok(()),
            Privacy::Sealed => {
                let shape = sealed::check_head(&put.head).and_then(|()| sealed::check_body(&put.body));
                shape.map(|_| ()).map_err(|e| Failure::new(e.kind(), e.to_string()))
            }
        }
    }

    /// [`Registers::begin`], and waits until it is durable.
    ///
    /// # Errors
    /// [`Failure`]; of kind [`Kind::Closed`] if the store stopped meanwhile, and then the outcome is unknown.
    pub async fn apply(&self, request: RecordRequest) -> Result<Outcome, Failure> {
        self.apply_by(request, Ids::Random).await
    }

    /// As [`Registers::apply`], of an operation that the client gave a name (`OperationId::named`): if the name was
    /// given to another request, this one is refused.
    ///
    /// # Errors
    /// As [`Registers::apply`]; [`Kind::Conflict`] for such a name.
    pub(crate) async fn apply_named(&self, request: RecordRequest) -> Result<Outcome, Failure> {
        self.apply_by(request, Ids::Named).await
    }

    async fn apply_by(&self, request: RecordRequest, ids: Ids) -> Result<Outcome, Failure> {
        self.room().await?;
        let told = if matches!(request.ask, Ask::Get { .. }) { read_failure } else { store_failure };
        let (outcome, ticket) = self.begin_by(request, ids)?;
        ticket.await.map_err(told)?;
        Ok(outcome)
    }
}

/// What to scan, as a client asks for it.
#[derive(Debug, Clone)]
pub struct ScanAsk {
    /// Which namespace.
    pub namespace: NamespaceId,
    /// Only keys that begin with this.
    pub prefix: bytes::Bytes,
    /// Where the page before ended; empty for the first.
    pub cursor: bytes::Bytes,
    /// Most records in a page; 0: the node's choice.
    pub limit: usize,
    /// Longest key wanted.
    pub key_len_max: usize,
    /// How much of each record.
    pub want: Want,
}

/// What a value of `len` bytes may be once it is sealed: its padding (Padmé: at most a 32nd from 64 KiB on), and
/// a head with name and attributes.
const fn sealed_len_max(len: usize) -> usize {
    let padded = len + len / 32 + 2 * HEAD_LEN_MAX;
    if padded < VALUE_LEN_MAX { padded } else { VALUE_LEN_MAX }
}

/// What a reader is shown of a state: nothing if there is no value (any more), and no bytes of a value that
/// may only be taken.
fn shown(state: RecordState, now: Hlc) -> Option<Found> {
    let expired = state.expiry.is_past(now);
    let Content::Live(live) = state.content else { return None };
    if expired {
        return None;
    }
    let hidden = live.takes_left.is_some();
    Some(Found {
        version: state.version,
        expiry: state.expiry,
        takes_left: live.takes_left,
        tokens: if hidden { Vec::new() } else { live.tokens },
        head: if hidden { bytes::Bytes::new() } else { live.head },
        body: if hidden { bytes::Bytes::new() } else { live.body },
    })
}

/// Turns relative lifetimes into absolute ones by the namespace's settings.
fn resolve(namespace: &Namespace, ask: Ask, now: Hlc) -> Result<Operation, Failure> {
    let expiry = |lifetime: LifetimeRequest| {
        namespace.expiry(lifetime, now).map_err(|e| Failure::new(Kind::Invalid, e.to_string()))
    };
    Ok(match ask {
        Ask::Get { .. } => Operation::Get,
        Ask::Put(put) => Operation::Put(resolve_put(put, expiry)?),
        Ask::Touch { condition, lifetime } => Operation::Touch { condition, expiry: expiry(lifetime)? },
        Ask::Delete { condition } => Operation::Delete { condition },
        Ask::Take => Operation::Take,
    })
}

fn resolve_put(
    put: AskPut,
    expiry: impl Fn(LifetimeRequest) -> Result<Expiry, Failure>,
) -> Result<Put, Failure> {
    let until = expiry(put.lifetime)?;
    Ok(Put {
        condition: put.condition,
        lifetime: if put.keep_lifetime { Lifetime::Keep(until) } else { Lifetime::Until(until) },
        takes: put.takes,
        tokens: put.tokens,
        not_after_ms: put.not_after_ms,
        head: put.head,
        body: put.body,
    })
}

pub(crate) fn store_next(next: single::Next) -> Next {
    match next {
        single::Next::Keep => Next::Keep,
        single::Next::Store(state) => Next::Store(RecordSlot { ballots: None, state: Some(state) }),
        single::Next::Remove { floor } => {
            Next::Remove { floor: Ballot { round: floor.to_u64(), proposer: 0 } }
        }
    }
}

#[cfg(test)]
#[path = "registers_tests.rs"]
mod tests;
