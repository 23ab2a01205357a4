//! Watching: what is durable is told, who is slow is told to look anew, and who stays away costs nothing.

use super::*;
use bytes::Bytes;
use larder_format::record::{
    Ballot, Content, Expiry, Key, Live, RecordSlot, RecordState, ShadowReason, Version,
};
use larder_format::rng::SeededRng;
use larder_format::slot::Slot;
use larder_store::api::{Address, Next, RecordStore};
use larder_store::disk::sim::SimDisk;
use larder_store::log::{LogConfig, LogStore};
use larder_store::memory::{MemoryConfig, MemoryTable};

const NS: NamespaceId = NamespaceId(7);

fn store() -> LogStore {
    let config = LogConfig { threads: false, reserve_bytes: 0, margin_bytes: 0, ..LogConfig::default() };
    LogStore::open_on(Arc::new(SimDisk::new()), config, &mut SeededRng::new(1)).unwrap()
}

fn memory() -> MemoryTable {
    MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: 4 })
}

#[allow(clippy::needless_pass_by_value, reason = "made where it is used")]
fn change(store: &dyn RecordStore, key: &str, next: Next) {
    let key = Key::new(Bytes::copy_from_slice(key.as_bytes())).unwrap();
    let at = Address { namespace: NS, slot: Slot::of_raw(key.as_bytes()), key: &key };
    drop(store.update(at, &mut |_| Ok(next.clone())).unwrap());
}

fn put(store: &dyn RecordStore, key: &str, version: u64) {
    change(store, key, state(version, Content::Live(Live::default())));
}

fn state(version: u64, content: Content) -> Next {
    let version = Version::from_u64(version);
    let state = RecordState { version, expiry: Expiry::NEVER, content, operations: Vec::new() };
    Next::Store(RecordSlot { ballots: None, state: Some(state) })
}

fn remove(store: &dyn RecordStore, key: &str, round: u64) {
    change(store, key, Next::Remove { floor: Ballot { round, proposer: 0 } });
}

fn ask(prefix: &'static str, cursor: Option<Position>) -> WatchAsk {
    let prefix = Bytes::from_static(prefix.as_bytes());
    WatchAsk { namespace: NS, prefix, keys: Vec::new(), key_len_max: 100, cursor }
}

fn told(page: &v1::WatchPage) -> Vec<(String, v1::ChangeKind, u64)> {
    let one = |e: &v1::WatchEvent| (String::from_utf8(e.key.to_vec()).unwrap(), e.kind(), e.version);
    page.events.iter().map(one).collect()
}

fn cursor(page: &v1::WatchPage) -> Option<Position> {
    page.cursor.as_ref().map(|at| Position { life: at.life, sequence: at.sequence })
}

/// The next page that has something in it.
async fn news(watching: &mut Watching) -> v1::WatchPage {
    loop {
        let page = watching.next().await.unwrap();
        if page.reset || !page.events.is_empty() {
            return page;
        }
    }
}

#[tokio::test]
async fn nothing_is_told_before_it_is_durable() {
    let store = store();
    let feeds = Feeds::start(&store, memory().feed());
    let mut watching = feeds.watch(Class::Disk, ask("", None)).unwrap();
    assert!(watching.next().await.unwrap().caught_up);
    put(&store, "a", 5);
    let early = tokio::time::timeout(Duration::from_millis(100), watching.next()).await;
    assert!(early.is_err(), "told before it was durable");
    store.pump().unwrap();
    let page = news(&mut watching).await;
    assert_eq!(told(&page), vec![("a".to_owned(), v1::ChangeKind::Changed, 5)]);
    assert_eq!(cursor(&page).unwrap(), feeds.newest(Class::Disk, NS));
    feeds.close();
    assert_eq!(watching.next().await, None);
}

#[tokio::test]
async fn kinds_prefixes_and_going_on_from_a_cursor() {
    let store = store();
    let feeds = Feeds::start(&store, memory().feed());
    let mut watching = feeds.watch(Class::Disk, ask("a", None)).unwrap();
    let start = cursor(&watching.next().await.unwrap());
    put(&store, "a1", 5);
    put(&store, "b1", 6);
    remove(&store, "a1", 9);
    put(&store, "a2", 10);
    remove(&store, "a2", 10);
    put(&store, "a3", 11);
    change(&store, "a3", state(12, Content::Shadow(ShadowReason::Taken)));
    remove(&store, "a3", 12);
    store.pump().unwrap();
    use v1::ChangeKind::{Changed, Deleted, Expired};
    let all = [
        ("a1", Changed, 5),
        ("a1", Deleted, 9),
        ("a2", Changed, 10),
        ("a2", Expired, 10),
        ("a3", Changed, 11),
        ("a3", Deleted, 12),
    ]
    .map(|(key, kind, version)| (key.to_owned(), kind, version));
    let page = news(&mut watching).await;
    assert_eq!(told(&page), all);
    let mut again = feeds.watch(Class::Disk, ask("a", start)).unwrap();
    let page = news(&mut again).await;
    assert!(!page.reset);
    assert_eq!(told(&page), all);
    let middle = Position { sequence: page.events[3].sequence, ..start.unwrap() };
    let mut later = feeds.watch(Class::Disk, ask("", Some(middle))).unwrap();
    assert_eq!(told(&news(&mut later).await), all[4..]);
    feeds.close();
}

#[tokio::test]
async fn a_stranger_s_cursor_and_accepted_damage_are_a_reset() {
    let store = store();
    let feeds = Feeds::start(&store, memory().feed());
    let strange = Position { life: 42, sequence: 1 };
    let mut watching = feeds.watch(Class::Disk, ask("", Some(strange))).unwrap();
    assert!(watching.next().await.unwrap().reset);
    store.feed().break_off();
    assert!(news(&mut watching).await.reset);
    put(&store, "a", 1);
    store.pump().unwrap();
    assert_eq!(told(&news(&mut watching).await).len(), 1);
    feeds.close();
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_reset_and_then_goes_on() {
    let memory = memory();
    let store = store();
    let feeds = Feeds::start(&store, memory.feed());
    let mut watching = feeds.watch(Class::Memory, ask("", None)).unwrap();
    let long = "k".repeat(2_000);
    for version in 1..=u64::try_from(larder_store::feed::FEED_BYTES_MAX / 2_000 + 200).unwrap() {
        put(&memory, &long, version);
    }
    assert!(news(&mut watching).await.reset);
    put(&memory, "after", 1_000_000);
    let page = loop {
        let page = news(&mut watching).await;
        if !page.events.is_empty() {
            break page;
        }
    };
    assert_eq!(told(&page), vec![("after".to_owned(), v1::ChangeKind::Changed, 1_000_000)]);
    feeds.close();
}

#[tokio::test(start_paused = true)]
async fn the_memory_feed_is_on_only_while_somebody_watches_and_a_little_longer() {
    let memory = memory();
    let store = store();
    let feeds = Feeds::start(&store, memory.feed());
    assert!(!memory.feed().is_on());
    let watching = feeds.watch(Class::Memory, ask("", None)).unwrap();
    assert!(memory.feed().is_on());
    tokio::time::sleep(LINGER * 5).await;
    assert!(memory.feed().is_on());
    drop(watching);
    tokio::time::sleep(LINGER / 2).await;
    assert!(memory.feed().is_on(), "who comes back soon goes on where it was");
    tokio::time::sleep(LINGER * 3).await;
    assert!(!memory.feed().is_on());
    feeds.close();
}

#[tokio::test]
async fn ten_thousand_watchers_are_served_and_one_more_is_refused() {
    let store = store();
    let feeds = Feeds::start(&store, memory().feed());
    let mut all: Vec<_> =
        (0..WATCHERS_MAX).map(|_| feeds.watch(Class::Disk, ask("", None)).unwrap()).collect();
    let refused = feeds.watch(Class::Disk, ask("", None)).map(|_| ()).unwrap_err();
    assert_eq!(refused.kind, Kind::Full);
    put(&store, "a", 1);
    store.pump().unwrap();
    for watching in &mut all {
        assert_eq!(told(&news(watching).await).len(), 1);
    }
    all.pop();
    assert!(feeds.watch(Class::Disk, ask("", None)).is_ok());
    feeds.close();
}
