//! What happens to values, sent as it happens (server-sent events).
//!
//! A stream holds one look at the changes at a time; what comes meanwhile waits in the feed's ring. A reader that is too
//! slow for that misses changes and is told so (`reset`), and one that takes nothing at all is cut off by the watch over
//! connections. Memory for streams is counted, and for each caller.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use larder_door::http::events::{self, Cursor};
use larder_door::http::limits::{WATCH_BYTES, WATCH_HEARTBEAT};
use larder_door::http::{Bad, target};
use larder_door::{Caller, Refusal};
use larder_format::limits::KEY_LEN_MAX;
use larder_store::feed::{EventKind, Position};
use larder_wire::answer::Failure;

use super::answer::{self, Answer};
use super::content::Content;
use super::memory::Share;
use super::service::Shared;
use crate::feeds::{self, Page, WatchAsk, Watching};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx not to gather what is sent.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Bytes of events that are sent at once.
const PART_LEN: usize = 16 * 1024;

/// What a stream waits for: the next page, or `None` when it has been silent for long; its watch comes back with it.
type Waiting = Pin<Box<dyn Future<Output = (Watching, Option<Option<Page>>)> + Send>>;

/// A stream of events.
pub(crate) struct Events {
    shared: Arc<Shared>,
    state: State,
    out: Vec<u8>,
    _share: Share,
}

enum State {
    Waiting(Waiting),
    Telling(Telling),
    /// The node stops.
    Ended,
}

/// A page that is being told.
struct Telling {
    watching: Watching,
    events: std::vec::IntoIter<feeds::Event>,
    at: Position,
    caught_up: bool,
}

fn wait(mut watching: Watching) -> State {
    State::Waiting(Box::pin(async move {
        let page = tokio::time::timeout(WATCH_HEARTBEAT, watching.page()).await.ok();
        (watching, page)
    }))
}

fn cursor(at: Position) -> Cursor {
    Cursor { life: at.life, sequence: at.sequence }
}

fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Created => "created",
        EventKind::Changed => "changed",
        EventKind::Deleted => "deleted",
        EventKind::Expired => "expired",
    }
}

impl Shared {
    /// Begins a stream of what happens.
    pub(super) async fn watch(
        self: Arc<Self>,
        caller: Caller,
        asked: target::Watch,
        headers: HeaderMap,
    ) -> Answer {
        let from = match last_event_id(&headers) {
            Ok(from) => from.or(asked.cursor),
            Err(bad) => return answer::bad(&bad.0),
        };
        let Ok(share) = self.watches.take(&caller, WATCH_BYTES, Duration::ZERO).await else {
            return self.refuse(Refusal::Busy);
        };
        let watching = match self.watching(asked, from) {
            Ok(watching) => watching,
            Err(failure) => return answer::failure(&failure),
        };
        let events =
            Events { shared: self, state: wait(watching), out: events::START.to_vec(), _share: share };
        let content = Content::Events(Box::new(events));
        let mut answer = answer::content(StatusCode::OK, events::CONTENT_TYPE, content);
        answer.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        answer
    }

    fn watching(&self, asked: target::Watch, from: Option<Cursor>) -> Result<Watching, Failure> {
        let space = self.space()?;
        let ask = WatchAsk {
            namespace: space.id,
            prefix: asked.prefix,
            keys: asked.keys,
            key_len_max: KEY_LEN_MAX,
            cursor: from.map(|at| Position { life: at.life, sequence: at.sequence }),
        };
        self.feeds.watch(space.settings.class, ask)
    }
}

/// Where a client that was cut off goes on. An empty one is none, as the standard has it.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Bad> {
    let value = headers.get(LAST_EVENT_ID).map(HeaderValue::as_bytes).filter(|value| !value.is_empty());
    value.map(Cursor::parse).transpose()
}

impl Events {
    /// The next part; empty at the end.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            if !self.out.is_empty() {
                let part = Bytes::from(std::mem::take(&mut self.out));
                self.shared.metrics.http.sent(part.len() as u64);
                return Poll::Ready(part);
            }
            self.state = match &mut self.state {
                State::Ended => return Poll::Ready(Bytes::new()),
                State::Waiting(waiting) => {
                    let (watching, page) = std::task::ready!(waiting.as_mut().poll(cx));
                    self.woken(watching, page)
                }
                State::Telling(telling) => {
                    if telling.tell(&mut self.out) {
                        continue;
                    }
                    match std::mem::replace(&mut self.state, State::Ended) {
                        State::Telling(told) => wait(told.watching),
                        other => other,
                    }
                }
            };
        }
    }

    fn woken(&mut self, watching: Watching, page: Option<Option<Page>>) -> State {
        match page {
            Some(Some(page)) => {
                if page.reset {
                    events::write_mark(&mut self.out, cursor(page.at), "reset");
                }
                let events = page.events.into_iter();
                State::Telling(Telling { watching, events, at: page.at, caught_up: page.caught_up })
            }
            Some(None) => State::Ended,
            None => {
                self.out.extend_from_slice(events::HEARTBEAT);
                // Others' changes went by: who comes back after them need not look at them again.
                events::write_place(&mut self.out, cursor(watching.at()));
                wait(watching)
            }
        }
    }
}

impl Telling {
    /// Tells a part of the page; `false` when all of it has been told.
    fn tell(&mut self, out: &mut Vec<u8>) -> bool {
        for event in self.events.by_ref() {
            let at = Cursor { life: self.at.life, sequence: event.sequence };
            events::write_change(out, at, name(event.kind), &event.key, event.version);
            if out.len() >= PART_LEN {
                return true;
            }
        }
        if std::mem::take(&mut self.caught_up) {
            events::write_mark(out, cursor(self.at), "ready");
        }
        !out.is_empty()
    }
}
