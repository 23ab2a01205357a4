//! Protection of the client doors, on the real binary: who asks too much is limited and told when to come back, others are
//! served, and nobody but a trusted proxy says for whom it calls.
#![allow(
    clippy::disallowed_methods,
    reason = "what is looked at is the real clock, real sockets and processes"
)]

#[path = "support/issued.rs"]
mod issued;
#[path = "support/network.rs"]
mod network;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use issued::{issue, options};
use larder_client::remote::Remote;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::operation::Outcome;
use larder_format::record::Key;
use larder_wire::request::{Ask, RecordRequest};
use network::Network;
use support::http::{Connection, address, get, metric, request};
use support::patience::{WAIT_MAX, until};
use support::{Home, Said};

/// `larder up` with settings.
fn try_up(home: &Home, listen: &str, settings: &[&str]) -> Said {
    let passphrase = home.path("passphrase");
    let mut arguments = vec!["up", "--listen", listen, "--passphrase-file", passphrase.to_str().unwrap()];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    home.run(&arguments)
}

fn up(home: &Home, listen: &str, settings: &[&str]) {
    try_up(home, listen, settings).ends(0);
}

fn door_with(settings: &[&str]) -> (Home, String) {
    let home = Home::new();
    up(&home, "127.0.0.1:0", settings);
    let door = address(&home);
    (home, door)
}

/// How many requests may have passed beyond the others since then, where one more passes each second.
fn since(began: Instant) -> usize {
    began.elapsed().as_secs() as usize + 1
}

fn refused(door: &str, of: &str, reason: &str) -> f64 {
    metric(door, "larder_refused_total", &format!("door=\"{of}\",reason=\"{reason}\""))
}

/// How many of these requests on one connection were told that they are too many, and for how long.
fn limited(door: &str, count: usize, headers: &[(&str, &str)]) -> usize {
    let mut connection = Connection::to(door);
    connection.send(&request(door, "GET", "/health", headers, b"").repeat(count));
    let answers: Vec<_> = (0..count).map(|_| connection.answer().unwrap()).collect();
    assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status)));
    let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(limited.iter().all(|answer| answer.header("retry-after").parse::<u64>().unwrap() >= 1));
    limited.len()
}

#[test]
fn strangers_are_limited_each_for_itself_and_others_unharmed() {
    let Some(network) = Network::new() else { return };
    let home = Home::new();
    let listen = format!("http_listen={}:0", network.address);
    up(&home, "127.0.0.1:0", &[&listen, "http_auth=token", "http_rate=1/200"]);
    let door = address(&home);
    let made = home.run(&["token", "create", "--right", "read", "--json"]).ends(0).json();
    let known = format!("Authorization: Bearer {}", made["token"].as_str().unwrap());
    let many = |last, count, headers: &[&str]| {
        let statuses = network.curl_many(last, &door, count, headers);
        assert!(statuses.iter().all(|status| status == "401" || status == "429"), "{statuses:?}");
        statuses.iter().filter(|status| *status == "429").count()
    };
    // A connection counts before its handshake, and each of its requests.
    let began = Instant::now();
    let told = many(2, 400, &[]);
    assert!(told <= 201 && told + since(began) >= 200, "{told}: beyond 200 at once");
    // What a stranger says of itself changes nothing.
    let forged = ["X-Forwarded-For: 198.51.100.7", "Forwarded: for=127.0.0.1"];
    let began = Instant::now();
    let told = many(3, 400, &forged);
    assert!(told <= 201 && told + since(began) >= 200, "{told}");
    assert_eq!(many(4, 150, &[]), 0, "another address has its own");
    // Whoever shows a token is not counted by its address.
    let statuses = network.curl_many(4, &door, 300, &[&known]);
    assert!(statuses.iter().all(|status| status == "200"), "{statuses:?}");
    // From an address that has used up nothing: a connection counts before it is known whose it is.
    let from = ["-sSk", "--interface", &network.other(5), "-H", &known];
    let told = network.command("curl").args(from).arg(format!("https://{door}/metrics")).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8(told.stdout).unwrap();
    let counted = "larder_refused_total{door=\"http\",reason=\"rate_limited\"} ";
    let counted =
        told.lines().find_map(|line| line.strip_prefix(counted)).unwrap_or_else(|| panic!("{told}"));
    assert!(counted.parse::<f64>().unwrap() >= 360.0, "{counted}");
    home.run(&["value", "set", "k", "v"]).ends(0);
    home.run(&["down"]).ends(0);

    // All of them together, who are each within what is theirs.
    up(&home, "127.0.0.1:0", &[&listen, "http_auth=token", "http_rate=100/200", "http_rate_total=1/100"]);
    let door = address(&home);
    let many = |last| {
        let statuses = network.curl_many(last, &door, 60, &[]);
        statuses.iter().filter(|status| *status == "429").count()
    };
    let began = Instant::now();
    let all: Vec<usize> = [2, 3, 4].into_iter().map(many).collect();
    let more = since(began);
    assert_eq!(all[0], 0);
    // Each connection counts as well.
    assert!(all[1] <= 25 && all[1] + more >= 20 && all[1] + all[2] + more >= 80, "{all:?} {more}");
    home.run(&["value", "set", "k", "v"]).ends(0);
}

#[test]
fn whom_a_trusted_proxy_calls_for_is_limited_and_never_this_machine() {
    let (_home, door) = door_with(&["trusted_proxies=127.0.0.0/8,10.0.0.0/8", "http_rate=1/100"]);
    let from = |client: &str, count| limited(&door, count, &[("x-forwarded-for", client)]);
    let began = Instant::now();
    // So many of them, or as many fewer as seconds have passed: of one client after the other, each has its own.
    let about = |told: usize, most: usize| told <= most && told + since(began) >= most;
    assert!(about(from("203.0.113.5", 300), 200));
    assert_eq!(from("203.0.113.6", 90), 0, "another client of the same proxy");
    assert_eq!(from("203.0.113.7, 10.1.2.3", 90), 0, "by two proxies");
    assert!(about(from("203.0.113.7", 90), 80), "and so it is the same client");
    // What it wrote itself before the proxy added its address.
    assert!(about(from("198.51.100.1, 203.0.113.5", 50), 50));
    assert!(about(from("127.0.0.1, 203.0.113.5", 50), 50));
    // IPv6 by the network.
    assert_eq!(from("2001:db8::1", 90), 0);
    assert!(about(from("2001:db8::2", 90), 80));
    assert_eq!(from("2001:db8:0:1::1", 90), 0);
    // The proxy without a word is a stranger, and so is one that says that its client is loopback.
    assert!(about(limited(&door, 200, &[]), 100));
    assert!(about(from("127.0.0.1", 50), 50));
    let other = limited(&door, 50, &[("forwarded", "for=203.0.113.77")]);
    assert!(about(other, 50), "the other header is not looked at");
}

#[test]
fn the_other_header_is_believed_where_it_is_the_one() {
    let settings = ["trusted_proxies=127.0.0.1", "proxy_header=forwarded", "http_rate=1/50"];
    let (_home, door) = door_with(&settings);
    let from = |client: &str, count| limited(&door, count, &[("forwarded", client)]);
    let began = Instant::now();
    let about = |told: usize, most: usize| told <= most && told + since(began) >= most;
    assert!(about(from("for=203.0.113.5;proto=https", 100), 50));
    assert!(about(from("for=198.51.100.1, for=\"203.0.113.5:4711\"", 20), 20));
    assert_eq!(from("for=\"[2001:db8::1]:80\"", 40), 0);
    assert!(about(limited(&door, 100, &[("x-forwarded-for", "203.0.113.99")]), 50));
}

/// A connection that begins with a PROXY protocol header.
fn by_proxy(door: &str, header: &[u8]) -> Connection {
    let mut connection = Connection::to(door);
    connection.send(header);
    connection
}

fn line(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 4711 80\r\n").into_bytes()
}

/// Version 2 with addresses of IPv4.
fn binary(client: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    bytes.extend(client);
    bytes.extend([192, 0, 2, 1, 0x12, 0x67, 0, 80]);
    bytes
}

#[test]
fn a_proxy_that_passes_bytes_on_says_it_once() {
    let settings = ["trusted_proxies=127.0.0.1", "proxy_protocol=http", "http_rate=1/100"];
    let (_home, door) = door_with(&settings);
    let statuses = |mut connection: Connection, count: usize| {
        let one = request(&door, "GET", "/health", &[("x-forwarded-for", "198.51.100.1")], b"");
        connection.send(&one.repeat(count));
        (0..count).map(|_| connection.answer().map_or(0, |answer| answer.status)).collect::<Vec<_>>()
    };
    let limited = |connection, count| statuses(connection, count).iter().filter(|s| **s == 429).count();
    let began = Instant::now();
    let about = |told: usize, most: usize| told <= most && told + since(began) >= most;
    let by_line = limited(by_proxy(&door, &line("203.0.113.5")), 300);
    assert!(about(by_line, 200), "{by_line}: and no header is believed");
    assert!(about(limited(by_proxy(&door, &binary([203, 0, 113, 5])), 50), 50), "both versions say the same");
    assert_eq!(limited(by_proxy(&door, &binary([203, 0, 113, 6])), 90), 0);
    assert!(about(limited(by_proxy(&door, b"PROXY UNKNOWN\r\n"), 200), 100), "not told: a stranger");
    // A byte at a time.
    let mut slow = Connection::to(&door);
    for byte in line("203.0.113.8") {
        slow.send(&[byte]);
    }
    slow.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(slow.answer().unwrap().status, 200);
    // Without a header: refused, and said why.
    let mut without = by_proxy(&door, &request(&door, "GET", "/health", &[], b""));
    let answer = without.answer().unwrap();
    assert_eq!((answer.status, answer.json()["kind"].as_str().unwrap()), (400, "no_proxy_header"));
    let mut silent = Connection::to(&door);
    assert_eq!(silent.answer().unwrap().status, 408, "who says nothing is not waited for");
    // So many connections of one client, whoever brings them.
    let mut crowd: Vec<_> = (0..256).map(|_| by_proxy(&door, &line("203.0.113.9"))).collect();
    // Answered, each of them is in; that it asks too much makes no difference.
    for connection in &mut crowd {
        connection.send(&request(&door, "GET", "/health", &[], b""));
        assert!([200, 429].contains(&connection.answer().unwrap().status));
    }
    let mut one_more = by_proxy(&door, &line("203.0.113.9"));
    assert_eq!(one_more.answer().unwrap().status, 503);
    assert_eq!(statuses(by_proxy(&door, &line("203.0.113.10")), 1), [200]);
    drop(crowd);
    // Metrics are asked for as everybody asks.
    let mut scrape = by_proxy(&door, &line("203.0.113.11"));
    scrape.send(&request(&door, "GET", "/metrics", &[], b""));
    let text = String::from_utf8(scrape.answer().unwrap().body).unwrap();
    for reason in ["no_proxy_header", "too_slow", "crowded"] {
        let series = format!("larder_refused_total{{door=\"http\",reason=\"{reason}\"}} 1\n");
        assert!(text.contains(&series), "{series}");
    }
}

#[test]
fn what_other_programs_speak_is_no_request_and_somebody_is_told() {
    let (_home, door) = door_with(&[]);
    let mut connection = by_proxy(&door, &[&line("203.0.113.5")[..], b"GET / HTTP/1.1\r\n\r\n"].concat());
    assert_eq!(connection.answer().unwrap().status, 400);
    assert!(connection.is_closed());
    let mut redis = Connection::to(&door);
    redis.send(b"*1\r\n$4\r\nPING\r\n");
    assert_eq!(redis.answer().unwrap().status, 400);
    assert!(redis.is_closed());
    assert_eq!(metric(&door, "larder_suspicious_requests_total", "kind=\"protocol\""), 2.0);
}

#[test]
fn settings_that_shut_everybody_out_are_refused() {
    let home = Home::new();
    let with = |settings: &[&str]| try_up(&home, "127.0.0.1:0", settings);
    with(&["proxy_protocol=http"]).ends(2).says("set trusted_proxies");
    with(&["proxy_protocol=grpc", "trusted_proxies=127.0.0.0/8"]).ends(2).says("this machine's own");
    with(&["trusted_proxies=10.0.0.1/8"]).ends(2).says("write 10.0.0.0/8");
    with(&["grpc_rate=5"]).ends(2).says("RATE/BURST");
}

#[test]
fn each_certificate_has_its_own_limit_over_http() {
    let (home, door) = door_with(&["http_auth=certificate", "http_rate_identity=1/40"]);
    let limited = |folder: &std::path::Path, count: usize| {
        let output = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}\n"])
            .arg("--cacert")
            .arg(folder.join("authority.pem"))
            .arg("--cert")
            .arg(folder.join("client.pem"))
            .arg("--key")
            .arg(folder.join("client.key"))
            .arg(format!("https://{door}/health#[1-{count}]"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| *line == "429").count()
    };
    let (greedy, other) = (issue(&home, "greedy", &[]), issue(&home, "other", &[]));
    let began = Instant::now();
    let told = limited(&greedy, 100);
    assert!(told <= 60 && told + since(began) >= 60, "{told}");
    assert_eq!(limited(&other, 30), 0);
    let told = limited(&greedy, 20);
    assert!(told + since(began) >= 20, "{told}: on another connection, too");
}

/// Operations of one stream: for three seconds, where twenty of them a second are allowed.
const OPERATIONS: u64 = 60;

#[test]
fn calls_beyond_an_identitys_limit_are_told_when_to_come_back_and_streams_go_on_slowly() {
    let home = Home::new();
    up(&home, "127.0.0.1:0", &["grpc_rate_identity=20/100"]);
    let (greedy, other) = (issue(&home, "greedy", &[]), issue(&home, "other", &[]));
    let (greedy, other) = (options(&home, &greedy), options(&home, &other));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let remote = Remote::connect(&greedy).await.unwrap();
        let (began, mut asked, mut failures) = (Instant::now(), 0, Vec::new());
        // Many at a time: on a slow machine, one after the other may be no more than is allowed.
        while failures.len() <= 20 {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..300 {
                let remote = remote.clone();
                calls.spawn(async move { remote.status().await.err() });
            }
            failures.extend(calls.join_all().await.into_iter().flatten());
            asked += 300;
            assert!(asked < 6_000, "never refused");
        }
        for failure in &failures {
            assert_eq!(failure.kind, Kind::Retry, "{failure}");
            assert!(failure.message.contains("certificate or token"), "{failure}");
        }
        assert!(Remote::connect(&other).await.unwrap().status().await.is_ok(), "others are unharmed");
        // Operations of a stream wait for their turn, and all are done.
        let (sender, mut answers) = loop {
            match remote.apply_stream().await {
                Ok(stream) => break stream,
                Err(failure) => assert_eq!(failure.kind, Kind::Retry),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        for number in 0..OPERATIONS {
            let key = Key::new(format!("{number:032}").into_bytes()).unwrap();
            let namespace = NamespaceId::of(larder_client::vault::FILES);
            let ask = Ask::Get { head_only: true };
            let request = RecordRequest { tag: number, namespace, key, identity: None, ask };
            sender.send(request).await.unwrap();
            let (_, answer) = answers.next().await.unwrap().unwrap();
            assert!(matches!(answer.unwrap(), Outcome::Absent));
        }
        // A hundred at once and twenty a second, however long all of it took.
        let passed = (asked - failures.len()) as f64 + 1.0 + OPERATIONS as f64;
        let took = began.elapsed();
        assert!(passed <= 100.0 + 20.0 * took.as_secs_f64() + 1.0, "{passed} in {took:?}");
        assert!(took < WAIT_MAX, "{took:?}");
    });
    let door = address(&home);
    assert!(refused(&door, "grpc", "rate_limited_identity") > 20.0);
    // What is no TLS at all is counted.
    let mut plain = TcpStream::connect(issued::address(&home)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let _ = plain.read_to_end(&mut Vec::new());
    until("it is counted", || refused(&door, "grpc", "handshake") >= 1.0);
    assert_eq!(refused(&door, "grpc", "handshake"), 1.0);
}

/// Passes connections on to the node, with a PROXY protocol header before each, from an address of this machine that is not
/// loopback.
fn passing_on(node: &str, from: &str, header: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let to = format!("{from}:{}", node.rsplit_once(':').unwrap().1);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            // A connection to an own address comes from that address.
            let (client, mut node) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            node.write_all(&header).unwrap();
            let back = (node.try_clone().unwrap(), client.try_clone().unwrap());
            for (mut from, mut to) in [(client, node), back] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

#[test]
fn handshakes_are_counted_by_the_client_that_a_proxy_names() {
    let Some(network) = Network::new() else { return };
    let home = Home::new();
    let trusted = format!("trusted_proxies={}", network.address);
    up(&home, "0.0.0.0:0", &[&trusted, "proxy_protocol=grpc", "grpc_rate=1/5"]);
    let folder = issue(&home, "remote", &[]);
    let node = issued::address(&home);
    let through = |client: [u8; 4]| {
        let mut options = options(&home, &folder);
        options.address = passing_on(&node, &network.address, binary(client));
        options
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connects = |options| {
        runtime.block_on(async {
            match Remote::connect(&options).await {
                Ok(remote) => remote.status().await.is_ok(),
                Err(_) => false,
            }
        })
    };
    let greedy = through([203, 0, 113, 5]);
    let passed = (0..12).filter(|_| connects(greedy.clone())).count();
    assert!((1..=8).contains(&passed), "{passed}");
    assert!(connects(through([203, 0, 113, 6])), "another client of the same proxy");
    // Straight from the proxy's address there must be a header.
    let port = node.rsplit_once(':').unwrap().1;
    let mut without = TcpStream::connect(format!("{}:{port}", network.address)).unwrap();
    without.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on").unwrap();
    let _ = without.read_to_end(&mut Vec::new());
    // This machine's own commands are no proxy's.
    home.run(&["value", "set", "k", "v"]).ends(0);
    let door = address(&home);
    assert!(refused(&door, "grpc", "rate_limited") >= 4.0);
    assert_eq!(refused(&door, "grpc", "no_proxy_header"), 1.0);
}

#[test]
fn one_network_of_strangers_has_so_many_unfinished_handshakes() {
    let Some(network) = Network::new() else { return };
    let home = Home::new();
    up(&home, "0.0.0.0:0", &[]);
    let port = issued::address(&home).rsplit_once(':').unwrap().1.to_owned();
    let connect = || TcpStream::connect(format!("{}:{port}", network.address)).unwrap();
    let silent: Vec<_> = (0..60).map(|_| connect()).collect();
    let door = address(&home);
    until("who is beyond 32 is refused", || refused(&door, "grpc", "crowded") >= 28.0);
    assert_eq!(refused(&door, "grpc", "crowded"), 28.0, "beyond 32");
    home.run(&["value", "set", "k", "v"]).ends(0);
    drop(silent);
    // And so many a second, whoever of them goes at once: twenty, on a machine that lets so many come.
    until("who comes too often is refused", || {
        (0..100).for_each(|_| drop(connect()));
        refused(&door, "grpc", "rate_limited") >= 50.0
    });
    assert_eq!(get(&door, "/health").status, 200);
}

#[test]
fn the_redis_door_counts_the_client_that_a_proxy_names() {
    let home = Home::new();
    let settings = ["trusted_proxies=127.0.0.1", "proxy_protocol=redis", "redis_rate=1/20"];
    up(&home, "127.0.0.1:0", &settings);
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    let running: serde_json::Value = serde_json::from_str(&text).unwrap();
    let door = running["redis"].as_str().unwrap();
    let answers = |header: &[u8], count: usize| {
        let mut stream = TcpStream::connect(door).unwrap();
        stream.write_all(&[header, &b"PING\r\n".repeat(count)].concat()).unwrap();
        // Whoever is refused may be gone by now.
        let _ = stream.shutdown(Shutdown::Write);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let pongs = text.lines().filter(|line| *line == "+PONG").count();
        let told = text.lines().filter(|line| line.starts_with("-ERR too many requests from your address"));
        assert!(told.clone().all(|line| line.contains("retry after ")), "{text}");
        (pongs, told.count())
    };
    let began = Instant::now();
    let (pongs, told) = answers(&line("203.0.113.5"), 40);
    assert!(pongs >= 20 && pongs <= 20 + since(began) && pongs + told == 40, "{pongs} {told}");
    assert_eq!(answers(&binary([203, 0, 113, 6]), 15), (15, 0));
    assert!(
        answers(b"PROXY UNKNOWN\r\n", 40).1 + since(began) >= 20,
        "not told: a stranger, though the proxy is on loopback"
    );
    assert_eq!(answers(b"", 5), (0, 0), "without a header");
    let http = address(&home);
    assert!(refused(&http, "redis", "rate_limited") + 2.0 * since(began) as f64 >= 40.0);
    assert_eq!(refused(&http, "redis", "no_proxy_header"), 1.0);
}

#[test]
fn a_transaction_of_which_a_command_is_too_much_does_nothing_and_is_over() {
    let home = Home::new();
    up(&home, "127.0.0.1:0", &["trusted_proxies=127.0.0.1", "proxy_protocol=redis", "redis_rate=1/4"]);
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    let running: serde_json::Value = serde_json::from_str(&text).unwrap();
    let door = running["redis"].as_str().unwrap();
    let mut stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut ask = |sent: &[u8], lines: usize| {
        stream.write_all(sent).unwrap();
        let mut said = Vec::new();
        while said.iter().filter(|byte| **byte == b'\n').count() < lines {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
        String::from_utf8(said).unwrap()
    };
    ask(&line("203.0.113.5"), 0);
    let queued = ask(b"MULTI\r\nSET a 1\r\nPING\r\nPING\r\nSET b 2\r\n", 5);
    assert!(queued.starts_with("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n-ERR too many requests"), "{queued}");
    support::pause(1_200);
    assert!(ask(b"EXEC\r\n", 1).starts_with("-EXECABORT Transaction discarded because of previous errors"));
    support::pause(4_200);
    // An EXEC that is too much itself ends it as well: whoever sent it goes on as if it were over. At once, so that nothing
    // more is allowed in between.
    let queued = ask(b"MGET a b\r\nMULTI\r\nSET a 1\r\nPING\r\nEXEC\r\n", 7);
    assert!(queued.starts_with("*2\r\n$-1\r\n$-1\r\n"), "nothing of it was done: {queued}");
    assert!(queued.ends_with("retry after 1 s\r\n") && queued.contains("\r\n-EXECABORT"), "{queued}");
    support::pause(2_200);
    assert_eq!(ask(b"GET a\r\n", 1), "$-1\r\n");
}
