//! All connections of the door, as others see them: for `CLIENT LIST`, for messages to subscribers, and for the watch
//! that looks at all of them once a second and ends those that hold on to memory without going on.
//!
//! A connection notes what it is at with a few plain stores. What it has to hear of (a message, its time is up, the door
//! closes) are flags and its task's waker; looking at the flags takes no lock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use larder_door::Caller;
use larder_door::resp::limits::{
    ANSWER_STALL_MAX, AUTH_TIME_MAX, BACKLOG_BYTES_MAX, PARTIAL_STALL_MAX, UNSENT_BYTES_MAX,
};
use larder_door::resp::{Protocol, Verb};
use parking_lot::Mutex;

use super::budget::{Part, Parts};
use crate::tokens::Tokens;

/// How often all are looked at: limits are kept to about this.
const TICK: Duration = Duration::from_secs(1);

/// How long a client may take to notice that its connection has ended.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(2);

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing: it may be so for ever.
    Idle,
    /// A request has come in part.
    Partial,
    /// Its client does not take what is sent.
    Stalled,
    /// It has ended, and its client may still read why.
    Lingering,
}

impl Phase {
    fn limit(number: u8) -> Option<Duration> {
        match number {
            1 => Some(PARTIAL_STALL_MAX),
            2 => Some(ANSWER_STALL_MAX),
            3 => Some(LINGER_MAX),
            _ => None,
        }
    }
}

/// What a client says about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// By `CLIENT SETNAME`.
    pub(crate) name: Box<str>,
    /// By `CLIENT SETINFO`.
    pub(crate) library: Box<str>,
    /// By `CLIENT SETINFO`.
    pub(crate) library_version: Box<str>,
    /// By `AUTH` or its certificate.
    pub(crate) user: Option<Box<str>>,
}

/// One connection as others see it.
pub(crate) struct Client {
    /// Its number: rising, never used again.
    pub(crate) id: u64,
    /// Where it calls from, and what it called.
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    ticks: Arc<AtomicU32>,
    began: u32,
    driver: OnceLock<Waker>,
    over: AtomicBool,
    slow: AtomicBool,
    stopping: AtomicBool,
    unknown: AtomicBool,
    /// Since when it has to say who it is: from the beginning, or since it was forgotten.
    unknown_since: AtomicU32,
    /// 0: nobody can take back what it is known by.
    known_until: AtomicU64,
    doubt: AtomicBool,
    phase: AtomicU8,
    since: AtomicU32,
    last: AtomicU32,
    verb: AtomicU8,
    protocol: AtomicU8,
    channels: AtomicU32,
    patterns: AtomicU32,
    queued: AtomicI32,
    watching: AtomicU32,
    held: AtomicUsize,
    about: Mutex<Option<Box<About>>>,
    has_mail: AtomicBool,
    mail: Mutex<Mail>,
    mail_parts: Arc<Parts>,
}

/// Messages that a client has not taken, and whose they count as; `None`: nobody's yet.
#[derive(Default)]
struct Mail {
    bytes: Vec<u8>,
    part: Option<Arc<Part>>,
}

impl Client {
    /// Who is woken when it has to hear of something; the first to be told stays.
    pub(super) fn driven_by(&self, waker: &Waker) {
        if self.driver.get().is_none() {
            let _ = self.driver.set(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(driver) = self.driver.get() {
            driver.wake_by_ref();
        }
    }

    /// It is at this now.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether it is at anything that may not last.
    pub(super) fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Idle as u8
    }

    /// It must say who it is within a time, or need not any more.
    pub(super) fn set_unknown(&self, unknown: bool) {
        self.unknown_since.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
        self.unknown.store(unknown, Ordering::Relaxed);
    }

    /// It is known by something that holds until then, or may be taken back before.
    pub(super) fn set_known_until(&self, until_ms: Option<u64>) {
        self.known_until.store(until_ms.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether it must be looked at whether it is still known; asked once.
    pub(super) fn take_doubt(&self) -> bool {
        self.doubt.load(Ordering::Acquire) && self.doubt.swap(false, Ordering::AcqRel)
    }

    /// Lets it look whether it is still known, if that can have changed.
    fn doubt(&self, now_ms: Option<u64>) {
        let until_ms = self.known_until.load(Ordering::Relaxed);
        if until_ms != 0 && now_ms.is_none_or(|now_ms| until_ms <= now_ms) {
            self.doubt.store(true, Ordering::Release);
            self.wake();
        }
    }

    /// It has been cut off: nothing more is sent.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Whether it was cut off because it did not go on.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// The door closes.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Cuts it off.
    pub(super) fn cut(&self) {
        self.over.store(true, Ordering::Release);
        self.wake();
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// It has carried out this.
    pub(super) fn did(&self, verb: Option<Verb>) {
        self.last.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
        self.verb.store(verb.map_or(u8::MAX, |verb| verb as u8), Ordering::Relaxed);
    }

    /// What it has now, for whoever asks.
    pub(super) fn note(&self, queued: i32, watching: u32, held: usize) {
        self.queued.store(queued, Ordering::Relaxed);
        self.watching.store(watching, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
    }

    /// How many channels and patterns it listens to.
    pub(super) fn listens(&self, channels: usize, patterns: usize) {
        let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.channels.store(short(channels), Ordering::Relaxed);
        self.patterns.store(short(patterns), Ordering::Relaxed);
    }

    /// Whether it listens to anything.
    fn is_subscriber(&self) -> bool {
        self.channels.load(Ordering::Relaxed) + self.patterns.load(Ordering::Relaxed) > 0
    }

    /// The protocol that messages to it are written in.
    pub(super) fn protocol(&self) -> Protocol {
        if self.protocol.load(Ordering::Relaxed) == 3 { Protocol::Resp3 } else { Protocol::Resp2 }
    }

    pub(super) fn set_protocol(&self, protocol: Protocol) {
        self.protocol.store(if protocol == Protocol::Resp3 { 3 } else { 2 }, Ordering::Relaxed);
    }

    /// What it says about itself.
    pub(crate) fn about(&self) -> About {
        self.about.lock().as_deref().cloned().unwrap_or_default()
    }

    /// Changes that.
    pub(crate) fn set_about(&self, change: impl FnOnce(&mut About)) {
        change(self.about.lock().get_or_insert_default());
    }

    /// Sends it a message, whoever asks. One that does not take its messages is cut off.
    pub(super) fn post(&self, message: &[u8]) -> bool {
        if self.is_over() {
            return false;
        }
        let mut mail = self.mail.lock();
        let (before, len) = (mail.bytes.len(), mail.bytes.len() + message.len());
        if len > BACKLOG_BYTES_MAX || !self.mail_parts.change(mail.part.as_deref(), before, len) {
            // At once: until its connection has noticed, others of the same caller would go as well.
            mail.bytes = Vec::new();
            self.mail_parts.change(mail.part.as_deref(), before, 0);
            drop(mail);
            tracing::info!(client = self.id, "a subscriber that does not take its messages is cut off");
            self.slow.store(true, Ordering::Relaxed);
            self.cut();
            return false;
        }
        mail.bytes.extend_from_slice(message);
        drop(mail);
        if !self.has_mail.swap(true, Ordering::AcqRel) {
            self.wake();
        }
        true
    }

    /// Whether there are messages for it.
    pub(super) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// Takes them.
    pub(super) fn take_mail(&self) -> Vec<u8> {
        self.has_mail.store(false, Ordering::Release);
        let mut mail = self.mail.lock();
        let bytes = std::mem::take(&mut mail.bytes);
        self.mail_parts.change(mail.part.as_deref(), bytes.len(), 0);
        bytes
    }

    /// Whose its messages count as from now on, those that it has among them.
    pub(super) fn set_mail_part(&self, part: Arc<Part>) {
        let mut mail = self.mail.lock();
        Part::hand_over(mail.part.as_deref(), &part, mail.bytes.len());
        mail.part = Some(part);
    }

    fn look(&self, now: u32) {
        let lasted = |since: u32| Duration::from_secs(now.saturating_sub(since).into());
        let limit = Phase::limit(self.phase.load(Ordering::Relaxed));
        let is_slow = limit.is_some_and(|limit| lasted(self.since.load(Ordering::Relaxed)) > limit);
        let unknown_since = self.unknown_since.load(Ordering::Relaxed);
        let is_silent = self.unknown.load(Ordering::Relaxed) && lasted(unknown_since) > AUTH_TIME_MAX;
        if is_slow || is_silent {
            self.slow.store(true, Ordering::Relaxed);
            self.cut();
        }
    }

    /// A line about it, as `CLIENT LIST` has it.
    pub(super) fn line(&self) -> String {
        let now = self.ticks.load(Ordering::Relaxed);
        let of = |number: &AtomicU32| number.load(Ordering::Relaxed);
        let about = self.about();
        let verb = self.verb.load(Ordering::Relaxed);
        let verb = larder_door::resp::table::NAMES.get(usize::from(verb)).copied().unwrap_or("NULL");
        let held = self.held.load(Ordering::Relaxed);
        let mail = self.mail.lock().bytes.len();
        format!(
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db=0 sub={} psub={} ssub=0 multi={} watch={} qbuf={held} \
             qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={mail} tot-mem={} events=r cmd={verb} user={} \
             redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.peer,
            self.local,
            about.name,
            now.saturating_sub(self.began),
            now.saturating_sub(of(&self.last)),
            if self.is_subscriber() { "P" } else { "N" },
            of(&self.channels),
            of(&self.patterns),
            self.queued.load(Ordering::Relaxed),
            of(&self.watching),
            held + mail + size_of::<Self>(),
            about.user.as_deref().unwrap_or("default"),
            self.protocol.load(Ordering::Relaxed),
            about.library,
            about.library_version,
        )
    }

    /// Whether it is of a kind that `CLIENT LIST TYPE` names.
    pub(super) fn is_of(&self, kind: &[u8]) -> Option<bool> {
        match kind.to_ascii_lowercase().as_slice() {
            b"normal" => Some(!self.is_subscriber()),
            b"pubsub" => Some(self.is_subscriber()),
            b"master" | b"replica" | b"slave" => Some(false),
            _ => None,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mail = self.mail.get_mut();
        self.mail_parts.change(mail.part.as_deref(), mail.bytes.len(), 0);
    }
}

/// All connections.
pub(crate) struct Clients {
    ticks: Arc<AtomicU32>,
    next: AtomicU64,
    all: Mutex<All>,
    mail: Arc<Parts>,
}

#[derive(Default)]
struct All {
    clients: HashMap<u64, Arc<Client>>,
    stopping: bool,
}

impl Clients {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            ticks: Arc::default(),
            next: AtomicU64::new(1),
            all: Mutex::default(),
            mail: Arc::new(Parts::new(UNSENT_BYTES_MAX)),
        }
    }

    /// A new connection.
    pub(super) fn enter(&self, peer: SocketAddr, local: SocketAddr) -> Arc<Client> {
        let now = self.ticks.load(Ordering::Relaxed);
        let mut all = self.all.lock();
        let client = Arc::new(Client {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            peer,
            local,
            ticks: self.ticks.clone(),
            began: now,
            driver: OnceLock::new(),
            over: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            stopping: AtomicBool::new(all.stopping),
            unknown: AtomicBool::new(false),
            unknown_since: AtomicU32::new(now),
            known_until: AtomicU64::new(0),
            doubt: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU32::new(now),
            last: AtomicU32::new(now),
            verb: AtomicU8::new(u8::MAX),
            protocol: AtomicU8::new(2),
            channels: AtomicU32::new(0),
            patterns: AtomicU32::new(0),
            queued: AtomicI32::new(-1),
            watching: AtomicU32::new(0),
            held: AtomicUsize::new(0),
            about: Mutex::default(),
            has_mail: AtomicBool::new(false),
            mail: Mutex::default(),
            mail_parts: self.mail.clone(),
        });
        all.clients.insert(client.id, client.clone());
        client
    }

    /// A connection has ended.
    pub(super) fn leave(&self, id: u64) {
        self.all.lock().clients.remove(&id);
    }

    /// How many there are, and how many of them are subscribers.
    pub(super) fn count(&self) -> (usize, usize) {
        let all = self.all.lock();
        (all.clients.len(), all.clients.values().filter(|client| client.is_subscriber()).count())
    }

    /// Those that are asked for, by their numbers.
    pub(super) fn list(&self, wanted: impl Fn(&Client) -> bool) -> Vec<Arc<Client>> {
        let mut found: Vec<_> =
            self.all.lock().clients.values().filter(|client| wanted(client)).cloned().collect();
        found.sort_by_key(|client| client.id);
        found
    }

    /// What somebody has of the room for messages.
    pub(super) fn mail_part(&self, caller: &Caller, is_unknown: bool) -> Arc<Part> {
        self.mail.of(caller, is_unknown)
    }

    /// Bytes of messages that nobody has taken yet.
    pub(super) fn mail_bytes(&self) -> usize {
        self.mail.held()
    }

    /// Tells all, and those that still come, that the door closes.
    pub(super) fn stop(&self) {
        let mut all = self.all.lock();
        all.stopping = true;
        for client in all.clients.values() {
            client.stop();
        }
    }

    /// A second has passed. Those are doubted whose time is up; without a time all that can be.
    fn look_at_all(&self, now_ms: Option<u64>) {
        let now = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        self.all.lock().clients.values().for_each(|client| client.look(now));
        self.doubt_all(now_ms);
    }

    fn doubt_all(&self, now_ms: Option<u64>) {
        self.all.lock().clients.values().for_each(|client| client.doubt(now_ms));
    }

    /// Looks at them for ever, and whenever a token is revoked.
    pub(super) async fn run(self: Arc<Self>, tokens: Arc<Tokens>) {
        let mut ticks = tokio::time::interval(TICK);
        let mut revocations = tokens.revocations();
        let mut has_revoked = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let now_ms = tokens.now().ms();
                    // After a revocation a second time: whoever was being let in by that token is known by now.
                    self.look_at_all((!std::mem::take(&mut has_revoked)).then_some(now_ms));
                }
                // The sender is the tokens' own and does not go.
                _ = revocations.changed() => {
                    has_revoked = true;
                    self.doubt_all(None);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
