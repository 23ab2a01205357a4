//! Notifications about keys: `__keyspace@0__:KEY` says what happened, `__keyevent@0__:EVENT` to which key. There is
//! nothing to switch on: they are sent while somebody listens to a channel or pattern that they may go to, and cost one
//! look otherwise.
//!
//! Commands of this door tell what they did by name. That a value's time was up is told when it is freed (within about a
//! tenth of a second of its end), out of the table's feed, which is on while somebody listens.

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

/// What is sent about keys.
pub(crate) struct Notify {
    /// Subscriptions that notifications may go to.
    interested: AtomicUsize,
    listening: Mutex<HashMap<NamespaceId, Listening>>,
    topology: Arc<Topology>,
    feeds: Arc<Feeds>,
    runtime: Handle,
}

/// Who wants to hear of one namespace, and what follows its expiries.
struct Listening {
    subscriptions: usize,
    /// `None` where too many watch already.
    expiries: Option<AbortHandle>,
}

impl Notify {
    /// Nobody listens yet. Expiries are followed on the runtime that this is called on.
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
        if self.interested.load(Ordering::Relaxed) > 0 {
            tell(&self.topology, namespace, event, key);
        }
    }

    /// A subscription began.
    pub(super) fn began(&self, namespace: NamespaceId, name: &[u8], is_pattern: bool) {
        if !may_concern(name, is_pattern) {
            return;
        }
        let mut listening = self.listening.lock();
        let entry = listening.entry(namespace).or_insert_with(|| {
            // At once: what ends after the subscription was answered is told.
            let expiries = self.watch(namespace).map(|watching| {
                self.runtime.spawn(follow(self.topology.clone(), watching, namespace)).abort_handle()
            });
            Listening { subscriptions: 0, expiries }
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
        watching.inspect_err(|failure| tracing::warn!(%failure, "nobody is told which keys expire")).ok()
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
                entry.expiries.iter().for_each(AbortHandle::abort);
                listening.remove(&namespace);
            }
        }
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        for listening in self.listening.get_mut().values() {
            listening.expiries.iter().for_each(AbortHandle::abort);
        }
    }
}

fn tell(topology: &Topology, namespace: NamespaceId, event: &str, key: &[u8]) {
    let channel = [b"__keyspace@0__:", key].concat();
    topology.publish(namespace, &channel, event.as_bytes());
    let channel = [b"__keyevent@0__:", event.as_bytes()].concat();
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

/// Tells of values whose time was up, until it is aborted or the node stops.
async fn follow(topology: Arc<Topology>, mut watching: Watching, namespace: NamespaceId) {
    while let Some(page) = watching.page().await {
        for event in &page.events {
            if event.kind == EventKind::Expired {
                tell(&topology, namespace, "expired", &event.key);
            }
        }
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
