//! Tokens ([`larder_format::token`]): which there are, what each grants, and when one is not good any more. One for all raw
//! doors. Their records lie in the system namespace and are held here as well, so that no request reads them from disk.
//!
//! For a door:
//! - [`Tokens::check`] says who somebody is that shows a token; [`Tokens::check_as`] if it says by which id, too;
//! - what it answered may be kept as long as [`Tokens::epoch`] stays and [`Identity::not_after_ms`] has not come, else
//!   [`Tokens::holds`] says whether it is still good;
//! - [`Tokens::ended`] resolves when it is not, for connections that wait;
//! - [`Tokens::failed`] counts one that was refused, and says when somebody has to wait.
//!
//! Refusals do not tell an id that is unknown from one whose token is another, and nothing here logs a token.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_door::Caller;
use larder_door::bucket::{Buckets, Rate};
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::{NamespaceId, TokenId};
use larder_format::limits::{KEY_LEN_MAX, TOKENS_MAX};
use larder_format::record::{Ballot, Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SystemRng};
use larder_format::slot::Slot;
use larder_format::token::record::{TOKEN_RECORD_PREFIX, is_token_name};
use larder_format::token::{Grant, RootKey, Token, TokenRecord};
use larder_store::api::{Address, Next, RecordStore, ScanRequest, StoreError, Ticket, Want};
use larder_store::log::LogStore;
use larder_wire::answer::Failure;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::identity::{Identity, Proof, Serial};
use crate::registers::store_failure;
use crate::time::NodeTime;

/// Tokens that one network may show in vain: a program that tries again all the time is told to wait, and is not worth a
/// line in the log each time. A good token is never refused for it.
pub const FAILURES_RATE: Rate = Rate { per_second: 5, burst: 20 };

/// How exactly it is kept when a token was last used, in milliseconds (a day): each time costs a write.
pub const USED_EVERY_MS: u64 = 24 * 3600 * 1000;

/// Longest sleep until a token's end, so that a clock that was set is noticed.
const END_SLEEP_MAX: Duration = Duration::from_secs(60);

/// The name that Redis clients give where they were given none.
const DEFAULT_USER: &str = "default";

/// All tokens of a node.
pub struct Tokens {
    disk: Arc<LogStore>,
    time: Arc<NodeTime>,
    known: RwLock<HashMap<TokenId, Arc<Known>>>,
    /// Raised whenever one is revoked.
    epoch: AtomicU64,
    revoked: watch::Sender<()>,
    failures: Option<Buckets>,
    failed: AtomicU64,
}

/// One of them.
struct Known {
    record: TokenRecord,
    /// When it was last used, in milliseconds since 1970; 0: never.
    used_ms: AtomicU64,
}

/// A token that was just made.
pub struct Made {
    /// Its text: told once, and not kept.
    pub text: String,
    /// What is kept of it.
    pub record: TokenRecord,
    /// When it is durable.
    pub durable: Ticket,
}

impl Tokens {
    /// Reads what the store holds. A record that cannot be read is a token that is not good: that is said, and the node
    /// goes on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(disk: Arc<LogStore>, time: Arc<NodeTime>) -> Result<Self, StoreError> {
        let mut known = HashMap::new();
        let mut request = ScanRequest {
            prefix: bytes::Bytes::from_static(TOKEN_RECORD_PREFIX),
            cursor: bytes::Bytes::new(),
            limit: 256,
            key_len_max: KEY_LEN_MAX,
            want: Want::All,
        };
        loop {
            let page = disk.scan_known(NamespaceId::SYSTEM, &request)?;
            for key in &page.damaged {
                tracing::error!(?key, "a token's record cannot be read: the token is not good any more");
            }
            for (key, state) in page.records {
                let Content::Live(live) = state.content else { continue };
                match TokenRecord::decode(live.body) {
                    Ok(record) => {
                        let used_ms = record.used_ms.unwrap_or(0).into();
                        known.insert(record.id, Arc::new(Known { record, used_ms }));
                    }
                    Err(why) => {
                        tracing::error!(?key, %why, "a token's record makes no sense: the token is not good");
                    }
                }
            }
            match page.next {
                Some(cursor) => request.cursor = cursor,
                None => break,
            }
        }
        Ok(Self {
            disk,
            time,
            known: RwLock::new(known),
            epoch: AtomicU64::new(0),
            revoked: watch::Sender::new(()),
            failures: Buckets::new(FAILURES_RATE),
            failed: AtomicU64::new(0),
        })
    }

    /// Who somebody is that shows this token.
    ///
    /// # Errors
    /// [`Kind::Denied`] for whatever is no good token here.
    pub fn check(&self, text: &[u8], now: Hlc) -> Result<Identity, Failure> {
        let text = std::str::from_utf8(text).map_err(|_| wrong())?;
        let token = Token::parse(text).map_err(|_| wrong())?;
        let known = self.known.read().get(&token.id()).cloned().ok_or_else(wrong)?;
        let grant = known.record.grant_of(&token).ok_or_else(wrong)?;
        // Only now: whoever gets here has a token that was good once.
        if grant.is_over(now.ms()) {
            return Err(Failure::new(Kind::Denied, "this token has expired; ask for a new one"));
        }
        if grant.is_nothing() {
            return Err(Failure::new(Kind::Denied, "this token was narrowed until it grants nothing"));
        }
        known.used_ms.fetch_max(now.ms(), Ordering::Relaxed);
        Ok(identity(&known.record, grant))
    }

    /// As [`Tokens::check`], of somebody who says by which id. None, or the name that Redis clients give where they were
    /// given none, is any.
    ///
    /// # Errors
    /// As [`Tokens::check`]; also if the token has another id.
    pub fn check_as(&self, id: &str, text: &[u8], now: Hlc) -> Result<Identity, Failure> {
        let found = self.check(text, now)?;
        if id.is_empty() || id == DEFAULT_USER || id == found.serial.as_str() {
            Ok(found)
        } else {
            Err(wrong())
        }
    }

    /// A number that changes whenever a token is revoked.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether somebody who was known by a token still is. Certificates are looked after where their connections are.
    #[must_use]
    pub fn holds(&self, identity: &Identity, now: Hlc) -> bool {
        match identity.proof {
            Proof::Certificate => true,
            Proof::Token(id) => identity.not_after_ms > now.ms() && self.known.read().contains_key(&id),
        }
    }

    /// Changes whenever one is revoked.
    #[must_use]
    pub fn revocations(&self) -> watch::Receiver<()> {
        self.revoked.subscribe()
    }

    /// The time by which tokens end.
    #[must_use]
    pub fn now(&self) -> Hlc {
        self.time.now()
    }

    /// Resolves when somebody is not known by a token any more: at once when it is revoked, and when its time is up.
    pub async fn ended(&self, identity: &Identity) {
        let mut revoked = self.revoked.subscribe();
        loop {
            let now = self.time.now();
            if !self.holds(identity, now) {
                return;
            }
            let left = Duration::from_millis(identity.not_after_ms.saturating_sub(now.ms()));
            tokio::select! {
                // The sender is ours and does not go.
                _ = revoked.changed() => {}
                () = tokio::time::sleep(left.min(END_SLEEP_MAX)) => {}
            }
        }
    }

    /// Counts a token that was refused. Says how long whoever shows such has to wait, if it shows too many.
    ///
    /// # Errors
    /// How long to wait.
    pub fn failed(&self, caller: &Caller) -> Result<(), Duration> {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let Some(failures) = &self.failures else { return Ok(()) };
        match failures.take(caller.network().to_u64(), 1, self.time.monotonic()).retry_after {
            Some(retry_after) => Err(retry_after),
            None => {
                tracing::info!(address = %caller.address, "a token was refused");
                Ok(())
            }
        }
    }

    /// How many there are, expired ones too.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.read().len()
    }

    /// How many were refused since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// What is kept of each, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<TokenRecord> {
        let mut all: Vec<TokenRecord> = self.known.read().values().map(|known| known.now()).collect();
        all.sort_by_key(|record| (record.created_ms, record.id));
        all
    }

    /// Makes a new one.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a name or grant that cannot be; [`Kind::Full`] if there are too many.
    pub fn create(&self, name: &str, grant: Grant, now: Hlc) -> Result<Made, Failure> {
        if !is_token_name(name) {
            return Err(Failure::new(
                Kind::Invalid,
                "a token's name has at most 64 bytes and no control characters",
            ));
        }
        if grant.is_over(now.ms()) {
            return Err(Failure::new(Kind::Invalid, "the token would have expired before it was made"));
        }
        let mut known = self.known.write();
        if known.len() >= TOKENS_MAX {
            let message = format!(
                "there are too many tokens max={TOKENS_MAX}; revoke those that nobody needs: larder token list"
            );
            return Err(Failure::new(Kind::Full, message));
        }
        let mut rng = SystemRng;
        let mut id = TokenId(rng.array());
        while known.contains_key(&id) {
            id = TokenId(rng.array());
        }
        let root = RootKey(rng.array());
        let token =
            Token::mint(id, &root, &grant).map_err(|bad| Failure::new(Kind::Invalid, bad.to_string()))?;
        let record =
            TokenRecord { id, root, name: name.to_owned(), grant, created_ms: now.ms(), used_ms: None };
        let durable = self.store(&record, now).map_err(store_failure)?;
        known.insert(id, Arc::new(Known { record: record.clone(), used_ms: 0.into() }));
        drop(known);
        tracing::info!(%id, name, "a token was made");
        Ok(Made { text: token.to_text(), record, durable })
    }

    /// What is kept of one.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn get(&self, id: TokenId) -> Result<TokenRecord, Failure> {
        self.known.read().get(&id).map(|known| known.now()).ok_or_else(|| {
            let message = format!("there is no token with this id id={id}; larder token list shows them");
            Failure::new(Kind::NotFound, message)
        })
    }

    /// Revokes one, and with it all that were made of it: at once, and durably when the ticket resolves.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn revoke(&self, id: TokenId) -> Result<(TokenRecord, Ticket), Failure> {
        let record = self.get(id)?;
        let mut known = self.known.write();
        let key = record_key(id);
        let ticket = self
            .disk
            .update(address(&key), &mut |current| {
                let Some(meta) = current.meta() else { return Ok(Next::Keep) };
                Ok(Next::Remove { floor: Ballot { round: meta.version.to_u64(), proposer: 0 } })
            })
            .map_err(store_failure)?;
        known.remove(&id);
        drop(known);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.revoked.send_replace(());
        tracing::info!(%id, name = record.name, "a token was revoked");
        Ok((record, ticket))
    }

    /// Keeps when tokens were last used, of those where it is a day off. Nobody waits for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn keep_uses(&self, now: Hlc) -> Result<(), StoreError> {
        let is_off = |known: &Known| known.used_ms() >= known.record.used_ms.unwrap_or(0) + USED_EVERY_MS;
        let off: Vec<TokenId> =
            self.known.read().values().filter(|known| is_off(known)).map(|known| known.record.id).collect();
        for id in off {
            // Under the lock, so that none is written after it was revoked.
            let mut all = self.known.write();
            let Some(record) = all.get(&id).map(|known| known.now()) else { continue };
            let _durable = self.store(&record, now)?;
            let used_ms = record.used_ms.unwrap_or(0).into();
            all.insert(id, Arc::new(Known { record, used_ms }));
        }
        Ok(())
    }

    fn store(&self, record: &TokenRecord, now: Hlc) -> Result<Ticket, StoreError> {
        let key = record_key(record.id);
        self.disk.update(address(&key), &mut |current| {
            let newest = current.meta().map_or(0, |meta| meta.version.to_u64()).max(current.floor().round);
            let state = RecordState {
                version: Version::from_u64(now.to_u64().max(newest.saturating_add(1))),
                expiry: Expiry::NEVER,
                content: Content::Live(Live { body: record.encode(), ..Live::default() }),
                operations: Vec::new(),
            };
            Ok(Next::Store(RecordSlot { ballots: None, state: Some(state) }))
        })
    }
}

impl Known {
    fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// Its record as it is now.
    fn now(&self) -> TokenRecord {
        let used_ms = Some(self.used_ms()).filter(|ms| *ms > 0);
        TokenRecord { used_ms, ..self.record.clone() }
    }
}

fn identity(record: &TokenRecord, grant: Grant) -> Identity {
    Identity {
        proof: Proof::Token(record.id),
        name: record.name.clone(),
        serial: Serial::of_token(record.id),
        right: grant.right,
        namespaces: grant.namespaces,
        prefixes: grant.prefixes,
        not_before_ms: record.created_ms,
        not_after_ms: grant.expires_ms.unwrap_or(u64::MAX),
    }
}

/// The one answer to every token that is not good and never was, here.
fn wrong() -> Failure {
    Failure::new(
        Kind::Denied,
        "this is no token that this node knows: it was revoked, is another node's, or of a newer program",
    )
}

fn record_key(id: TokenId) -> Key {
    Key::new(TokenRecord::key(id)).expect("keys of token records are short")
}

fn address(key: &Key) -> Address<'_> {
    Address { namespace: NamespaceId::SYSTEM, slot: Slot::of_raw(key.as_bytes()), key }
}
