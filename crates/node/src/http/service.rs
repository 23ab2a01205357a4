//! One request: checked, decoded, carried out, counted.
//!
//! A read of a value in memory is answered without a future of its own; everything that may wait is boxed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

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
use larder_wire::answer::Failure;

use super::answer::{self, Answer};
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
    /// The namespace; looked up by name once, since a namespace never goes and never changes what it is.
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

    /// What a request's head alone decides.
    fn admit(&self, caller: &Caller, request: &Request<Incoming>) -> Result<(), Refusal> {
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        self.hosts.check(request.method(), request.version(), authority, request.headers())?;
        self.within_rate(caller)
    }

    /// Takes a request out of what the caller may ask.
    pub(super) fn within_rate(&self, caller: &Caller) -> Result<(), Refusal> {
        self.limiter.take(caller, self.time.monotonic())
    }

    /// Begins a request; answers which operation it is, too.
    fn begin(
        self: &Arc<Self>,
        caller: &Caller,
        identity: Option<&Identity>,
        request: Request<Incoming>,
        has_fragment: bool,
    ) -> (usize, Begun) {
        if has_fragment {
            let detail = "the path has a # in it, which never belongs to a request: write # in a key as %23";
            let mut answer = answer::bad(detail);
            answer::close(&mut answer);
            return (operation::NONE, Begun::Now(answer));
        }
        let told = self.proxies.of_request(caller, request.headers());
        let caller = told.as_ref().unwrap_or(caller);
        if let Err(refusal) = self.admit(caller, &request) {
            return (operation::NONE, Begun::Now(self.refuse(refusal)));
        }
        let uri = request.uri();
        match target::decode(request.method(), uri.path(), uri.query()) {
            Ok(asked) => match self.permit(identity, &asked) {
                Ok(()) => (operation::at(&asked), self.carry_out(caller, asked, request)),
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

    /// What the certificate lets its holder do.
    pub(super) fn permit(&self, identity: Option<&Identity>, asked: &Asked) -> Result<(), Failure> {
        let Some(identity) = identity else { return Ok(()) };
        if is_about_values(asked) {
            identity.check_named(needed(asked), &self.config.namespace)
        } else {
            identity.check(needed(asked))
        }
    }

    fn carry_out(self: &Arc<Self>, caller: &Caller, asked: Asked, request: Request<Incoming>) -> Begun {
        let (shared, caller) = (self.clone(), caller.clone());
        if takes_no_body(&asked) && has_body(request.method(), request.headers(), request.body()) {
            let mut answer = answer::bad("this takes no body; what it needs to know stands in the query");
            answer::close(&mut answer);
            return Begun::Now(answer);
        }
        match asked {
            Asked::Get { key, as_json } => match Reading::of(request.method(), request.headers(), as_json) {
                Ok(reading) => self.get(key, reading),
                Err(bad) => Begun::Now(answer::bad(&bad.0)),
            },
            Asked::Put { key, ttl_ms, may_be_json, reads } => {
                let is_json = may_be_json && is_json(request.headers());
                let head = PutHead { key: Some(key), ttl_ms, is_json, reads };
                Begun::Later(Box::pin(shared.put_or_refuse(caller, head, request)))
            }
            Asked::PutRaw => {
                let head = PutHead { key: None, ttl_ms: None, is_json: true, reads: None };
                Begun::Later(Box::pin(shared.put_or_refuse(caller, head, request)))
            }
            Asked::Keys(page) => Begun::Later(Box::pin(shared.keys(caller, page))),
            Asked::Health { v1 } => Begun::Now(self.health(v1)),
            Asked::Status { v1 } => Begun::Now(self.status(v1)),
            Asked::Topology => Begun::Now(self.topology()),
            Asked::Metrics(form) => Begun::Later(Box::pin(shared.metrics(caller, form))),
            Asked::OpenApi => {
                Begun::Now(answer::bytes(StatusCode::OK, "application/json", openapi::DOCUMENT))
            }
            Asked::Problems(which) => Begun::Now(answer::problems(which)),
            asked => Begun::Later(shared.carry_out_later(caller, asked, request.into_parts().0.headers)),
        }
    }

    /// What waits for something and has no body.
    fn carry_out_later(self: Arc<Self>, caller: Caller, asked: Asked, headers: HeaderMap) -> Later {
        match asked {
            Asked::Delete { key } => Box::pin(self.delete(key, headers)),
            Asked::Take { key } => Box::pin(self.take(key, headers)),
            Asked::Touch { key, ttl_ms } => Box::pin(self.touch(key, NewLifetime::Ttl(ttl_ms), headers)),
            Asked::Persist { key } => Box::pin(self.touch(key, NewLifetime::Never, headers)),
            Asked::Increment { key, by, ttl_ms } => Box::pin(self.increment(key, by, ttl_ms, headers)),
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

/// The least right that an operation needs of somebody with a certificate. Writing over a value takes the one before
/// away, so that adding is not enough for it.
fn needed(asked: &Asked) -> Right {
    match asked {
        Asked::Put { .. }
        | Asked::PutRaw
        | Asked::Delete { .. }
        | Asked::Take { .. }
        | Asked::Touch { .. }
        | Asked::Persist { .. }
        | Asked::Increment { .. } => Right::Write,
        _ => Right::Read,
    }
}

/// Whether what is asked is about the namespace's values, and not about the node.
fn is_about_values(asked: &Asked) -> bool {
    asked.key().is_some() || matches!(asked, Asked::PutRaw | Asked::Keys(_) | Asked::Watch(_))
}

/// Actions on a value: all that there is to say of them stands in path and query.
fn takes_no_body(asked: &Asked) -> bool {
    matches!(
        asked,
        Asked::Take { .. } | Asked::Touch { .. } | Asked::Persist { .. } | Asked::Increment { .. }
    )
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
        match shared.begin(&self.caller, self.identity.as_deref(), request, self.watched.take_fragment()) {
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
