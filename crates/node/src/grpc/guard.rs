//! Stands before every call: whoever asks must be known, may not ask too much, and needs the least right that the call
//! needs. Handlers look closer where it depends on what is asked.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, Ready, ready};
use larder_door::{Caller, Refusal};
use larder_wire::retry;
use tonic::codegen::{Service, http};
use tonic::{Code, Request, Status};

use super::limits::{self, Limits};
use super::status;
use crate::identity::Identity;
use crate::listener::Peer;
use crate::rights;

/// When somebody comes back for whom there was no room: by then some who were there have gone.
const TURNED_AWAY_PAUSE: Duration = Duration::from_secs(1);

/// Who asks.
///
/// # Errors
/// If the connection has no identity, which none has that came in by the listener.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Arc<Identity>, Status> {
    request.extensions().get::<Peer>().map(|peer| peer.identity.clone()).ok_or_else(nobody)
}

/// What its requests are counted by.
///
/// # Errors
/// As [`caller`].
pub(super) fn counted_by<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Peer>().map(|peer| peer.caller.clone()).ok_or_else(nobody)
}

/// On which connection.
///
/// # Errors
/// As [`caller`].
pub(super) fn connection<T>(request: &Request<T>) -> Result<u64, Status> {
    request.extensions().get::<Peer>().map(|peer| peer.connection).ok_or_else(nobody)
}

fn nobody() -> Status {
    Status::unauthenticated("this connection has no identity")
}

/// The services behind it, guarded.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    services: S,
    limits: Arc<Limits>,
}

/// Puts the guard before services.
pub(crate) fn guard<S>(services: S, limits: Arc<Limits>) -> Guarded<S> {
    Guarded { services, limits }
}

/// Whether a call goes on.
fn check<B>(limits: &Limits, request: &http::Request<B>) -> Result<(), Status> {
    let peer = request.extensions().get::<Peer>().ok_or_else(nobody)?;
    if peer.turned_away {
        limits.refused(Refusal::Crowded);
        return Err(retry::later(
            Code::Unavailable,
            &crate::admission::too_many(peer.connections_max),
            TURNED_AWAY_PAUSE,
        ));
    }
    limits.take(&peer.caller).map_err(limits::status)?;
    peer.identity.check(rights::of_call(request.uri().path())).map_err(|failure| {
        tracing::info!(peer = %peer.caller.address, call = request.uri().path(), "denied: {failure}");
        status(failure)
    })
}

type Answer = http::Response<tonic::body::Body>;

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = Answer>,
{
    type Response = Answer;
    type Error = S::Error;
    type Future = Either<Ready<Result<Answer, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match check(&self.limits, &request) {
            Ok(()) => Either::Right(self.services.call(request)),
            Err(denied) => Either::Left(ready(Ok(denied.into_http()))),
        }
    }
}
