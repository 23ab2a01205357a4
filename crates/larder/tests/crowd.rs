//! A crowd of clients on one node, each with a connection of its own (mutual TLS) and all transferring at once: nobody
//! starves, and the node's memory stays below a fixed bound, whatever they have on their way. Beyond the cap, clients are
//! told so.
//!
//! The short form is a hundred clients with blobs of 4 MiB. The figure is of a thousand with blobs of 1 MiB:
//! `LARDER_CROWD=1000 cargo test --release -p larder --test crowd -- --nocapture`.

#[path = "support/issued.rs"]
mod issued;
mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use issued::{issue, options};
use larder_client::remote::{Lease, Remote};
use larder_format::clock::{Clock, Hlc, SystemClock};
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::record::Key;
use larder_format::sealed::SUITE_1;
use support::Home;
use support::patience::until;
use tokio::sync::Barrier;

/// Chunks that each client sends and fetches.
const CHUNKS: usize = 4;
/// What the node's memory may peak at, whoever comes: [running Larder](../../../docs/operate/README.md) says of what.
const MEMORY_MAX: u64 = 448 << 20;
/// And for each, whatever it transfers: its window.
const MEMORY_EACH_MAX: u64 = 128 << 10;
/// How long the slowest may take.
const SLOWEST_MAX: Duration = Duration::from_secs(300);
/// How many times as long as the middle one.
const SLOWEST_TIMES_MAX: u32 = 3;

fn crowd() -> usize {
    std::env::var("LARDER_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Length of a chunk: what all have on their way together is far more than what the node may take.
fn chunk_len(crowd: usize) -> usize {
    if crowd >= 1000 { 1 << 20 } else { 4 << 20 }
}

/// A figure of the node's memory, in bytes.
fn memory(home: &Home, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", home.pid("node"))).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What looks like a sealed chunk to a node, another one for every number. Cheap to make: the clients must not be what
/// is slow.
fn chunk(like: &[u8], client: usize, number: usize) -> Bytes {
    let mut bytes = like.to_vec();
    (bytes[0], bytes[1]) = (SUITE_1, larder_format::sealed::SealedKind::Chunk as u8);
    bytes[64..72].copy_from_slice(&((client * CHUNKS + number) as u64).to_be_bytes());
    Bytes::from(bytes)
}

async fn lease(remote: &Remote, client: usize) -> Lease {
    let now_ms = Hlc::from_u64(remote.status().await.unwrap().time).ms();
    Lease {
        token: LeaseToken((client as u128 + 1).to_be_bytes()),
        namespace: NamespaceId::of(larder_client::vault::FILES),
        key: Key::new(format!("{client:032}").into_bytes()).unwrap(),
        deadline_ms: now_ms + 3_600_000,
    }
}

/// Sends chunks and fetches them again.
async fn transfer(remote: &Remote, client: usize, like: &Bytes) {
    let (mut sender, mut answers) = remote.put_blobs(&lease(remote, client).await).await.unwrap();
    // Made when they are needed: the crowd is to fit beside the node.
    let sending = like.clone();
    let sent = tokio::spawn(async move {
        let mut ids = Vec::new();
        for number in 0..CHUNKS {
            let bytes = chunk(&sending, client, number);
            ids.push(BlobId::of(&bytes));
            sender.send(ids[number], bytes).await.unwrap();
        }
        ids
    });
    for _ in 0..CHUNKS {
        answers.next().await.unwrap().unwrap();
    }
    let (asker, mut blobs) = remote.get_blobs().await.unwrap();
    for id in sent.await.unwrap() {
        asker.ask(id).await.unwrap();
    }
    drop(asker);
    for number in 0..CHUNKS {
        let (_, bytes) = blobs.next().await.unwrap().unwrap();
        assert!(bytes == chunk(like, client, number), "{client} {number}");
    }
}

#[test]
fn a_crowd_transfers_at_once_and_nobody_starves() {
    let home = Home::up();
    let folder = issue(&home, "one-of-many", &[]);
    let (count, options) = (crowd(), options(&home, &folder));
    let chunk_len = chunk_len(count);
    let before = memory(&home, "VmRSS");
    let clock = Arc::new(SystemClock::new());
    let like = Bytes::from(support::noise(chunk_len, 1));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut times, connected) = runtime.block_on(async {
        let ready = Arc::new(Barrier::new(count + 1));
        let begun = clock.monotonic();
        let clients: Vec<_> = (0..count)
            .map(|client| {
                let (options, ready, clock, like) =
                    (options.clone(), ready.clone(), clock.clone(), like.clone());
                tokio::spawn(async move {
                    let remote = loop {
                        // Of many that come at the same moment the oldest unfinished handshakes are given up.
                        match Remote::connect(&options).await {
                            Ok(remote) => break remote,
                            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                        }
                    };
                    ready.wait().await;
                    let begun = clock.monotonic();
                    transfer(&remote, client, &like).await;
                    clock.monotonic() - begun
                })
            })
            .collect();
        ready.wait().await;
        let connected = clock.monotonic() - begun;
        let mut times = Vec::new();
        for client in clients {
            times.push(client.await.unwrap());
        }
        (times, connected)
    });
    times.sort();
    let (fastest, slowest) = (times[0], times[count - 1]);
    let peak = memory(&home, "VmHWM");
    let mib = |bytes: u64| bytes / (1 << 20);
    #[allow(clippy::print_stderr, reason = "the figure that the testing page wants")]
    {
        eprintln!(
            "{count} clients, {CHUNKS} chunks of {} KiB each way: connected after {connected:.1?}, fastest {fastest:.1?}, \
             median {:.1?}, slowest {slowest:.1?}; node's memory {} MiB before, {} MiB at its peak",
            chunk_len / 1024,
            times[count / 2],
            mib(before),
            mib(peak),
        );
    }
    assert!(slowest < SLOWEST_MAX, "{slowest:?}");
    assert!(slowest <= times[count / 2] * SLOWEST_TIMES_MAX, "{slowest:?}");
    assert!(peak < MEMORY_MAX + MEMORY_EACH_MAX * count as u64, "{} MiB", mib(peak));
}

/// Clients that ask for blobs and take nothing of them.
const IDLERS: usize = 20;
/// Blobs that each asks for: together more than the node has room for.
const ASKED: usize = 10;

/// Takes the node's half minute, so it is part of the long form.
#[test]
fn who_takes_nothing_does_not_keep_others_waiting_for_ever() {
    if std::env::var("LARDER_CROWD").is_err() {
        return;
    }
    let home = Home::up();
    let folder = issue(&home, "one-of-many", &[]);
    let options = options(&home, &folder);
    let bytes = chunk(&Bytes::from(support::noise(4 << 20, 1)), 0, 0);
    let clock = SystemClock::new();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let remote = Remote::connect(&options).await.unwrap();
        let (mut sender, mut answers) = remote.put_blobs(&lease(&remote, 0).await).await.unwrap();
        sender.send(BlobId::of(&bytes), bytes.clone()).await.unwrap();
        answers.next().await.unwrap().unwrap();
        let mut idlers = Vec::new();
        for _ in 0..IDLERS {
            let idler = Remote::connect(&options).await.unwrap();
            let (asker, blobs) = idler.get_blobs().await.unwrap();
            for _ in 0..ASKED {
                asker.ask(BlobId::of(&bytes)).await.unwrap();
            }
            idlers.push((idler, asker, blobs));
        }
        support::pause(2000);
        let begun = clock.monotonic();
        assert_eq!(remote.get_blob(BlobId::of(&bytes)).await.unwrap(), bytes);
        let waited = clock.monotonic() - begun;
        assert!(waited > Duration::from_secs(20), "they left room, so that this shows nothing: {waited:?}");
        assert!(waited < Duration::from_secs(60), "{waited:?}");
        // Those that were ended hear of it as of a connection that broke off, which is tried again.
        let mut ended = 0;
        for (_, _, mut blobs) in idlers {
            for _ in 0..ASKED {
                if let Err(failure) = blobs.next().await {
                    assert_eq!(failure.kind, larder_format::error::Kind::Closed, "{failure}");
                    ended += 1;
                    break;
                }
            }
        }
        assert!(ended > 0);
    });
}

#[test]
fn beyond_the_cap_clients_are_told_so_and_room_comes_back() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--set", "connections_max=16", "--passphrase-file"];
    home.run(&[&up[..], &[passphrase.to_str().unwrap()]].concat()).ends(0);
    let folder = issue(&home, "many", &[]);
    let options = options(&home, &folder);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..16 {
            let remote = Remote::connect(&options).await.unwrap();
            remote.status().await.unwrap();
            open.push(remote);
        }
        home.run(&["ls"]).ends(9).says("as many connections as it takes").says("max=16");
        open.truncate(8);
        until("room comes back", || home.run(&["ls"]).code == 0);
        let status = home.run(&["status", "--json"]).ends(0).json();
        assert_eq!(status["node"]["connections"]["max"], 16);
        assert!(status["node"]["connections"]["open"].as_u64().unwrap() >= 8, "{status}");
    });
}
