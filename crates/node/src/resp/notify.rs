//! Notifications about keys: `__keyspace@0__:KEY` says what happened, `__keyevent@0__:EVENT` to which key. There is
//! nothing to switch on: they are sent while somebody listens to a channel or pattern that they may go to, and cost one
//! look otherwise.
//!
//! Commands of this door tell what they did by name. What others did is told out of the table's feed, which is on while
//! somebody listens: that there is a value or another one (`set`), or none any more (`del`), where another door changed it, a
//! millisecond later; and that a value's time was up (`expired`), when it is freed, within about a tenth of a second of its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use larder_format::ids::NamespaceId;
use larder_format::limits::KEY_LEN_MAX;
use larder_format::namespace::Class;
use larder_store::feed::EventKind;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::pubsub::Topology;
use crate::feeds::{Feeds, WatchAsk, Watching};

/// What the channels of all notifications begin with.
const BEGINNING: &[u8] = b"__key";

/// What those about one key begin with, and those about one kind of event.
const KEYSPACE: &[u8] = b"__keyspace@0__:";
const KEYEVENT: &[u8] = b"__keyevent@0__:";

/// The kinds that commands which change values tell of.
const EVENTS: [&str; 11] = [
    "set",
    "del",
    "expire",
    "persist",
    "append",
    "setrange",
    "incrby",
    "incrbyfloat",
    "rename_from",
    "rename_to",
    "copy_to",
];

/// What is sent about keys.
pub(crate) struct Notify {
    /// Subscriptions that notifications may go to.
    interested: AtomicUsize,
    listening: Mutex<HashMap<NamespaceId, Listening>>,
    topology: Arc<Topology>,
    feeds: Arc<Feeds>,
    runtime: Handle,
}

/// Who wants to hear of one namespace, and what follows what others than this door do to it.
struct Listening {
    subscriptions: usize,
    /// `None` where too many watch already.
    others: Option<AbortHandle>,
}

impl Notify {
    /// Nobody listens yet. The feed is followed on the runtime that this is called on.
    pub(super) fn new(topology: Arc<Topology>, feeds: Arc<Feeds>) -> Self {
        Self {
            interested: AtomicUsize::new(0),
            listening: Mutex::default(),
            topology,
            feeds,
            runtime: Handle::current(),
        }
    }

    /// Something happened to a key.
    pub(super) fn tell(&self, namespace: NamespaceId, event: &str, key: &[u8]) {
        debug_assert!(EVENTS.contains(&event), "{event} is not reckoned with");
        if self.interested.load(Ordering::Relaxed) > 0 {
            tell(&self.topology, namespace, event, key);
        }
    }

    /// About what it takes to tell what happens to a key, in bytes that are copied or looked through; `events` is what
    /// [`Notify::events_effort`] says.
    pub(super) fn effort(&self, namespace: NamespaceId, key: &[u8], events: usize) -> usize {
        if self.interested.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        events + self.topology.effort(namespace, &[KEYSPACE, key].concat(), 0)
    }

    /// About what it takes to tell which key something happened to, whatever it is.
    pub(super) fn events_effort(&self, namespace: NamespaceId) -> usize {
        if self.interested.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let of = |event: &&str| self.topology.effort(namespace, &[KEYEVENT, event.as_bytes()].concat(), 0);
        EVENTS.iter().map(of).max().unwrap_or(0)
    }

    /// A subscription began.
    pub(super) fn began(&self, namespace: NamespaceId, name: &[u8], is_pattern: bool) {
        if !may_concern(name, is_pattern) {
            return;
        }
        let mut listening = self.listening.lock();
        let entry = listening.entry(namespace).or_insert_with(|| {
            // At once: what happens after the subscription was answered is told.
            let others = self.watch(namespace).map(|watching| {
                self.runtime.spawn(follow(self.topology.clone(), watching, namespace)).abort_handle()
            });
            Listening { subscriptions: 0, others }
        });
        entry.subscriptions += 1;
        self.interested.fetch_add(1, Ordering::Relaxed);
    }

    fn watch(&self, namespace: NamespaceId) -> Option<Watching> {
        let ask = WatchAsk {
            namespace,
            prefix: Bytes::new(),
            keys: Vec::new(),
            key_len_max: KEY_LEN_MAX,
            cursor: None,
        };
        let watching = self.feeds.watch(Class::Memory, ask);
        watching.inspect_err(|failure| tracing::warn!(%failure, "nobody is told which keys expire, or are changed by other doors")).ok()
    }

    /// A subscription ended.
    pub(super) fn ended(&self, namespace: NamespaceId, name: &[u8], is_pattern: bool) {
        if !may_concern(name, is_pattern) {
            return;
        }
        let mut listening = self.listening.lock();
        if let Some(entry) = listening.get_mut(&namespace) {
            entry.subscriptions -= 1;
            self.interested.fetch_sub(1, Ordering::Relaxed);
            if entry.subscriptions == 0 {
                entry.others.iter().for_each(AbortHandle::abort);
                listening.remove(&namespace);
            }
        }
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        for listening in self.listening.get_mut().values() {
            listening.others.iter().for_each(AbortHandle::abort);
        }
    }
}

fn tell(topology: &Topology, namespace: NamespaceId, event: &str, key: &[u8]) {
    let channel = [KEYSPACE, key].concat();
    topology.publish(namespace, &channel, event.as_bytes());
    let channel = [KEYEVENT, event.as_bytes()].concat();
    topology.publish(namespace, &channel, key);
}

/// Whether notifications may go to a subscription: to a channel that begins as theirs do, or a pattern whose beginning
/// without special characters does as far as it goes.
fn may_concern(name: &[u8], is_pattern: bool) -> bool {
    let literal = match is_pattern {
        false => name.len(),
        true => name.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(name.len()),
    };
    let len = literal.min(BEGINNING.len());
    name[..len] == BEGINNING[..len] && (is_pattern || len == BEGINNING.len())
}

/// Tells of values whose time was up, and of what other doors changed, until it is aborted or the node stops.
async fn follow(topology: Arc<Topology>, mut watching: Watching, namespace: NamespaceId) {
    while let Some(page) = watching.page().await {
        for event in &page.events {
            if let Some(name) = name(event.kind, event.is_told) {
                tell(&topology, namespace, name, &event.key);
            }
        }
    }
}

/// What is told of a change out of the feed; `None`: the command that made it has told already.
fn name(kind: EventKind, is_told: bool) -> Option<&'static str> {
    match kind {
        EventKind::Expired => Some("expired"),
        _ if is_told => None,
        EventKind::Created | EventKind::Changed => Some("set"),
        EventKind::Deleted => Some("del"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_subscriptions_that_may_hear_of_keys_cost_anything() {
        for (name, is_pattern) in [
            ("__keyevent@0__:del", false),
            ("__key*", true),
            ("*", true),
            ("__keyspace@0__:a*", true),
            ("_?", true),
        ] {
            assert!(may_concern(name.as_bytes(), is_pattern), "{name}");
        }
        for (name, is_pattern) in
            [("news", false), ("__ke", false), ("news.*", true), ("*", false), ("__x*", true)]
        {
            assert!(!may_concern(name.as_bytes(), is_pattern), "{name}");
        }
    }
}
