//! Takes the bodies of the calls that move blobs out of the hands of the general codec, which keeps the last message of
//! a stream in memory until the next one: a body with blobs to store goes to its handler as it is, and a body with
//! blobs that were asked for comes from its handler as it is.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use super::giving::Answers;

/// The call whose requests carry blobs.
const PUT: &str = "/larder.v1.Blobs/Put";

/// Something for one taker, beside a request or an answer.
pub(super) struct Beside<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Beside<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Beside<T> {
    pub(super) fn new(thing: T) -> Self {
        Self(Arc::new(Mutex::new(Some(thing))))
    }

    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().take()
    }
}

/// The services behind it, with bodies of blobs taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Bulk<S>(S);

/// Puts it before services.
pub(crate) fn bulk<S>(services: S) -> Bulk<S> {
    Bulk(services)
}

type Answer = http::Response<Body>;

/// Gives an answer the body that its handler made.
fn with_its_body(mut answer: Answer) -> Answer {
    match answer.extensions_mut().remove::<Beside<Answers>>().and_then(|answers| answers.take()) {
        // What the codec made holds no message; it says how the stream ended.
        Some(answers) => answer.map(|end| Body::new(answers.ending_with(end))),
        None => answer,
    }
}

impl<S> Service<http::Request<Body>> for Bulk<S>
where
    S: Service<http::Request<Body>, Response = Answer>,
{
    type Response = Answer;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Answer) -> Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if request.uri().path() == PUT {
            let body = std::mem::replace(request.body_mut(), Body::empty());
            request.extensions_mut().insert(Beside::new(body));
        }
        self.0.call(request).map_ok(with_its_body)
    }
}
