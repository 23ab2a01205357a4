//! Stands before every call: whoever asks must be known, and have the least right that the call needs. Handlers look
//! closer where it depends on what is asked.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use tonic::codegen::{Service, http};
use tonic::{Request, Status};

use super::status;
use crate::identity::Identity;
use crate::listener::Peer;
use crate::rights;

/// Who asks.
///
/// # Errors
/// If the connection has no identity, which none has that came in by the listener.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Arc<Identity>, Status> {
    request.extensions().get::<Peer>().map(|peer| peer.identity.clone()).ok_or_else(nobody)
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
#[derive(Debug, Clone)]
pub(crate) struct Guarded<S>(S);

/// Puts the guard before services.
pub(crate) fn guard<S>(services: S) -> Guarded<S> {
    Guarded(services)
}

/// Whether a call goes on.
fn check<B>(request: &http::Request<B>) -> Result<(), Status> {
    let peer = request.extensions().get::<Peer>().ok_or_else(nobody)?;
    if peer.turned_away {
        return Err(Status::unavailable(crate::admission::too_many(peer.connections_max)));
    }
    peer.identity.check(rights::of_call(request.uri().path())).map_err(|failure| {
        tracing::info!(peer = %peer.address, call = request.uri().path(), "denied: {failure}");
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
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match check(&request) {
            Ok(()) => Either::Right(self.0.call(request)),
            Err(denied) => Either::Left(ready(Ok(denied.into_http()))),
        }
    }
}
