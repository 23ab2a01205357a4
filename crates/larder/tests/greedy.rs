//! Clients that take more than their share, against the real node: others are served all the same, and memory is bounded.
#![allow(clippy::disallowed_methods, reason = "real sockets and processes")]

#[path = "support/issued.rs"]
mod issued;
#[path = "support/python.rs"]
mod python;
mod support;

use std::future::poll_fn;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use issued::{issue, options};
use larder_client::connection::{ConnectOptions, connect};
use larder_client::remote::{Lease, Remote, Scan};
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
use larder_format::operation::Outcome;
use larder_format::record::Key;
use larder_wire::request::{Ask, AskPut, RecordRequest};
use serde_json::Value;
use support::patience::WAIT_MAX;
use support::{Home, Said};
use tokio_stream::StreamExt;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};

const MIB: u64 = 1 << 20;
/// Who is held up by others is so for as long as they are there: without end. Who is not is served sooner than this, on
/// however busy a machine.
const SERVED_MAX: Duration = Duration::from_secs(30);

fn address(home: &Home) -> String {
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    let running: Value = serde_json::from_str(&text).unwrap();
    running["address"].as_str().unwrap().to_owned()
}

#[test]
fn clients_that_connect_and_say_nothing_hold_up_nobody() {
    let home = Home::up();
    let address = address(&home);
    // More than the node takes for unfinished handshakes at a time, and more than that again waiting behind them.
    let silent: Vec<TcpStream> = (0..700).map(|_| TcpStream::connect(&address).unwrap()).collect();
    home.run(&["value", "set", "k", "v"]).ends(0);
    assert_eq!(home.run(&["value", "get", "k"]).ends(0).out.trim(), "v");
    assert_eq!(silent.len(), 700, "they are there until now");
}

#[test]
fn a_client_that_asks_for_much_and_reads_nothing_fills_no_memory() {
    let home = Home::up();
    // On disk: each answer is read anew and is a copy of its own.
    let namespace = Namespace::new("greedy", Privacy::Raw, Class::Disk, ScanOrder::Key);
    let settings: String = namespace.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    let Some(mut program) = python::program("slow_reader.py") else { return };
    program
        .arg(address(&home))
        .arg(home.home().join("config/certificates"))
        .arg(home.pid("node").to_string())
        .arg(namespace.id().0.to_string())
        .arg(settings);
    let said = Said::from(program.output().unwrap()).ends(0).json();
    let number = |name: &str| said[name].as_u64().unwrap();
    assert_eq!(number("read"), number("asked"), "{said}");
    let grown = number("highest").saturating_sub(number("before"));
    assert!(number("answer") >= 3 * MIB, "{said}");
    assert!(grown < 128 * MIB, "a thousand answers of three MiB wait somewhere else: {said}");
}

/// Resident memory of the home's node, in bytes.
fn resident(home: &Home) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", home.pid("node"))).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

const GREEDY: &str = "greedy";

fn operation(tag: u64, key: &str, ask: Ask) -> RecordRequest {
    let key = Key::new(key.to_owned().into_bytes()).unwrap();
    RecordRequest { tag, namespace: NamespaceId::of(GREEDY), key, identity: None, ask }
}

fn put(body: Bytes) -> Ask {
    Ask::Put(AskPut { body, ..AskPut::default() })
}

/// A namespace on disk, where each answer is read anew and is a copy of its own, with ten records of three MiB.
async fn fill(remote: &Remote) {
    let namespace = Namespace::new(GREEDY, Privacy::Raw, Class::Disk, ScanOrder::Key);
    remote.create_namespace(&namespace).await.unwrap();
    for number in 0..10_u64 {
        let body = Bytes::from(support::noise(3 * MIB as usize, number));
        let written = remote.apply(operation(0, &format!("big{number}"), put(body))).await.unwrap();
        assert!(matches!(written, Outcome::Written { .. }));
    }
    remote.apply(operation(0, "small", put(Bytes::from_static(b"x")))).await.unwrap();
}

/// One who wants too much, and another who is not to notice.
fn two(home: &Home) -> (ConnectOptions, ConnectOptions) {
    let (greedy, other) = (issue(home, "greedy", &[]), issue(home, "other", &["--rights", "admin"]));
    (options(home, &greedy), options(home, &other))
}

#[test]
fn many_streams_that_read_nothing_fill_no_memory_and_hold_up_no_other() {
    let home = Home::up();
    let (greedy, other) = two(&home);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let other = Remote::connect(&other).await.unwrap();
        fill(&other).await;
        let before = resident(&home);
        let (mut streams, mut pages) = (Vec::new(), Vec::new());
        // Six connections, each with as many of both as its windows leave in the node.
        for _ in 0..6 {
            let remote = Remote::connect(&greedy).await.unwrap();
            for _ in 0..12 {
                let (sender, answers) = remote.apply_stream().await.unwrap();
                for tag in 0..20_u64 {
                    let ask = Ask::Get { head_only: false };
                    sender.send(operation(tag, &format!("big{}", tag % 10), ask)).await.unwrap();
                }
                streams.push((sender, answers));
                let ask = Scan { head_only: false, ..Scan::heads(NamespaceId::of(GREEDY), b"") };
                pages.push(remote.scan(ask).await.unwrap());
            }
            streams.push({
                let (sender, answers) = remote.apply_stream().await.unwrap();
                (sender, answers)
            });
        }
        let mut highest = 0;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(6) {
            highest = highest.max(resident(&home));
            // Others are served meanwhile, small and large.
            for key in ["small", "big3"] {
                let ask = Ask::Get { head_only: false };
                let asked = tokio::time::timeout(SERVED_MAX, other.apply(operation(0, key, ask)));
                assert!(matches!(asked.await.unwrap().unwrap(), Outcome::Found(_)), "{key}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let grown = highest.saturating_sub(before);
        assert!(grown < 200 * MIB, "{} MiB more", grown / MIB);
    });
}

/// A call whose message begins, goes on for a while, and stops.
async fn begin_and_stop(options: ConnectOptions, path: &'static str) {
    let mut channel = connect(&options).await.unwrap();
    let len = 10 * 1024 * 1024_u32;
    let head = [&[0][..], &len.to_be_bytes()].concat();
    let parts = (0..9 * 16).map(|_| Bytes::from_static(&[7; 64 * 1024]));
    let parts =
        std::iter::once(Bytes::from(head)).chain(parts).map(|part| Ok::<_, Status>(Frame::data(part)));
    let body = Body::new(StreamBody::new(tokio_stream::iter(parts).chain(tokio_stream::pending())));
    let request = http::Request::post(format!("https://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    poll_fn(|cx| Service::poll_ready(&mut channel, cx)).await.unwrap();
    // Answered when it is ended.
    let _ = Service::call(&mut channel, request).await;
}

#[test]
fn messages_that_stop_arriving_fill_no_memory_and_hold_up_no_other() {
    let home = Home::up();
    let (greedy, other) = two(&home);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let other = Remote::connect(&other).await.unwrap();
        fill(&other).await;
        let before = resident(&home);
        let mut calls = Vec::new();
        for number in 0..40 {
            let path = ["/larder.v1.Records/Apply", "/larder.v1.Records/ApplyStream"][number % 2];
            calls.push(tokio::spawn(begin_and_stop(greedy.clone(), path)));
        }
        let mut highest = 0;
        for number in 0..20 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            highest = highest.max(resident(&home));
            let ask = operation(0, "again", put(Bytes::from(support::noise(MIB as usize, number))));
            let written = tokio::time::timeout(SERVED_MAX, other.apply(ask)).await;
            assert!(matches!(written.unwrap().unwrap(), Outcome::Written { .. }));
        }
        let grown = highest.saturating_sub(before);
        assert!(grown < 150 * MIB, "{} MiB more", grown / MIB);
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    });
}

/// A lease of its own for a record that nobody ever writes.
fn lease(number: u32, now_ms: u64) -> Lease {
    let mut token = [9; 16];
    token[..4].copy_from_slice(&number.to_le_bytes());
    Lease {
        token: LeaseToken(token),
        namespace: NamespaceId::of(GREEDY),
        key: Key::new(&b"small"[..]).unwrap(),
        deadline_ms: now_ms + 3_600_000,
    }
}

#[test]
fn leases_that_no_record_lists_are_bounded_for_one_client_and_others_go_on() {
    const EACH_MAX: u32 = 16_384;
    let home = Home::up();
    let (greedy, other) = two(&home);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let other = Remote::connect(&other).await.unwrap();
        fill(&other).await;
        let now_ms = Hlc::from_u64(other.status().await.unwrap().time).ms();
        let greedy = Remote::connect(&greedy).await.unwrap();
        let bytes = Bytes::from(support::noise(1_000, 7));
        let id = BlobId::of(&bytes);
        let (mut sender, mut answers) = greedy.put_blobs(&lease(0, now_ms)).await.unwrap();
        sender.send(id, bytes).await.unwrap();
        drop(sender);
        assert_eq!(answers.next().await.unwrap(), Some(id));
        let mut asked: tokio::task::JoinSet<Result<Vec<bool>, larder_client::Failure>> =
            tokio::task::JoinSet::new();
        for number in 1..EACH_MAX {
            if asked.len() >= 200 {
                assert_eq!(asked.join_next().await.unwrap().unwrap().unwrap(), [true]);
            }
            let greedy = greedy.clone();
            asked.spawn(async move { greedy.lease(&lease(number, now_ms), &[id]).await });
        }
        while let Some(done) = asked.join_next().await {
            assert_eq!(done.unwrap().unwrap(), [true]);
        }
        let refused = greedy.lease(&lease(EACH_MAX, now_ms), &[id]).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Full, "{refused:?}");
        assert!(refused.message.contains("too many leases that no record lists"), "{refused:?}");
        // What is held goes on, and so do others.
        assert_eq!(greedy.lease(&lease(5, now_ms), &[id]).await.unwrap(), [true]);
        assert_eq!(other.lease(&lease(EACH_MAX + 1, now_ms), &[id]).await.unwrap(), [true]);
        // What ends makes room.
        greedy.release(lease(7, now_ms).token).await.unwrap();
        let began = Instant::now();
        loop {
            match greedy.lease(&lease(EACH_MAX, now_ms), &[id]).await {
                Ok(present) => break assert_eq!(present, [true]),
                Err(full) => assert_eq!(full.kind, Kind::Full, "{full:?}"),
            }
            assert!(began.elapsed() < WAIT_MAX, "no room comes back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}
