//! One connection, from its first byte to its last.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use larder_door::http::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use larder_door::http::suspicion;
use larder_door::{Caller, Refusal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

use super::answer;
use super::service::{Service, Shared};
use super::watch::{Phase, Watched, WatchedIo};
use crate::identity::Identity;

/// Most bytes buffered of what a client sends. Bodies are read in parts of at most this.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// How long a client may take to notice that its connection has ended, before what it still sends makes the system
/// throw away what it has not read yet.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// Most bytes thrown away meanwhile: a value that is somewhat too long arrives whole, so that its sender reads why not.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long the last words to a slow client may take.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

type Connection<T> = http1::Connection<TokioIo<WatchedIo<T>>, Service>;

enum End {
    Done(Result<(), hyper::Error>),
    Over(Phase),
    Revoked,
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // A client may say that it has sent all and still wait for the answer.
        .half_close(true)
        // Time is watched over all phases, not only this one.
        .header_read_timeout(None);
    builder
}

/// Who is on a connection, and until when.
pub(super) struct Guest {
    pub(super) caller: Caller,
    /// What the certificate says, where one is needed.
    pub(super) identity: Option<Arc<Identity>>,
    /// Resolves when the certificate is not good any more.
    pub(super) ended: Option<oneshot::Receiver<()>>,
}

/// Serves a connection until it ends, its time is up, its certificate is not good any more, or the node stops and it
/// has answered what it was at.
pub(super) async fn serve<T>(
    shared: Arc<Shared>,
    stream: T,
    guest: Guest,
    watched: Arc<Watched>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Guest { caller, identity, ended } = guest;
    let service = Service { shared: shared.clone(), caller, identity, watched: watched.clone() };
    let io = TokioIo::new(WatchedIo::new(stream, watched.clone()));
    let mut connection: Connection<T> = builder().serve_connection(io, service);
    let mut driven = Driven { connection: &mut connection, watched: &watched, ended, driver: None, stopping: false };
    let end = poll_fn(|cx| driven.poll(cx)).await;
    let mut io = connection.into_parts().io.into_inner();
    match end {
        End::Done(result) => {
            if let Err(error) = &result {
                count(&shared, &watched, error);
            }
            let _ = io.shutdown().await;
            linger(&mut io).await;
        }
        End::Over(Phase::Head) => {
            shared.metrics.http.refused(Refusal::TooSlow);
            let words = answer::in_full(Refusal::TooSlow);
            let _ = tokio::time::timeout(LAST_WORDS_MAX, io.write_all(&words)).await;
            let _ = tokio::time::timeout(LAST_WORDS_MAX, io.shutdown()).await;
        }
        End::Over(Phase::Stalled) => shared.metrics.http.refused(Refusal::TooSlow),
        End::Revoked => {}
        End::Over(_) => {
            let _ = tokio::time::timeout(LAST_WORDS_MAX, io.shutdown()).await;
        }
    }
}

/// A connection with all that may end it.
struct Driven<'a, T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    connection: &'a mut Connection<T>,
    watched: &'a Watched,
    ended: Option<oneshot::Receiver<()>>,
    /// Whom the watch wakes, while it is known to.
    driver: Option<Waker>,
    /// Told to take no further request.
    stopping: bool,
}

impl<T> Driven<'_, T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Goes on as far as it can. Every request passes here several times: nothing in it takes a lock.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if !self.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            self.watched.driven_by(cx.waker());
            self.driver = Some(cx.waker().clone());
        }
        // Whatever it is at: an answer under way would be one to somebody who may not have it.
        if let Some(ended) = &mut self.ended
            && Pin::new(ended).poll(cx).is_ready()
        {
            return Poll::Ready(End::Revoked);
        }
        if let Poll::Ready(result) = self.connection.poll_without_shutdown(cx) {
            return Poll::Ready(End::Done(result));
        }
        if self.watched.is_over() {
            return Poll::Ready(End::Over(self.watched.phase()));
        }
        if self.watched.is_stopping() && !self.stopping {
            self.stopping = true;
            Pin::new(&mut *self.connection).graceful_shutdown();
            // It was woken for this, and has to be woken again for the next.
            self.driver = None;
            return self.poll(cx);
        }
        Poll::Pending
    }
}

/// Counts what was no HTTP. `hyper` has answered it already, as far as it could.
fn count(shared: &Shared, watched: &Watched, error: &hyper::Error) {
    if error.is_parse_too_large() {
        shared.metrics.http.refused(Refusal::HeadTooLarge);
    } else if error.is_parse() {
        shared.metrics.http.refused(Refusal::Malformed);
        if let Some(suspicion) = suspicion::look_at_bytes(&watched.start()) {
            shared.metrics.http.suspicious(suspicion);
        }
    }
    tracing::debug!(%error, "connection ended");
}

/// Reads what a client still sends, for a moment, so that it gets to read its answer.
async fn linger<T: AsyncRead + Unpin>(io: &mut T) {
    let draining = async {
        let mut buffer = [0; 4096];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match io.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(len) => left = left.saturating_sub(len),
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_MAX, draining).await;
}
