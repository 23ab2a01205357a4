//! What each request needs, whichever door it comes in by, and what an append-only identity may do to a record that is
//! there.
//!
//! An append-only identity adds and never takes away. It may create what is not there, and replace a file's version
//! only where that very version is kept beside it already: at the file's key with the version appended, the same bytes,
//! listing at least the same leases, for at least as long. So nothing that could be read before can be lost by it.
//! Lifetimes may grow and never shrink. Kept versions themselves, values, and records of raw namespaces are never
//! replaced: nobody keeps theirs. And what it puts where a version is to be kept is a copy of the version that is there:
//! anything else would keep the owner's next change from keeping it.
//!
//! The looking happens before the record's lock is taken, and what was seen then becomes the request's condition: of a
//! record that changed in between, the condition does not hold.

use std::cmp::Ordering;

use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::namespace::{LifetimeRequest, Namespace, Privacy};
use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Expiry, Key, Live, RecordState, Version};
use larder_store::api::{Address, Ticket, Want};
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut, RecordRequest};

use crate::identity::{Identity, Right};
use crate::namespaces::slot_of;
use crate::registers::{Registers, store_failure};

/// Length of a file's key in sealed namespaces, in bytes; its version number follows where a version is kept.
const FILE_KEY_LEN: usize = 32;

/// The least right that an operation on a record needs.
fn needed(ask: &Ask) -> Right {
    match ask {
        Ask::Get { .. } => Right::Read,
        Ask::Put(_) | Ask::Touch { .. } => Right::AppendOnly,
        Ask::Delete { .. } | Ask::Take => Right::Write,
    }
}

impl Registers {
    /// [`Registers::begin`] for somebody, if it may.
    ///
    /// # Errors
    /// [`Kind::Denied`] names the right that is missing; as [`Registers::begin`].
    pub fn begin_as(&self, who: &Identity, request: RecordRequest) -> Result<(Outcome, Ticket), Failure> {
        self.begin(self.permitted(who, request)?)
    }

    /// [`Registers::apply`] for somebody, if it may.
    ///
    /// # Errors
    /// [`Kind::Denied`] names the right that is missing; as [`Registers::apply`].
    pub async fn apply_as(&self, who: &Identity, request: RecordRequest) -> Result<Outcome, Failure> {
        self.apply(self.permitted(who, request)?).await
    }

    /// As [`Registers::apply_as`], of an operation that the client gave a name.
    ///
    /// # Errors
    /// As [`Registers::apply_as`]; [`Kind::Conflict`] for a name that was given to another request.
    pub(crate) async fn apply_named_as(
        &self,
        who: &Identity,
        request: RecordRequest,
    ) -> Result<Outcome, Failure> {
        self.apply_named(self.permitted(who, request)?).await
    }

    /// The request as this identity may make it.
    fn permitted(&self, who: &Identity, mut request: RecordRequest) -> Result<RecordRequest, Failure> {
        who.check_key(needed(&request.ask), request.namespace, request.key.as_bytes())?;
        if who.right != Right::AppendOnly || matches!(request.ask, Ask::Get { .. }) {
            return Ok(request);
        }
        let namespace = self.namespaces().get(request.namespace)?;
        let now = self.now();
        let Some(state) = self.state(&namespace, &request.key)? else {
            self.may_create(who, &namespace, &request.key, &request.ask, now)?;
            request.ask = only_if_absent(request.ask);
            return Ok(request);
        };
        // A retry is answered with what came of the first try.
        if request.identity.is_some_and(|own| state.operations.iter().any(|done| done.id == own.id)) {
            return Ok(request);
        }
        match state.live(now) {
            None => {
                self.may_create(who, &namespace, &request.key, &request.ask, now)?;
                request.ask = only_if_absent(request.ask);
            }
            Some(live) => {
                let found = Found { namespace: &namespace, key: &request.key, state: &state, live, now };
                request.ask = self.over(who, &found, request.ask)?;
            }
        }
        Ok(request)
    }

    fn state(&self, namespace: &Namespace, key: &Key) -> Result<Option<RecordState>, Failure> {
        let at = Address { namespace: namespace.id(), slot: slot_of(namespace, key), key };
        // What was seen need not be durable: it becomes a condition, and tells nobody anything.
        let (state, _durable) = self.table(namespace.class).read(at, Want::All).map_err(store_failure)?;
        Ok(state)
    }

    /// What may be done over a value that is there.
    fn over(&self, who: &Identity, found: &Found<'_>, ask: Ask) -> Result<Ask, Failure> {
        let version = found.state.version;
        match ask {
            Ask::Put(put) if !may_hold(put.condition, version) => Ok(Ask::Put(put)),
            Ask::Put(put) => {
                let until = if put.keep_lifetime { found.state.expiry } else { found.until(&put)? };
                if until < found.state.expiry {
                    return Err(denied(who, "shorten the lifetime of what is there"));
                }
                if !self.is_kept(found)? {
                    let what = match found.namespace.privacy {
                        Privacy::Sealed => "replace what is not kept as a version first",
                        Privacy::Raw => "replace what is there",
                    };
                    return Err(denied(who, what));
                }
                Ok(Ask::Put(AskPut { condition: Condition::Version(version), ..put }))
            }
            Ask::Touch { condition, lifetime } if may_hold(condition, version) => {
                let until = expiry(found.namespace, lifetime, found.now)?;
                if until < found.state.expiry {
                    return Err(denied(who, "shorten the lifetime of what is there"));
                }
                Ok(Ask::Touch { condition: Condition::Version(version), lifetime })
            }
            other => Ok(other),
        }
    }

    /// Whether the version that is there is kept beside the file, whole and for as long.
    fn is_kept(&self, found: &Found<'_>) -> Result<bool, Failure> {
        let is_file =
            found.namespace.privacy == Privacy::Sealed && found.key.as_bytes().len() == FILE_KEY_LEN;
        if !is_file || found.live.takes_left.is_some() {
            return Ok(false);
        }
        let mut key = found.key.as_bytes().to_vec();
        key.extend_from_slice(&found.state.version.to_u64().to_be_bytes());
        let key = record_key(key)?;
        let Some(kept) = self.state(found.namespace, &key)? else { return Ok(false) };
        let until = kept.expiry;
        Ok(kept.live(found.now).is_some_and(|copy| {
            copy.takes_left.is_none()
                && until >= found.state.expiry
                && copy.head == found.live.head
                && copy.body == found.live.body
                && found.live.tokens.iter().all(|token| copy.tokens.contains(token))
        }))
    }

    /// Whether somebody may put this where nothing is. Where a file's version is to be kept only that version may be
    /// put, whole and for as long, while it is the file's: else it would be taken for kept and lost with the next
    /// change. What was seen can be another version's by the time this is written, but stays what that one was.
    fn may_create(
        &self,
        who: &Identity,
        namespace: &Namespace,
        key: &Key,
        ask: &Ask,
        now: Hlc,
    ) -> Result<(), Failure> {
        let Ask::Put(put) = ask else { return Ok(()) };
        if namespace.privacy != Privacy::Sealed || key.as_bytes().len() <= FILE_KEY_LEN {
            return Ok(());
        }
        let other = || denied(who, "put anything but a whole copy where a file's version is kept");
        let (file, version) = key.as_bytes().split_at(FILE_KEY_LEN);
        let version = version.try_into().map(u64::from_be_bytes).map_err(|_| other())?;
        let state = self.state(namespace, &record_key(file.to_vec())?)?;
        let Some((state, live)) = state.as_ref().and_then(|state| Some((state, state.live(now)?))) else {
            return Err(gone());
        };
        match state.version.to_u64().cmp(&version) {
            Ordering::Greater => return Err(gone()),
            Ordering::Less => return Err(other()),
            Ordering::Equal => {}
        }
        let is_copy = put.takes.is_none()
            && live.takes_left.is_none()
            && expiry(namespace, put.lifetime, now)? >= state.expiry
            && put.head == live.head
            && put.body == live.body
            && live.tokens.iter().all(|token| put.tokens.contains(token));
        if is_copy { Ok(()) } else { Err(other()) }
    }
}

/// What an append-only identity found where it wants to write.
struct Found<'a> {
    namespace: &'a Namespace,
    key: &'a Key,
    state: &'a RecordState,
    live: &'a Live,
    now: Hlc,
}

impl Found<'_> {
    fn until(&self, put: &AskPut) -> Result<Expiry, Failure> {
        expiry(self.namespace, put.lifetime, self.now)
    }
}

fn expiry(namespace: &Namespace, lifetime: LifetimeRequest, now: Hlc) -> Result<Expiry, Failure> {
    namespace.expiry(lifetime, now).map_err(|e| Failure::new(Kind::Invalid, e.to_string()))
}

fn record_key(bytes: Vec<u8>) -> Result<Key, Failure> {
    Key::new(bytes).map_err(|e| Failure::new(Kind::Bug, e.to_string()))
}

/// Somebody else was quicker: who means well reads the file again.
fn gone() -> Failure {
    let message = "the version to be kept is not the file's any more; read it again, and try again";
    Failure::new(Kind::Retry, message)
}

/// Whether a condition can hold of a value of this version.
fn may_hold(condition: Condition, version: Version) -> bool {
    match condition {
        Condition::Any => true,
        Condition::Absent => false,
        Condition::Version(wanted) => wanted == version,
    }
}

/// A write where nothing was seen: only if that is still so.
fn only_if_absent(ask: Ask) -> Ask {
    match ask {
        Ask::Put(put) if put.condition == Condition::Any => {
            Ask::Put(AskPut { condition: Condition::Absent, ..put })
        }
        other => other,
    }
}

fn denied(who: &Identity, what: &str) -> Failure {
    let message = format!("the {} lacks the right write: with append-only it may not {what}", who.shown());
    Failure::new(Kind::Denied, message)
}

/// The least right that each call needs, wherever it goes on to look closer. What is not in it needs
/// [`Right::Admin`], so that a call that somebody forgot here is open to nobody else.
const CALLS: &[(&str, Right)] = &[
    ("/larder.v1.Records/Apply", Right::Read),
    ("/larder.v1.Records/ApplyStream", Right::Read),
    ("/larder.v1.Records/Scan", Right::Read),
    ("/larder.v1.Records/Watch", Right::Read),
    ("/larder.v1.Records/Newest", Right::Read),
    ("/larder.v1.Blobs/Put", Right::AppendOnly),
    ("/larder.v1.Blobs/Get", Right::Read),
    ("/larder.v1.Blobs/Lease", Right::AppendOnly),
    ("/larder.v1.Blobs/Release", Right::Write),
    ("/larder.v1.Node/Status", Right::Read),
    ("/larder.v1.Node/ListNamespaces", Right::Read),
    ("/larder.v1.Node/CreateNamespace", Right::Admin),
    ("/larder.v1.Node/SetNamespace", Right::Admin),
    ("/larder.v1.Node/DeleteNamespace", Right::Admin),
    ("/larder.v1.Node/CreateToken", Right::Admin),
    ("/larder.v1.Node/ListTokens", Right::Admin),
    ("/larder.v1.Node/RevokeToken", Right::Admin),
    ("/larder.v1.Node/Collect", Right::Admin),
    ("/larder.v1.Node/Scrub", Right::Admin),
    ("/larder.v1.Node/AcceptDamage", Right::Admin),
    ("/larder.v1.Node/SetQuota", Right::Admin),
    ("/larder.v1.Node/Usage", Right::Read),
    ("/larder.v1.Node/Upkeep", Right::Read),
];

/// Services that say nothing about anybody's data.
const OPEN: &[&str] =
    &["/grpc.health.v1.Health/", "/grpc.reflection.v1.", "/grpc.reflection.v1alpha.ServerReflection/"];

/// The least right that a call needs, by its path (`/package.Service/Method`).
#[must_use]
pub(crate) fn of_call(path: &str) -> Right {
    if OPEN.iter().any(|service| path.starts_with(service)) {
        return Right::Read;
    }
    CALLS.iter().find(|(call, _)| *call == path).map_or(Right::Admin, |(_, right)| *right)
}
