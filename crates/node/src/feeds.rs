//! The changes of both tables, pushed to whoever watches.
//!
//! One task per table waits for events and for their durability and then wakes all watchers at once; each watcher
//! looks at the ring for itself, at its own speed. A slow watcher holds up nobody: when the ring has moved on without
//! it, it is told to look at everything anew. The memory table's feed is on only while somebody watches, and a
//! little longer, so that who comes back soon goes on where it was.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::namespace::Class;
use larder_format::record::Version;
use larder_store::api::{Durability, StoreError};
use larder_store::feed::{EventKind, Feed, Lost, Position};
use larder_store::log::LogStore;
use larder_wire::answer::Failure;
use larder_wire::v1;
use tokio::sync::watch;

/// Most watchers at a time: each is a stream of some kilobytes, and looks at every event.
pub const WATCHERS_MAX: usize = 10_000;

/// How long the memory table's feed stays on without watchers. It is looked at this often too, so it may be twice
/// as long.
const LINGER: Duration = Duration::from_secs(60);

/// How long events of the memory table are gathered before watchers are woken: they come by the million.
const GATHER: Duration = Duration::from_millis(1);

/// How long to wait while the disk has no room.
const STALL_PAUSE: Duration = Duration::from_millis(200);

/// Bytes of events in one page, as they are held; one look at the ring more than that at most.
const PAGE_EVENT_BYTES_MAX: usize = 256 << 10;

/// Bytes an event takes beside its key while it is held.
const EVENT_BYTES: usize = 96;

/// No page is longer, in bytes, as it is held or as it goes over the wire.
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 20;

/// Both feeds and who watches them.
pub struct Feeds {
    disk: One,
    memory: One,
    watchers: AtomicUsize,
}

/// One table's feed.
struct One {
    feed: Arc<Feed>,
    /// Up to where events may be told; closed when the node stops.
    told: watch::Sender<Told>,
    watchers: AtomicUsize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    through: u64,
    closing: bool,
}

/// What somebody watches.
#[derive(Debug, Clone)]
pub(crate) struct WatchAsk {
    pub(crate) namespace: NamespaceId,
    pub(crate) prefix: bytes::Bytes,
    /// Only these keys, if there are any.
    pub(crate) keys: Vec<bytes::Bytes>,
    pub(crate) key_len_max: usize,
    pub(crate) cursor: Option<Position>,
}

impl WatchAsk {
    fn wants(&self, event: &larder_store::feed::Event<'_>) -> bool {
        event.namespace == self.namespace
            && event.key.starts_with(&self.prefix)
            && event.key.len() <= self.key_len_max
            && (self.keys.is_empty() || self.keys.iter().any(|key| key == event.key))
    }
}

/// What happened to a record that somebody watches.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    pub(crate) key: bytes::Bytes,
    pub(crate) version: Version,
    pub(crate) sequence: u64,
    /// Whoever made the change tells of it in words of its own, too.
    pub(crate) is_told: bool,
}

/// What there is to tell at a time.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) events: Vec<Event>,
    /// Everything up to here has been told.
    pub(crate) at: Position,
    /// Changes before this page were lost: look at everything anew.
    pub(crate) reset: bool,
    /// All that had happened when the watch began (or began anew) has been told.
    pub(crate) caught_up: bool,
}

/// A watcher's place.
pub(crate) struct Watching {
    feeds: Arc<Feeds>,
    class: Class,
    ask: WatchAsk,
    at: Position,
    told: watch::Receiver<Told>,
    /// The next page says so.
    reset: bool,
    caught_up: bool,
}

impl Feeds {
    /// Starts to tell of the changes of both tables. The tasks end with [`Feeds::close`].
    #[must_use]
    pub(crate) fn start(log: &LogStore, memory: Arc<Feed>) -> Arc<Self> {
        let one = |feed: Arc<Feed>| {
            let at = feed.position();
            let told = Told { through: at.sequence, closing: false };
            One { feed, told: watch::Sender::new(told), watchers: AtomicUsize::new(0) }
        };
        let feeds =
            Arc::new(Self { disk: one(log.feed()), memory: one(memory), watchers: AtomicUsize::new(0) });
        let (durability, disk) = (log.durability(), feeds.clone());
        tokio::spawn(async move { disk.disk.tell(Some(durability)).await });
        let memory = feeds.clone();
        tokio::spawn(async move { memory.memory.tell(None).await });
        let linger = feeds.clone();
        tokio::spawn(async move { linger.turn_off_when_unwatched().await });
        feeds
    }

    /// Ends all watching: the node stops.
    pub fn close(&self) {
        for one in [&self.disk, &self.memory] {
            one.told.send_modify(|told| told.closing = true);
        }
    }

    fn of(&self, class: Class) -> &One {
        match class {
            Class::Disk => &self.disk,
            Class::Memory => &self.memory,
        }
    }

    /// Where the changes of a namespace stand.
    pub(crate) fn newest(&self, class: Class, namespace: NamespaceId) -> Position {
        self.of(class).feed.newest_of(namespace)
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// [`Kind::Full`] if too many do already.
    pub(crate) fn watch(self: &Arc<Self>, class: Class, ask: WatchAsk) -> Result<Watching, Failure> {
        if self.watchers.fetch_add(1, Ordering::AcqRel) >= WATCHERS_MAX {
            self.watchers.fetch_sub(1, Ordering::AcqRel);
            return Err(Failure::new(Kind::Full, format!("too many watchers max={WATCHERS_MAX}")));
        }
        let one = self.of(class);
        one.watchers.fetch_add(1, Ordering::AcqRel);
        one.feed.turn_on();
        let told = one.told.subscribe();
        // From now on means from the newest event, durable or not: what is not yet was not answered yet either.
        let now = one.feed.position();
        let asked = ask.cursor;
        let known = asked.is_none_or(|at| one.feed.look(at, 0, |_| ()).is_ok());
        let at = if known { asked.unwrap_or(now) } else { now };
        let feeds = self.clone();
        Ok(Watching { feeds, class, ask, at, told, reset: !known, caught_up: false })
    }

    async fn turn_off_when_unwatched(&self) {
        let mut told = self.memory.told.subscribe();
        let mut idle = false;
        loop {
            tokio::select! {
                _ = told.wait_for(|told| told.closing) => return,
                () = tokio::time::sleep(LINGER) => {}
            }
            let unwatched = self.memory.watchers.load(Ordering::Acquire) == 0;
            if unwatched && idle && self.memory.feed.is_on() {
                self.memory.feed.turn_off();
                if self.memory.watchers.load(Ordering::Acquire) > 0 {
                    // Somebody came between the look and the deed; it is told that changes were lost.
                    self.memory.feed.turn_on();
                }
            }
            idle = unwatched;
        }
    }
}

impl One {
    /// Wakes the watchers for each event once it is durable, if there is such a thing here.
    async fn tell(&self, durability: Option<Durability>) {
        let mut closing = self.told.subscribe();
        let work = async {
            let mut at = self.feed.position();
            at.sequence = self.told.borrow().through;
            loop {
                poll_fn(|cx| self.feed.poll_past(at, cx)).await;
                at = self.feed.position();
                match &durability {
                    Some(durability) if !is_durable(durability, at.sequence).await => return,
                    Some(_) => {}
                    None => tokio::time::sleep(GATHER).await,
                }
                self.told.send_modify(|told| told.through = at.sequence);
            }
        };
        tokio::select! {
            () = work => {}
            _ = closing.wait_for(|told| told.closing) => {}
        }
    }
}

/// Waits until a frame is durable; `false` if the store stopped first.
async fn is_durable(durability: &Durability, sequence: u64) -> bool {
    loop {
        match durability.reaches(sequence).await {
            Ok(()) => return true,
            Err(StoreError::Stalled) => tokio::time::sleep(STALL_PAUSE).await,
            Err(_) => return false,
        }
    }
}

impl Watching {
    /// The next page as gRPC tells it.
    #[cfg(test)]
    async fn next(&mut self) -> Option<v1::WatchPage> {
        self.page().await.map(watch_message)
    }

    /// The next page; waits until there is something to say. `None` when the node stops.
    pub(crate) async fn page(&mut self) -> Option<Page> {
        loop {
            if !self.stirred().await {
                return None;
            }
            if let Some(page) = self.look_now() {
                return Some(page);
            }
        }
    }

    /// Waits until there may be something to say. `false` when the node stops.
    pub(crate) async fn stirred(&mut self) -> bool {
        let told = *self.told.borrow_and_update();
        if told.closing {
            return false;
        }
        let has_begun_anew = self.feeds.of(self.class).feed.position().life != self.at.life;
        let is_more = self.reset || !self.caught_up || self.at.sequence < told.through || has_begun_anew;
        // Whatever is told then may concern this one.
        (is_more || self.told.changed().await.is_ok()) && !self.told.borrow().closing
    }

    /// The next page, if there is something to say now.
    pub(crate) fn look_now(&mut self) -> Option<Page> {
        let told = *self.told.borrow();
        let mut page = self.look(told.through);
        if !self.caught_up && self.at.sequence >= told.through {
            (page.caught_up, self.caught_up) = (true, true);
        }
        (page.reset || page.caught_up || !page.events.is_empty()).then_some(page)
    }

    /// Where the watch is: all that was wanted up to here has been told.
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// What the ring has for this watcher, up to a number.
    fn look(&mut self, through: u64) -> Page {
        let feeds = self.feeds.clone();
        let feed = &feeds.of(self.class).feed;
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut reset = std::mem::take(&mut self.reset);
        loop {
            let looked = feed.look(self.at, through, |event| {
                if self.ask.wants(&event) {
                    bytes += EVENT_BYTES + event.key.len();
                    events.push(Event {
                        kind: event.change.kind,
                        key: bytes::Bytes::copy_from_slice(event.key),
                        version: event.change.version,
                        sequence: event.sequence,
                        is_told: event.is_told,
                    });
                }
            });
            match looked {
                Ok(looked) => {
                    self.at.sequence = looked.through;
                    if looked.more && bytes < PAGE_EVENT_BYTES_MAX {
                        continue;
                    }
                }
                Err(Lost) => {
                    self.at = feed.position();
                    events.clear();
                    reset = true;
                }
            }
            self.caught_up &= !reset;
            return Page { events, at: self.at, reset, caught_up: false };
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.feeds.of(self.class).watchers.fetch_sub(1, Ordering::AcqRel);
        self.feeds.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A page as gRPC tells it.
pub(crate) fn watch_message(page: Page) -> v1::WatchPage {
    let event = |event: Event| {
        let kind = match event.kind {
            // gRPC tells both by one name.
            EventKind::Created | EventKind::Changed => v1::ChangeKind::Changed,
            EventKind::Deleted => v1::ChangeKind::Deleted,
            EventKind::Expired => v1::ChangeKind::Expired,
        };
        v1::WatchEvent {
            kind: kind.into(),
            key: event.key,
            version: event.version.to_u64(),
            sequence: event.sequence,
        }
    };
    v1::WatchPage {
        events: page.events.into_iter().map(event).collect(),
        cursor: Some(v1::WatchCursor { life: page.at.life, sequence: page.at.sequence }),
        reset: page.reset,
        caught_up: page.caught_up,
    }
}

#[cfg(test)]
#[path = "feeds_tests.rs"]
mod tests;
