//! The state of one connection between its requests: who it is, which namespace, what it has queued and watches. Small,
//! because ten thousand connections may have it and do nothing: what few connections need is boxed.

use std::sync::Arc;

use larder_door::Caller;
use larder_door::resp::Verb;
use larder_format::clock::Hlc;
use larder_format::ids::NamespaceId;
use larder_format::namespace::Namespace;

use super::clients::Client;
use super::queue::Queue;
use super::shared::Shared;
use super::watching::Watching;
use crate::config::RawAuth;
use crate::identity::Identity;

/// The namespace that a connection works in: its database 0.
#[derive(Debug)]
pub(crate) struct Space {
    /// Its id.
    pub(crate) id: NamespaceId,
    /// Its settings.
    pub(crate) settings: Arc<Namespace>,
    /// The number that namespaces had then ([`crate::namespaces::Namespaces::epoch`]).
    pub(super) epoch: u64,
    /// What whoever wants a value of it is told instead, where it cannot be served.
    pub(super) refusal: Option<String>,
}

/// Whether answers are sent, as `CLIENT REPLY` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Replies {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// Not the next one.
    SkipNext,
    /// Not this one.
    Skip,
}

/// What is kept of a token that was shown.
pub(super) struct ByToken {
    /// The number that tokens had then ([`crate::tokens::Tokens::epoch`]).
    epoch: u64,
    before: Before,
}

/// Who a connection was before it showed a token, and is again once that is forgotten.
struct Before {
    caller: Caller,
    /// By its certificate; nobody's rights are more than those of a certificate that gives few.
    identity: Option<Arc<Identity>>,
    space: Arc<Space>,
}

/// The state of one connection.
pub(crate) struct Session {
    /// What others see of it.
    pub(crate) client: Arc<Client>,
    /// Where it calls from, and how far it is known.
    pub(crate) caller: Caller,
    /// Who it is; `None`: nobody in particular.
    pub(crate) identity: Option<Arc<Identity>>,
    /// It said so itself with a token; `None`: its connection did, or nobody.
    pub(super) by_token: Option<Box<ByToken>>,
    /// It has to say who it is before it may do anything.
    pub(crate) is_unknown: bool,
    /// Attempts to do so that failed.
    pub(crate) auth_failures: u32,
    /// Where it works.
    pub(crate) space: Arc<Space>,
    /// What `MULTI` queued; `None`: no `MULTI`.
    pub(crate) queue: Option<Box<Queue>>,
    /// What was queued is being carried out.
    pub(crate) in_exec: bool,
    /// The keys that `WATCH` named.
    pub(crate) watched: Option<Box<Watching>>,
    /// Channels and patterns it listens to.
    pub(crate) subscriptions: Option<Box<super::pubsub::Subscriptions>>,
    /// Whether answers are sent.
    pub(crate) replies: Replies,
    /// It is closed once what was answered is sent.
    pub(crate) closing: bool,
    /// Bytes of values that its commands have copied since somebody looked.
    pub(crate) moved: usize,
}

impl Session {
    /// A new connection's.
    pub(super) fn new(client: Arc<Client>, caller: Caller, space: Arc<Space>, is_unknown: bool) -> Self {
        client.set_unknown(is_unknown);
        Self {
            client,
            caller,
            identity: None,
            by_token: None,
            is_unknown,
            auth_failures: 0,
            space,
            queue: None,
            in_exec: false,
            watched: None,
            subscriptions: None,
            replies: Replies::On,
            closing: false,
            moved: 0,
        }
    }

    /// It has shown a good token. Answers whether it is known by it now: it is not where it listens to what the token's
    /// holder may not listen to.
    pub(super) fn known_by_token(&mut self, shared: &Shared, identity: Identity, epoch: u64) -> bool {
        let space = match identity.namespaces.as_deref() {
            Some([only]) => shared.space(only),
            _ => shared.space(&shared.config.namespace),
        };
        if self.subscriptions.as_ref().is_some_and(|all| !all.may_go_on(&identity, &space)) {
            return false;
        }
        let serial = identity.serial.as_str();
        let known = Caller::with_token(self.caller.address, serial);
        let before = match self.by_token.take() {
            Some(earlier) => earlier.before,
            None => Before {
                caller: self.caller.clone(),
                identity: self.identity.clone(),
                space: self.space.clone(),
            },
        };
        self.by_token = Some(Box::new(ByToken { epoch, before }));
        self.client.set_about(|about| about.user = Some(serial.into()));
        self.client.set_known_until(Some(identity.not_after_ms));
        self.client.set_unknown(false);
        (self.caller, self.space) = (known, space);
        (self.identity, self.is_unknown) = (Some(Arc::new(identity)), false);
        self.auth_failures = 0;
        self.count_mail(shared);
        true
    }

    /// Lets messages that it does not take count as those of whoever it is now, if any can come.
    pub(super) fn count_mail(&self, shared: &Shared) {
        if self.subscriptions.is_some() {
            self.client.set_mail_part(shared.clients.mail_part(&self.caller, self.is_unknown));
        }
    }

    /// Whether what it said of itself still holds: tokens can be revoked, and end.
    pub(super) fn is_still_known(&mut self, shared: &Shared, now: Hlc) -> bool {
        let (Some(identity), Some(by_token)) = (&self.identity, &mut self.by_token) else { return true };
        let newest = shared.tokens.epoch();
        if by_token.epoch == newest && identity.not_after_ms > now.ms() {
            return true;
        }
        by_token.epoch = newest;
        shared.tokens.holds(identity, now)
    }

    /// Whom its certificate names again; without one nobody in particular, as the door takes those who have not said who
    /// they are.
    pub(super) fn forget_user(&mut self, shared: &Shared) {
        if let Some(by_token) = self.by_token.take() {
            let Before { caller, identity, space } = by_token.before;
            (self.caller, self.identity, self.space) = (caller, identity, space);
            let user = self.identity.as_ref().map(|identity| identity.name.clone().into());
            self.client.set_about(|about| about.user = user);
            self.client.set_known_until(None);
            self.is_unknown = self.identity.is_none() && shared.config.auth == RawAuth::Token;
            self.client.set_unknown(self.is_unknown);
            self.count_mail(shared);
        }
    }

    /// What was queued cannot be carried out any more: something was wrong with a request.
    pub(super) fn spoil(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.spoil();
        }
    }

    /// How many channels and patterns it listens to.
    pub(super) fn subscribed(&self) -> usize {
        self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.count())
    }

    /// Lets others see what it has done and has.
    pub(super) fn note(&self, last: Option<Verb>) {
        let queued = self.queue.as_ref().map_or(-1, |queue| i32::try_from(queue.len()).unwrap_or(i32::MAX));
        let watching = self.watched.as_ref().map_or(0, |watched| watched.len());
        self.client.note(queued, u32::try_from(watching).unwrap_or(u32::MAX), self.held_bytes());
        self.client.did(last);
    }

    /// Bytes it holds that somebody outside can make many.
    pub(super) fn held_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.held_bytes())
            + self.watched.as_ref().map_or(0, |watched| watched.held_bytes())
    }
}
