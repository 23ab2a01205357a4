//! One connection, from its first byte to its last.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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
use super::short::{Left, Short};
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

type Connection<'a, T> = http1::Connection<TokioIo<&'a mut WatchedIo<T>>, Service>;

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
pub(super) async fn serve<T>(shared: Arc<Shared>, stream: T, guest: Guest, watched: Arc<Watched>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut io = WatchedIo::new(stream, watched.clone());
    let end = drive(&shared, &mut io, guest, &watched).await;
    match end {
        End::Done(result) => {
            let refusal = result.as_ref().err().and_then(|error| count(&shared, &watched, error));
            if let Some(refusal) = refusal.filter(|_| io.take_unsaid()) {
                // Phases are over: what is written now is sent.
                watched.begin_answer();
                let _ = tokio::time::timeout(LAST_WORDS_MAX, io.write_all(&answer::in_full(refusal))).await;
            }
            let _ = io.shutdown().await;
            linger(&mut io).await;
        }
        End::Over(Phase::Head) => {
            shared.metrics.http.refused(Refusal::TooSlow);
            let words = answer::in_full(Refusal::TooSlow);
            watched.begin_answer();
            let _ = tokio::time::timeout(LAST_WORDS_MAX, io.write_all(&words)).await;
            let _ = tokio::time::timeout(LAST_WORDS_MAX, io.shutdown()).await;
        }
        End::Over(Phase::Stalled | Phase::Answering) => shared.metrics.http.refused(Refusal::TooSlow),
        End::Revoked => {}
        End::Over(_) => {
            let _ = tokio::time::timeout(LAST_WORDS_MAX, io.shutdown()).await;
        }
    }
}

/// Answers requests, the short way first, until something ends it.
async fn drive<T>(shared: &Arc<Shared>, io: &mut WatchedIo<T>, guest: Guest, watched: &Arc<Watched>) -> End
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Guest { caller, identity, ended } = guest;
    let mut ends = Ends { watched, ended };
    let left = {
        let short = Short { shared, caller: &caller, identity: identity.as_ref(), watched, io: &mut *io };
        let mut running = std::pin::pin!(short.run());
        poll_fn(|cx| ends.poll_beside(cx, |cx| running.as_mut().poll(cx))).await
    };
    match left {
        Ok(Left::More) => {}
        Ok(Left::Closed) => return End::Done(Ok(())),
        Err(end) => return end,
    }
    io.begin_long_way();
    let service = Service { shared: shared.clone(), caller, identity, watched: watched.clone() };
    let mut connection: Connection<'_, T> = builder().serve_connection(TokioIo::new(io), service);
    let mut stopping = false;
    let result = poll_fn(|cx| {
        ends.poll_beside(cx, |cx| {
            let polled = connection.poll_without_shutdown(cx);
            if polled.is_pending() && watched.is_stopping() && !stopping {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
                return connection.poll_without_shutdown(cx);
            }
            polled
        })
    });
    match result.await {
        Ok(result) => End::Done(result),
        Err(end) => end,
    }
}

/// What ends a connection from outside.
struct Ends<'a> {
    watched: &'a Watched,
    ended: Option<oneshot::Receiver<()>>,
}

impl Ends<'_> {
    /// Goes on with a step, beside what may end it. Every request passes here several times: nothing in it takes a lock.
    fn poll_beside<R>(
        &mut self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<Result<R, End>> {
        self.watched.driven_by(cx.waker());
        // Whatever it is at: an answer under way would be one to somebody who may not have it.
        if let Some(ended) = &mut self.ended
            && Pin::new(ended).poll(cx).is_ready()
        {
            return Poll::Ready(Err(End::Revoked));
        }
        if self.watched.is_revoked() {
            return Poll::Ready(Err(End::Revoked));
        }
        match step(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending if self.watched.is_over() => Poll::Ready(Err(End::Over(self.watched.phase()))),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Counts what was no HTTP, and says what to answer to it.
fn count(shared: &Shared, watched: &Watched, error: &hyper::Error) -> Option<Refusal> {
    tracing::debug!(%error, "connection ended");
    let refusal = if error.is_parse_too_large() {
        Refusal::HeadTooLarge
    } else if error.is_parse() {
        if let Some(suspicion) = suspicion::look_at_bytes(&watched.start()) {
            shared.metrics.http.suspicious(suspicion);
        }
        Refusal::Malformed
    } else {
        return None;
    };
    shared.metrics.http.refused(refusal);
    Some(refusal)
}

/// Ends a connection on which nothing was served yet, and says why.
pub(super) async fn turn_away<T: AsyncRead + AsyncWrite + Unpin>(mut io: T, refusal: Refusal) {
    let words = answer::in_full(refusal);
    let _ = tokio::time::timeout(LAST_WORDS_MAX, io.write_all(&words)).await;
    let _ = tokio::time::timeout(LAST_WORDS_MAX, io.shutdown()).await;
    linger(&mut io).await;
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
