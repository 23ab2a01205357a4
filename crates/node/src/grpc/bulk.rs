//! Takes the bodies of streams with blobs, records and pages out of the hands of the general codec, which keeps the last message
//! of a stream in memory until the next one: a body with what is to be stored goes to its handler as it is, and a body with
//! what was asked for comes from its handler as it is. Bodies of single calls get room here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Body as _;
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use super::arriving::Arriving;
use super::giving::{Answers, HeldBody, Offered};
use crate::listener::Peer;
use crate::room::Rooms;

/// The calls whose requests come in long streams of blobs and records.
const TAKEN_APART: [&str; 2] = ["/larder.v1.Blobs/Put", "/larder.v1.Records/ApplyStream"];

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

/// The services behind it, with bodies taken apart.
#[derive(Clone)]
pub(crate) struct Bulk<S> {
    services: S,
    /// For messages of single calls that are arriving.
    room: Arc<Rooms>,
}

/// Puts it before services.
pub(crate) fn bulk<S>(services: S, room: Arc<Rooms>) -> Bulk<S> {
    Bulk { services, room }
}

type Answer = http::Response<Body>;

/// Gives an answer the body that its handler made, or the room that it has.
fn with_its_body(mut answer: Answer) -> Answer {
    let extensions = answer.extensions_mut();
    let own = extensions.remove::<Beside<Answers>>().and_then(|answers| answers.take());
    let held = extensions.remove::<Beside<Offered>>().and_then(|offered| offered.take());
    match (own, held) {
        // What the codec made holds no message; it says how the stream ended.
        (Some(answers), _) => answer.map(|end| Body::new(answers.ending_with(end))),
        (None, Some(offered)) => answer.map(|body| Body::new(HeldBody::new(body, offered))),
        (None, None) => answer,
    }
}

impl<S> Service<http::Request<Body>> for Bulk<S>
where
    S: Service<http::Request<Body>, Response = Answer>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let body = std::mem::replace(request.body_mut(), Body::empty());
        let held = if TAKEN_APART.contains(&request.uri().path()) {
            request.extensions_mut().insert(Beside::new(body));
            None
        } else if body.is_end_stream() {
            None
        } else {
            // The guard lets nobody by who has none.
            let name = request.extensions().get::<Peer>().map_or("", |peer| &peer.identity.name);
            let (arriving, held) = Arriving::new(body, self.room.of(name));
            *request.body_mut() = Body::new(arriving);
            Some(held)
        };
        let answer = self.services.call(request);
        Box::pin(async move {
            let answer = answer.await.map(with_its_body);
            // Until now the request is in memory.
            drop(held);
            answer
        })
    }
}
