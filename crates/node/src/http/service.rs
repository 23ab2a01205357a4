//! One request: checked, decoded, carried out, counted.
//!
//! A read of a value in memory is answered without a future of its own; everything that may wait is boxed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::{Body, Incoming};
use larder_door::http::origin::Hosts;
use larder_door::http::target::{self, Asked, Unroutable};
use larder_door::http::{openapi, suspicion};
use larder_door::proxies::Proxies;
use larder_door::{Caller, Limiter, Refusal};
use larder_format::error::Kind;
use larder_format::ids::{NamespaceId, NodeId};
use larder_format::namespace::{Namespace, Privacy};
use larder_format::record::Key;
use larder_wire::answer::Failure;

use super::answer::{self, Answer};
use super::bearer::{self, Asker};
use super::increment::AddAsked;
use super::memory::Memory;
use super::operation;
use super::put::{PutHead, is_json};
use super::touch::NewLifetime;
use super::values::Reading;
use super::watch::{Phase, Watched};
use crate::config::HttpConfig;
use crate::feeds::Feeds;
use crate::identity::{Identity, Right};
use crate::metrics::{Metrics, Sources};
use crate::namespaces::Namespaces;
use crate::registers::Registers;
use crate::server::Health;
use crate::time::NodeTime;
use crate::tokens::Tokens;

/// The namespace this door serves.
pub(super) struct Space {
    pub(super) id: NamespaceId,
    pub(super) settings: Arc<Namespace>,
}

/// What all connections of the door share.
pub(crate) struct Shared {
    pub(super) config: HttpConfig,
    pub(super) node_id: NodeId,
    pub(super) registers: Arc<Registers>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) time: Arc<NodeTime>,
    pub(super) health: Arc<Health>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sources: Sources,
    pub(super) hosts: Hosts,
    pub(super) limiter: Limiter,
    pub(super) proxies: Arc<Proxies>,
    /// Memory for bodies.
    pub(super) bodies: Memory,
    /// Memory for answers that are built.
    pub(super) answers: Memory,
    /// Memory for streams of events.
    pub(super) watches: Memory,
    pub(super) feeds: Arc<Feeds>,
    pub(super) space: OnceLock<Space>,
}

/// An answer, or one that has to be waited for.
pub(super) enum Begun {
    Now(Answer),
    Later(Later),
}

/// An answer that has to be waited for.
pub(super) type Later = Pin<Box<dyn Future<Output = Answer> + Send>>;

impl Shared {
    /// The namespace; looked up by name once, since one that a door serves never goes, and none changes what it is. Its
    /// lifetimes may change: who needs them looks them up.
    ///
    /// # Errors
    /// [`Kind::Closed`] while it is not there; [`Kind::Denied`] if it is sealed.
    pub(super) fn space(&self) -> Result<&Space, Failure> {
        if let Some(space) = self.space.get() {
            return Ok(space);
        }
        let name = &self.config.namespace;
        let settings = self.namespaces.get(NamespaceId::of(name)).map_err(|failure| match failure.kind {
            Kind::NotFound => {
                let message = format!("this node has no namespace {name:?} yet; `larder up` makes it");
                Failure::new(Kind::Closed, message)
            }
            _ => failure,
        })?;
        if settings.privacy != Privacy::Raw {
            let message = format!("the namespace {name:?} is sealed: plain HTTP neither reads nor writes it");
            return Err(Failure::new(Kind::Denied, message));
        }
        Ok(self.space.get_or_init(|| Space { id: settings.id(), settings }))
    }

    /// The namespace's settings as they are now: lifetimes may have been changed.
    ///
    /// # Errors
    /// As the list of namespaces has it.
    pub(super) fn settings(&self, space: &Space) -> Result<Arc<Namespace>, Failure> {
        self.namespaces.get(space.id)
    }

    /// What a request's head alone decides: whether it is ours, who asks, and whether it may ask so much.
    fn admit(
        &self,
        by: &Service,
        caller: &Caller,
        request: &Request<Incoming>,
    ) -> Result<Asker, Box<Answer>> {
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let checked = self.hosts.check(request.method(), request.version(), authority, request.headers());
        checked.map_err(|refusal| Box::new(self.refuse(refusal)))?;
        let shown = bearer::header(request.headers());
        let asker = self.asker(caller, by.identity.as_ref(), by.watched.token(), shown);
        let known = asker.as_ref().map_or(caller, |asker| &asker.caller);
        self.within_rate(known).map_err(|refusal| Box::new(self.refuse(refusal)))?;
        asker.map_err(|unknown| {
            let mut answer = self.challenge(caller, &unknown);
            if has_body(request.method(), request.headers(), request.body()) {
                answer::close(&mut answer);
            }
            Box::new(answer)
        })
    }

    /// Takes a request out of what the caller may ask.
    pub(super) fn within_rate(&self, caller: &Caller) -> Result<(), Refusal> {
        self.limiter.take(caller, self.time.monotonic())
    }

    /// Begins a request; answers which operation it is, too.
    fn begin(
        self: &Arc<Self>,
        by: &Service,
        request: Request<Incoming>,
        has_fragment: bool,
    ) -> (usize, Begun) {
        if has_fragment {
            let detail = "the path has a # in it, which never belongs to a request: write # in a key as %23";
            let mut answer = answer::bad(detail);
            answer::close(&mut answer);
            return (operation::NONE, Begun::Now(answer));
        }
        let told = self.proxies.of_request(&by.caller, request.headers());
        let asker = match self.admit(by, told.as_ref().unwrap_or(&by.caller), &request) {
            Ok(asker) => asker,
            Err(answer) => return (operation::NONE, Begun::Now(*answer)),
        };
        let uri = request.uri();
        match target::decode(request.method(), uri.path(), uri.query()) {
            Ok(asked) => match self.permit(asker.identity.as_deref(), &asked) {
                Ok(()) => (operation::at(&asked), self.carry_out(asker, asked, request)),
                Err(failure) => {
                    let mut answer = answer::failure(&failure);
                    // Nobody reads a body that may follow.
                    answer::close(&mut answer);
                    (operation::at(&asked), Begun::Now(answer))
                }
            },
            Err(unroutable) => (operation::NONE, Begun::Now(self.unroutable(&unroutable, &request))),
        }
    }

    /// What somebody's certificate or token lets them do.
    pub(super) fn permit(&self, identity: Option<&Identity>, asked: &Asked) -> Result<(), Failure> {
        let Some(identity) = identity else { return Ok(()) };
        let (needed, namespace) = (needed(asked), self.config.namespace.as_str());
        match about(asked) {
            About::Keys(keys) => {
                keys.iter().try_for_each(|key| identity.check_named_prefix(needed, namespace, key))
            }
            About::Key(key) => identity.check_named_prefix(needed, namespace, key.as_bytes()),
            About::Prefix(prefix) => identity.check_named_prefix(needed, namespace, prefix),
            About::SomeKey => identity.check_somewhere(needed, namespace),
            About::Node => identity.check(needed),
        }
    }

    fn carry_out(self: &Arc<Self>, asker: Asker, asked: Asked, request: Request<Incoming>) -> Begun {
        if takes_no_body(&asked) && has_body(request.method(), request.headers(), request.body()) {
            let mut answer = answer::bad("this takes no body; what it needs to know stands in the query");
            answer::close(&mut answer);
            return Begun::Now(answer);
        }
        let shared = self.clone();
        match asked {
            Asked::Get { key, as_json } => match Reading::of(request.method(), request.headers(), as_json) {
                Ok(reading) => self.get(key, reading),
                Err(bad) => Begun::Now(answer::bad(&bad.0)),
            },
            Asked::Put { key, ttl_ms, may_be_json, reads } => {
                let is_json = may_be_json && is_json(request.headers());
                let head = PutHead { who: asker.identity, key: Some(key), ttl_ms, is_json, reads };
                Begun::Later(Box::pin(shared.put_or_refuse(asker.caller, head, request)))
            }
            Asked::PutRaw => {
                let head =
                    PutHead { who: asker.identity, key: None, ttl_ms: None, is_json: true, reads: None };
                Begun::Later(Box::pin(shared.put_or_refuse(asker.caller, head, request)))
            }
            Asked::Keys(page) => Begun::Later(Box::pin(shared.keys(asker.caller, page))),
            Asked::Health { v1 } => Begun::Now(self.health(v1)),
            Asked::Status { v1 } => Begun::Now(self.status(v1)),
            Asked::Topology => Begun::Now(self.topology()),
            Asked::Metrics(form) => Begun::Later(Box::pin(shared.metrics(asker.caller, form))),
            Asked::OpenApi => {
                Begun::Now(answer::bytes(StatusCode::OK, "application/json", openapi::DOCUMENT))
            }
            Asked::Problems(which) => Begun::Now(answer::problems(which)),
            asked => Begun::Later(shared.carry_out_later(asker, asked, request.into_parts().0.headers)),
        }
    }

    /// What waits for something and has no body.
    fn carry_out_later(self: Arc<Self>, asker: Asker, asked: Asked, headers: HeaderMap) -> Later {
        let Asker { caller, identity: who } = asker;
        match asked {
            Asked::Delete { key } => Box::pin(self.delete(who, key, headers)),
            Asked::Take { key } => Box::pin(self.take(who, key, headers)),
            Asked::Touch { key, ttl_ms } => Box::pin(self.touch(who, key, NewLifetime::Ttl(ttl_ms), headers)),
            Asked::Persist { key } => Box::pin(self.touch(who, key, NewLifetime::Never, headers)),
            Asked::Increment { key, by, ttl_ms } => {
                Box::pin(self.increment(who, key, AddAsked { by, ttl_ms }, headers))
            }
            Asked::Watch(asked) => Box::pin(self.watch(caller, asked, headers)),
            // The others have begun already.
            _ => Box::pin(std::future::ready(answer::problem("bug", "this request was routed to nobody"))),
        }
    }

    async fn put_or_refuse(
        self: Arc<Self>,
        caller: Caller,
        head: PutHead,
        request: Request<Incoming>,
    ) -> Answer {
        let (parts, incoming) = request.into_parts();
        match self.clone().put(&caller, head, parts.headers, incoming).await {
            Ok(answer) => answer,
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Counts a refusal and answers it.
    pub(super) fn refuse(&self, refusal: Refusal) -> Answer {
        self.metrics.http.refused(refusal);
        answer::refusal(refusal)
    }

    fn unroutable(&self, unroutable: &Unroutable, request: &Request<Incoming>) -> Answer {
        if let Some(suspicion) = suspicion::look(request.method(), request.uri()) {
            self.metrics.http.suspicious(suspicion);
            tracing::debug!(kind = suspicion.name(), "suspicious request");
        }
        let mut answer = match unroutable {
            Unroutable::NoRoute => {
                let detail = "there is nothing here; values are under /v1/data/KEY, and /v1/openapi.json has all paths";
                answer::problem("no_route", detail)
            }
            Unroutable::Method { allow } => answer::wrong_method(allow),
            Unroutable::Bad(bad) => answer::bad(&bad.0),
        };
        if has_body(request.method(), request.headers(), request.body()) {
            // Nobody reads it: what follows on this connection would be taken for a request.
            answer::close(&mut answer);
        }
        answer
    }

    pub(super) fn count(&self, operation: usize, began: Duration, answer: &Answer, is_head: bool) {
        let len = if is_head { 0 } else { answer.body().len() };
        self.count_status(operation, began, answer.status(), len);
    }

    pub(super) fn count_status(&self, operation: usize, began: Duration, status: StatusCode, len: u64) {
        let took = self.time.monotonic().saturating_sub(began);
        self.metrics.http.request(operation, operation::status_at(status.as_u16()), took);
        self.metrics.http.sent(len);
    }
}

fn has_body(method: &Method, headers: &HeaderMap, body: &Incoming) -> bool {
    *method != Method::GET && (!body.is_end_stream() || headers.contains_key(http::header::TRANSFER_ENCODING))
}

/// The least right that an operation needs of somebody with a certificate or token. Writing over a value takes the one
/// before away, for which adding is not enough: the register looks at that, under the record's lock.
fn needed(asked: &Asked) -> Right {
    match asked {
        Asked::Put { .. }
        | Asked::PutRaw
        | Asked::Touch { .. }
        | Asked::Persist { .. }
        | Asked::Increment { .. } => Right::AppendOnly,
        Asked::Delete { .. } | Asked::Take { .. } => Right::Write,
        Asked::Get { .. }
        | Asked::Keys(_)
        | Asked::Watch(_)
        | Asked::OpenApi
        | Asked::Problems(_)
        | Asked::Health { .. }
        | Asked::Status { .. }
        | Asked::Topology
        | Asked::Metrics(_) => Right::Read,
    }
}

/// Actions on a value: all that there is to say of them stands in path and query.
fn takes_no_body(asked: &Asked) -> bool {
    matches!(
        asked,
        Asked::Take { .. } | Asked::Touch { .. } | Asked::Persist { .. } | Asked::Increment { .. }
    )
}

/// What somebody must have rights on.
enum About<'a> {
    /// This key of the namespace.
    Key(&'a Key),
    /// These.
    Keys(&'a [Bytes]),
    /// All keys of it that begin so.
    Prefix(&'a [u8]),
    /// A key that the body names: the register looks at it.
    SomeKey,
    /// None of its values.
    Node,
}

/// What is asked about. Every kind is named here, so that a new one is not open to everybody.
fn about(asked: &Asked) -> About<'_> {
    match asked {
        Asked::Get { key, .. }
        | Asked::Put { key, .. }
        | Asked::Take { key }
        | Asked::Touch { key, .. }
        | Asked::Persist { key }
        | Asked::Increment { key, .. }
        | Asked::Delete { key } => About::Key(key),
        Asked::Keys(page) => About::Prefix(&page.prefix),
        Asked::Watch(watch) if watch.keys.is_empty() => About::Prefix(&watch.prefix),
        Asked::Watch(watch) => About::Keys(&watch.keys),
        Asked::PutRaw => About::SomeKey,
        Asked::OpenApi
        | Asked::Problems(_)
        | Asked::Health { .. }
        | Asked::Status { .. }
        | Asked::Topology
        | Asked::Metrics(_) => About::Node,
    }
}

/// The requests of one connection.
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: Caller,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) watched: Arc<Watched>,
}

/// An answer on its way.
pub(super) enum Answering {
    /// Known already; taken when it is polled.
    Now(Option<Answer>),
    /// Waited for, then counted.
    Later {
        future: Later,
        shared: Arc<Shared>,
        watched: Arc<Watched>,
        operation: usize,
        began: Duration,
        is_head: bool,
    },
}

fn begin_answer(watched: &Watched, answer: &Answer, is_head: bool) {
    watched.begin_answer();
    if answer.body().is_stream() && !is_head {
        watched.begin_stream();
    }
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Answering::Now(answer) => match answer.take() {
                Some(answer) => Poll::Ready(Ok(answer)),
                // Not polled again after it was ready.
                None => Poll::Pending,
            },
            Answering::Later { future, shared, watched, operation, began, is_head } => {
                future.as_mut().poll(cx).map(|answer| {
                    shared.count(*operation, *began, &answer, *is_head);
                    begin_answer(watched, &answer, *is_head);
                    Ok(answer)
                })
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.watched.enter(Phase::Working);
        let shared = &self.shared;
        let began = shared.time.monotonic();
        let is_head = *request.method() == Method::HEAD;
        match shared.begin(self, request, self.watched.begin_request()) {
            (operation, Begun::Now(answer)) => {
                shared.count(operation, began, &answer, is_head);
                begin_answer(&self.watched, &answer, is_head);
                Answering::Now(Some(answer))
            }
            (operation, Begun::Later(future)) => {
                let (shared, watched) = (shared.clone(), self.watched.clone());
                Answering::Later { future, shared, watched, operation, began, is_head }
            }
        }
    }
}
