//! Messages: who listens to which channels and patterns, and getting a message to them. Each namespace has channels of its
//! own: whoever may not use a namespace hears nothing of it.
//!
//! A message is written once for each protocol and copied into the listeners' mail; nobody waits for a listener. All that
//! grows is bounded: subscriptions of one client and of all, bytes of names, and mail ([`super::clients`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder_door::resp::glob::{Pattern, TooMuch};
use larder_door::resp::limits::{
    CHANNEL_BYTES_MAX, PATTERN_TABLES_MAX, PATTERNS_MAX, SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX,
    SUBSCRIPTIONS_PER_CLIENT_MAX,
};
use larder_door::resp::{Out, Protocol};
use larder_format::ids::NamespaceId;
use parking_lot::RwLock;

use super::call::Call;
use super::clients::Client;
use super::rights;
use super::session::{Replies, Session, Space};
use super::shared::Shared;
use crate::identity::Identity;

/// Subscriptions ended under one lock, when a client goes that has many.
const ENDED_AT_ONCE: usize = 1024;

/// What it takes to hand a message to one listener, and to compare its channel with one pattern, in bytes that are copied meanwhile.
const LISTENER_EFFORT: usize = 128;
const PATTERN_EFFORT: usize = 64;

type Listeners = HashMap<Arc<[u8]>, Heard>;

/// Who listens to a channel or pattern.
struct Heard {
    clients: Vec<Arc<Client>>,
    /// What channels are compared with; of a channel nothing.
    pattern: Option<Box<Pattern>>,
}

/// What one client listens to.
pub(crate) struct Subscriptions {
    namespace: NamespaceId,
    channels: HashSet<Arc<[u8]>>,
    patterns: HashSet<Arc<[u8]>>,
}

impl Subscriptions {
    fn new(namespace: NamespaceId) -> Self {
        Self { namespace, channels: HashSet::new(), patterns: HashSet::new() }
    }

    /// How many channels and patterns.
    pub(super) fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Whether somebody else, who works in this namespace, may go on to listen to them.
    pub(super) fn may_go_on(&self, who: &Identity, space: &Space) -> bool {
        let channels = self.channels.iter().map(|name| (&**name, false));
        let patterns = self.patterns.iter().map(|name| (&**name, true));
        self.count() == 0
            || self.namespace == space.id && rights::may_go_on(who, space, channels.chain(patterns))
    }

    fn of(&mut self, is_pattern: bool) -> &mut HashSet<Arc<[u8]>> {
        if is_pattern { &mut self.patterns } else { &mut self.channels }
    }
}

/// Who listens, in one namespace.
#[derive(Default)]
struct Topics {
    channels: Listeners,
    patterns: Listeners,
    /// Tables of all subscriptions to patterns.
    tables: usize,
}

impl Topics {
    fn of(&mut self, is_pattern: bool) -> &mut Listeners {
        if is_pattern { &mut self.patterns } else { &mut self.channels }
    }
}

/// Who listens to what.
#[derive(Default)]
pub(crate) struct Topology {
    topics: RwLock<HashMap<NamespaceId, Topics>>,
    count: AtomicUsize,
    patterns: AtomicUsize,
    tables: AtomicUsize,
    bytes: AtomicUsize,
}

/// Why somebody may not listen to more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum TooMany {
    #[error("ERR a channel's name is too long: at most {CHANNEL_BYTES_MAX} bytes")]
    Name,
    #[error("ERR too many subscriptions of one connection: at most {SUBSCRIPTIONS_PER_CLIENT_MAX}")]
    OfClient,
    #[error(
        "ERR too many subscriptions in all: at most {SUBSCRIPTIONS_MAX}, {PATTERNS_MAX} of them to patterns; try again later"
    )]
    InAll,
    #[error(
        "ERR too many patterns in all that have ?, [ or \\ between stars: at most {PATTERN_TABLES_MAX} such places; try again \
         later"
    )]
    Tables,
    #[error("ERR {0}")]
    Pattern(#[from] TooMuch),
}

impl Topology {
    /// Begins a subscription that is not there yet.
    fn begin(
        &self,
        namespace: NamespaceId,
        name: &Arc<[u8]>,
        is_pattern: bool,
        client: &Arc<Client>,
    ) -> Result<(), TooMany> {
        let pattern = if is_pattern { Some(Box::new(Pattern::new(name)?)) } else { None };
        let tables = pattern.as_ref().map_or(0, |pattern| pattern.tables());
        let bounds = [
            (&self.count, 1, SUBSCRIPTIONS_MAX, TooMany::InAll),
            (&self.bytes, name.len(), SUBSCRIPTION_BYTES_MAX, TooMany::InAll),
            (&self.patterns, usize::from(is_pattern), PATTERNS_MAX, TooMany::InAll),
            (&self.tables, tables, PATTERN_TABLES_MAX, TooMany::Tables),
        ];
        for (at, (count, by, max, why)) in bounds.iter().enumerate() {
            if count.fetch_add(*by, Ordering::Relaxed) + by > *max && *by > 0 {
                bounds[..=at].iter().for_each(|(count, by, ..)| {
                    count.fetch_sub(*by, Ordering::Relaxed);
                });
                return Err(*why);
            }
        }
        let mut topics = self.topics.write();
        let topic = topics.entry(namespace).or_default();
        topic.tables += tables;
        let heard = topic.of(is_pattern).entry(name.clone());
        heard.or_insert_with(|| Heard { clients: Vec::new(), pattern }).clients.push(client.clone());
        Ok(())
    }

    /// Ends subscriptions that are there.
    fn end(&self, namespace: NamespaceId, names: &[Arc<[u8]>], is_pattern: bool, client: &Client) {
        let mut topics = self.topics.write();
        let Some(topic) = topics.get_mut(&namespace) else { return };
        let listeners = topic.of(is_pattern);
        let mut ended_tables = 0;
        for name in names {
            let Some(heard) = listeners.get_mut(name) else { continue };
            if let Some(at) = heard.clients.iter().position(|other| other.id == client.id) {
                heard.clients.swap_remove(at);
                self.count.fetch_sub(1, Ordering::Relaxed);
                self.bytes.fetch_sub(name.len(), Ordering::Relaxed);
                if let Some(pattern) = &heard.pattern {
                    self.patterns.fetch_sub(1, Ordering::Relaxed);
                    ended_tables += pattern.tables();
                }
            }
            if heard.clients.is_empty() {
                listeners.remove(name);
            }
        }
        self.tables.fetch_sub(ended_tables, Ordering::Relaxed);
        if listeners.is_empty() {
            listeners.shrink_to_fit();
        }
        topic.tables -= ended_tables;
        if topic.channels.is_empty() && topic.patterns.is_empty() {
            topics.remove(&namespace);
        }
    }

    /// Sends a message to all who listen; answers how many that are.
    pub(super) fn publish(&self, namespace: NamespaceId, channel: &[u8], payload: &[u8]) -> usize {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let topics = self.topics.read();
        let Some(topic) = topics.get(&namespace) else { return 0 };
        let mut sent = 0;
        if let Some(heard) = topic.channels.get(channel) {
            let mut written = Written::default();
            for client in &heard.clients {
                let parts = [b"message".as_slice(), channel, payload];
                sent += usize::from(client.post(written.for_protocol(client.protocol(), &parts)));
            }
        }
        for (pattern, heard) in &topic.patterns {
            if !heard.pattern.as_ref().is_some_and(|pattern| pattern.matches(channel)) {
                continue;
            }
            let mut written = Written::default();
            for client in &heard.clients {
                let parts = [b"pmessage".as_slice(), pattern, channel, payload];
                sent += usize::from(client.post(written.for_protocol(client.protocol(), &parts)));
            }
        }
        sent
    }

    /// About what it takes to get a message of so many bytes to all who listen to a channel, in bytes that are copied or looked
    /// through. What those get who listen to patterns is not part of it.
    pub(super) fn effort(&self, namespace: NamespaceId, channel: &[u8], len: usize) -> usize {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let topics = self.topics.read();
        let Some(topic) = topics.get(&namespace) else { return 0 };
        let listeners = topic.channels.get(channel).map_or(0, |heard| heard.clients.len());
        listeners * (LISTENER_EFFORT + len)
            + topic.patterns.len() * PATTERN_EFFORT
            + topic.tables * channel.len()
    }

    /// About what it takes to go through all names that somebody listens to, in the same measure.
    pub(super) fn names_effort(&self) -> usize {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        of(&self.count) * PATTERN_EFFORT + of(&self.bytes)
    }

    /// How many channels somebody listens to, and how many patterns.
    pub(super) fn counts(&self) -> (usize, usize) {
        let topics = self.topics.read();
        topics.values().fold((0, 0), |(channels, patterns), topic| {
            (channels + topic.channels.len(), patterns + topic.patterns.len())
        })
    }
}

/// A message as it is sent, in both protocols; each written when it is first asked for.
#[derive(Default)]
struct Written {
    both: [Vec<u8>; 2],
}

impl Written {
    fn for_protocol(&mut self, protocol: Protocol, parts: &[&[u8]]) -> &[u8] {
        let written = &mut self.both[usize::from(protocol == Protocol::Resp3)];
        if written.is_empty() {
            let mut out = Out::new(protocol);
            out.push(parts.len());
            parts.iter().for_each(|part| out.bulk(part));
            *written = out.take();
        }
        written
    }
}

/// `SUBSCRIBE` and `PSUBSCRIBE`.
pub(super) fn subscribe(call: &mut Call<'_>, is_pattern: bool) {
    let word = if is_pattern { "psubscribe" } else { "subscribe" };
    for name in call.args.from(1).iter() {
        match listen(call.shared, call.session, name, is_pattern) {
            Ok(()) => confirm(call, word, Some(name)),
            Err(too_many) => {
                call.out.error(too_many);
                return;
            }
        }
    }
}

fn listen(shared: &Shared, session: &mut Session, name: &[u8], is_pattern: bool) -> Result<(), TooMany> {
    let namespace = session.space.id;
    if session.subscriptions.is_none() {
        session.subscriptions = Some(Box::new(Subscriptions::new(namespace)));
        session.count_mail(shared);
    }
    let Some(own) = &mut session.subscriptions else { return Ok(()) };
    if own.of(is_pattern).contains(name) {
        return Ok(());
    }
    if name.len() > CHANNEL_BYTES_MAX {
        return Err(TooMany::Name);
    }
    if own.count() >= SUBSCRIPTIONS_PER_CLIENT_MAX {
        return Err(TooMany::OfClient);
    }
    let name: Arc<[u8]> = name.into();
    shared.topology.begin(own.namespace, &name, is_pattern, &session.client)?;
    shared.notify.began(own.namespace, &name, is_pattern);
    own.of(is_pattern).insert(name);
    session.client.listens(own.channels.len(), own.patterns.len());
    Ok(())
}

fn confirm(call: &mut Call<'_>, word: &str, name: Option<&[u8]>) {
    call.out.push(3);
    call.out.bulk(word.as_bytes());
    match name {
        Some(name) => call.out.bulk(name),
        None => call.out.null(),
    }
    let count = call.session.subscribed();
    call.out.count(count);
}

/// `UNSUBSCRIBE` and `PUNSUBSCRIBE`.
pub(super) fn unsubscribe(call: &mut Call<'_>, is_pattern: bool) {
    let word = if is_pattern { "punsubscribe" } else { "unsubscribe" };
    let named = call.args.from(1);
    if !named.is_empty() {
        for name in named.iter() {
            forget(call.shared, call.session, name, is_pattern);
            deliver(call);
            confirm(call, word, Some(name));
        }
    } else {
        let own = call.session.subscriptions.as_mut();
        let names: Vec<Arc<[u8]>> =
            own.map(|own| own.of(is_pattern).iter().cloned().collect()).unwrap_or_default();
        for name in &names {
            forget(call.shared, call.session, name, is_pattern);
            deliver(call);
            confirm(call, word, Some(name));
        }
        if names.is_empty() {
            confirm(call, word, None);
        }
    }
    if call.session.subscribed() == 0 {
        call.session.subscriptions = None;
    }
}

fn forget(shared: &Shared, session: &mut Session, name: &[u8], is_pattern: bool) {
    let Some(own) = &mut session.subscriptions else { return };
    let Some(name) = own.of(is_pattern).take(name) else { return };
    shared.topology.end(own.namespace, std::slice::from_ref(&name), is_pattern, &session.client);
    shared.notify.ended(own.namespace, &name, is_pattern);
    session.client.listens(own.channels.len(), own.patterns.len());
}

/// Hands over what has come meanwhile, before it is said that nothing more comes: with RESP2 a message that comes after
/// that is taken for the answer to the next command. Not within the answer to `EXEC`, where nothing else has a place.
pub(super) fn deliver(call: &mut Call<'_>) {
    if call.session.client.has_mail() && call.session.replies == Replies::On && !call.session.in_exec {
        let mail = call.session.client.take_mail();
        call.out.raw(&mail);
    }
}

/// Ends all subscriptions: the client goes, or begins anew.
pub(super) fn forget_all(shared: &Shared, session: &mut Session) {
    let Some(own) = session.subscriptions.take() else { return };
    for (names, is_pattern) in [(&own.channels, false), (&own.patterns, true)] {
        let names: Vec<Arc<[u8]>> = names.iter().cloned().collect();
        for some in names.chunks(ENDED_AT_ONCE) {
            shared.topology.end(own.namespace, some, is_pattern, &session.client);
        }
        names.iter().for_each(|name| shared.notify.ended(own.namespace, name, is_pattern));
    }
    session.client.listens(0, 0);
}

/// `PUBLISH`.
pub(super) fn publish(call: &mut Call<'_>) {
    // No listener can name it, and each pattern is compared with it.
    if call.arg(1).len() > CHANNEL_BYTES_MAX {
        return call.out.error(TooMany::Name);
    }
    let sent = call.shared.topology.publish(call.session.space.id, call.arg(1), call.arg(2));
    call.out.count(sent);
}

/// `PUBSUB`.
pub(super) fn about(call: &mut Call<'_>) {
    let Some(word) = call.word() else { return };
    let namespace = call.session.space.id;
    let shared = call.shared;
    let topics = shared.topology.topics.read();
    let topic = topics.get(&namespace);
    match word {
        "channels" => {
            let pattern = match call.args.get(2).map(Pattern::new).transpose() {
                Ok(pattern) => pattern,
                Err(why) => return call.out.error(TooMany::from(why)),
            };
            let wanted = |name: &&Arc<[u8]>| pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
            let names: Vec<&Arc<[u8]>> =
                topic.map(|topic| topic.channels.keys().filter(wanted).collect()).unwrap_or_default();
            call.out.array(names.len());
            names.iter().for_each(|name| call.out.bulk(name));
        }
        "numsub" => {
            let asked = call.args.from(2);
            call.out.array(asked.len() * 2);
            for name in asked.iter() {
                let heard = topic.and_then(|topic| topic.channels.get(name));
                call.out.bulk(name);
                call.out.count(heard.map_or(0, |heard| heard.clients.len()));
            }
        }
        _ => call.out.count(topic.map_or(0, |topic| topic.patterns.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::clients::Clients;
    use super::*;

    #[test]
    fn subscriptions_are_counted_until_they_end_and_patterns_have_a_bound_of_their_own() {
        let (topology, clients) = (Topology::default(), Clients::new());
        let address = "127.0.0.1:1".parse().unwrap();
        let (one, other) = (clients.enter(address, address), clients.enter(address, address));
        let namespace = NamespaceId::of("raw");
        let name = |number: usize| -> Arc<[u8]> { format!("name:{number}").into_bytes().into() };
        let counted = || {
            let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
            (of(&topology.count), of(&topology.patterns), of(&topology.bytes))
        };
        for number in 0..PATTERNS_MAX {
            topology.begin(namespace, &name(number), true, &one).unwrap();
        }
        let full = counted();
        assert_eq!(topology.begin(namespace, &name(0), true, &other), Err(TooMany::InAll));
        assert_eq!(counted(), full, "what was refused is not counted");
        topology.begin(namespace, &name(0), false, &other).unwrap();
        assert_eq!(topology.counts(), (1, PATTERNS_MAX));
        assert_eq!(topology.publish(NamespaceId::of("other"), b"name:0", b"x"), 0);
        assert_eq!(topology.publish(namespace, b"name:0", b"x"), 2, "by name and by pattern");
        let all: Vec<_> = (0..PATTERNS_MAX).map(name).collect();
        topology.end(namespace, &all, true, &other);
        assert_eq!(topology.counts(), (1, PATTERNS_MAX), "they are not this one's");
        topology.end(namespace, &all, true, &one);
        topology.end(namespace, &all, false, &other);
        assert_eq!((counted(), topology.topics.read().len()), ((0, 0, 0), 0), "nothing is left of them");
    }

    #[test]
    fn patterns_that_take_much_have_a_bound_in_all_and_say_what_they_take() {
        let (topology, clients) = (Topology::default(), Clients::new());
        let address = "127.0.0.1:1".parse().unwrap();
        let client = clients.enter(address, address);
        let namespace = NamespaceId::of("raw");
        assert_eq!(topology.effort(namespace, b"news", 10), 0);
        let each = 128;
        let name =
            |number: usize| -> Arc<[u8]> { format!("{number}{}*", "*?a".repeat(each)).into_bytes().into() };
        let count = PATTERN_TABLES_MAX / each;
        for number in 0..count {
            topology.begin(namespace, &name(number), true, &client).unwrap();
        }
        assert_eq!(topology.begin(namespace, &name(count), true, &client), Err(TooMany::Tables));
        let plain: Arc<[u8]> = b"a*".as_slice().into();
        topology.begin(namespace, &plain, true, &client).unwrap();
        let effort = topology.effort(namespace, b"news", 10);
        assert_eq!(effort, (count + 1) * PATTERN_EFFORT + count * each * b"news".len());
        assert_eq!(topology.effort(NamespaceId::of("other"), b"news", 10), 0, "of others nothing is counted");
        let class: Arc<[u8]> = [&b"["[..], &[b'a'; 200], b"]"].concat().into();
        assert_eq!(topology.begin(namespace, &class, true, &client), Err(TooMany::Pattern(TooMuch::Class)));
        topology.begin(namespace, &class, false, &client).unwrap();
        topology.end(namespace, std::slice::from_ref(&class), false, &client);
        let all: Vec<_> = (0..count).map(name).chain([plain]).collect();
        topology.end(namespace, &all, true, &client);
        let left = [&topology.count, &topology.patterns, &topology.tables, &topology.bytes];
        assert!(left.iter().all(|count| count.load(Ordering::Relaxed) == 0));
        assert_eq!(topology.topics.read().len(), 0);
    }
}
